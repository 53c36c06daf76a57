"""Several models as one: what they agree on, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from inference_scenes import GREY, SIZE, always, disc, found, ids, mask_set, painted, seer

from tem_seg.core.types import Prediction
from tem_seg.inference.ensemble import Ensemble, shared_alone
from tem_seg.inference.merging import voted
from tem_seg.inference.predict import Predictor


def ensemble(*answers: Prediction, **options: float) -> Ensemble:
    return Ensemble(tuple(map(always, answers)), (Predictor(),) * len(answers), **options)  # type: ignore[arg-type]


def told(prediction: Prediction) -> list[tuple[float, float, float]]:
    """Score, agreement and agreement of the outlines, each particle."""
    assert prediction.agreement is not None and prediction.agreement_iou is not None
    columns = (prediction.scores, prediction.agreement, prediction.agreement_iou)
    return [tuple(round(float(value), 4) for value in row) for row in zip(*columns, strict=True)]  # type: ignore[misc]


def test_a_member_that_misses_a_particle_counts_as_0() -> None:
    """10 × 10 squares one px apart share 90 of 110 px, two apart 80 of 120."""
    members = [
        found((10, 10, 10, 0.9, 0), (50, 50, 10, 0.8, 0)),
        found((11, 10, 10, 0.6, 0)),
        found((12, 10, 10, 0.3, 0)),
        found(),
    ]
    merged = voted(members, 0.5)
    mean_iou = (2 * 90 / 110 + 80 / 120) / 3
    first, second = told(merged)
    assert first == (0.45, 0.75, round(mean_iou, 4))
    assert second[:2] == (0.2, 0.25) and np.isnan(second[2]), "one alone agrees with nobody"
    assert merged.boxes[0].tolist() == [11, 10, 21, 20], "the outline that agrees best with the others"


def test_of_two_the_surer_gives_the_outline() -> None:
    merged = voted([found((10, 10, 10, 0.6, 0)), found((11, 10, 10, 0.9, 0))], 0.5)
    assert merged.boxes[0].tolist() == [11, 10, 21, 20]
    assert told(merged) == [(0.75, 1.0, round(90 / 110, 4))]


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("times", [1, 3, 4])
def test_the_same_model_several_times_is_the_model(times: int, masks: bool) -> None:
    one = found((10, 10, 10, 0.7, 0), (50, 50, 10, 0.3, 0), (30, 10, 10, 0.21, 1), masks=masks)
    contours = [np.array([[0, 0], [k + 1, 0], [0, 1]], np.float32) for k in range(3)]
    one = dataclasses.replace(one, contours=contours, edge_sd_px=np.array([1, np.nan, 2], np.float32))
    merged = ensemble(*[one] * times)(GREY)
    assert ids(merged) == ids(one) and merged.scores.tolist() == one.scores.tolist()
    assert merged.boxes.tolist() == one.boxes.tolist() and merged.masks == one.masks
    assert merged.contours == contours and np.array_equal(merged.edge_sd_px, one.edge_sd_px, equal_nan=True)  # type: ignore[arg-type]
    assert [row[1] for row in told(merged)] == [1.0] * 3
    assert [row[2] for row in told(merged)] == [1.0] * 3 if times > 1 else np.isnan(merged.agreement_iou).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("levels", [3, 10**6], ids=["many equal scores", "all different"])
def test_order_of_the_members_plays_no_part(levels: int) -> None:
    rng = np.random.default_rng(2)
    members = [
        found(*[(int(x), int(y), 12, float(1 + p) / (levels + 1), 0) for x, y, p in zip(
            rng.integers(0, 70, 25), rng.integers(0, 50, 25), rng.integers(0, levels, 25), strict=True)])
        for _ in range(4)
    ]  # fmt: skip
    forth = ensemble(*members)(GREY)
    for order in ((3, 2, 1, 0), (2, 0, 3, 1)):
        back = ensemble(*[members[index] for index in order])(GREY)
        np.testing.assert_allclose(told(back), told(forth))
        assert back.masks == forth.masks
    assert 20 < len(forth) < 100 and (np.diff(forth.scores) <= 0).all()


def test_classes_vote_apart() -> None:
    merged = voted([found((10, 10, 10, 0.7, 0)), found((10, 10, 10, 0.8, 1))], 0.5)
    assert ids(merged) == [(0.4, 1), (0.35, 0)]


def test_what_few_are_sure_of_is_dropped() -> None:
    faint = found((10, 10, 10, 0.3, 0))
    assert len(ensemble(faint, found(), min_score=0.2)(GREY)) == 0
    assert len(ensemble(faint, found(), min_score=0.15)(GREY)) == 1


def test_more_than_may_be_is_said() -> None:
    one, other = found((0, 0, 10, 0.9, 0), (20, 0, 10, 0.8, 0)), found((40, 0, 10, 0.7, 0))
    assert ensemble(one, other, max_instances=2)(GREY).capped and len(ensemble(one, other, max_instances=2)(GREY)) == 2
    assert not ensemble(one, other, max_instances=3)(GREY).capped
    assert ensemble(one, found(capped=True))(GREY).capped, "a member may have missed some"


def test_members_that_see_nothing() -> None:
    nothing = ensemble(found(), found())(GREY)
    assert len(nothing) == 0 and nothing.masks == []
    assert nothing.agreement_iou is not None and nothing.agreement_iou.shape == (0,)


def test_what_only_some_families_know_is_left_out() -> None:
    known = dataclasses.replace(found((1, 1, 9, 0.9, 0)), edge_sd_px=np.ones(1, np.float32))
    one, other = shared_alone([known, found((1, 1, 9, 0.9, 0))])
    assert one.edge_sd_px is None and one.masks is not None and other.masks is not None


def test_each_member_looks_in_its_own_way() -> None:
    models = (always(found()), always(found()))
    Ensemble(models, (Predictor(scales=(0.5,)), Predictor(scales=(2.0,), augment="flip")))(GREY)
    assert [[image.shape[1] for image in model.shown] for model in models] == [[40], [160, 160]]


def test_a_look_for_each_model() -> None:
    with pytest.raises(ValueError, match="1 models and 2 looks"):
        Ensemble((always(found()),), (Predictor(), Predictor()))


def test_turned_members_of_a_model_that_knows_no_direction_agree_wholly() -> None:
    """Looks and members: of an oracle that finds what is there, however it is shown, nothing changes."""
    shapes = [disc(20, 20, 8, SIZE), disc(60, 50, 15, SIZE)]
    image = painted(shapes, SIZE)
    once = Predictor()(seer(), image)
    looks = tuple(Predictor(augment=name) for name in ("none", "flip", "dihedral"))
    merged = Ensemble((seer(),) * 3, looks)(image)
    assert mask_set(merged) == mask_set(once) and merged.scores.tolist() == pytest.approx(once.scores.tolist())
    assert [row[1:] for row in told(merged)] == [(1.0, 1.0)] * 2
