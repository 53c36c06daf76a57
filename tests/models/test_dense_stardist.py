"""StarDist's model: it reads back what its targets say, in any frame."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import torch
from dense_scenes import disc, target_of
from torch import Tensor, nn

from tem_seg.core.types import Prediction
from tem_seg.data import rle
from tem_seg.models.contract import Target
from tem_seg.models.dense.base import Trunk
from tem_seg.models.dense.star_nms import Stars
from tem_seg.models.dense.stardist import GROUND_WEIGHT, UNIT_PX, StarModel, same_share

SIZE = (64, 64)


class Painted(StarModel):
    """Says what it is given, for any image."""

    def __init__(self, logits: Tensor, grid: int = 2, classes: int = 1, **options: object) -> None:
        settings = {"object_score": 0.3, "nms_overlap": 0.5, "max_instances": 100}
        trunk = Trunk(nn.Identity(), (1,), stride=16, grid=grid)
        super().__init__(trunk, num_classes=classes, rays=32, **settings | options)  # type: ignore[arg-type]
        self.logits = logits

    def said(self, images: list[Tensor]) -> Tensor:
        return self.logits[None].repeat(len(images), 1, 1, 1)


def truth_of(target: Target, grid: int = 2, classes: int = 1) -> Tensor:
    """What a network says that knows the target's maps."""
    maps = Painted(torch.zeros(0), grid).encoder()(target)["maps"]
    kinds = [torch.where(maps[:1] == index + 1, 3.0, -3.0) for index in range(classes if classes > 1 else 0)]
    return torch.cat([torch.logit(maps[1:2], 1e-4), maps[2:] / UNIT_PX, *kinds])


def seen(model: Painted, size: tuple[int, int] = SIZE, frame: tuple[int, int] | None = None) -> Prediction:
    return model.eval()([torch.zeros(1, *size)], frames=[frame or size])[0]  # type: ignore[index, return-value]


def agreed(model: Painted, said: Tensor, stars: Stars) -> np.ndarray:
    return model.agreement(said, stars, model.followed(said, stars))


def best_iou(found: Prediction, mask: np.ndarray) -> float:
    assert found.masks is not None
    decoded = [rle.decode(m) for m in found.masks]
    return max(np.logical_and(m, mask).sum() / np.logical_or(m, mask).sum() for m in decoded)


@pytest.mark.parametrize("grid", [1, 2])
def test_overlapping_particles_come_back_whole(grid: int) -> None:
    masks = [disc(SIZE, 24, 30, 12), disc(SIZE, 40, 30, 11), disc(SIZE, 50, 56, 5)]
    found = seen(Painted(truth_of(target_of(masks), grid), grid))
    assert len(found) == 3 and found.contours is not None and found.edge_sd_px is None
    assert all(best_iou(found, mask) > 0.88 for mask in masks)
    assert (np.diff(found.scores) <= 0).all() and 0.9 < found.scores[0] <= 1


def test_what_pixels_disagree_about_scores_less() -> None:
    """Two discs, equally probable: in one each pixel claims another size, so that its polygons are not its own."""
    rng = np.random.default_rng(0)
    masks = [disc(SIZE, 20, 18, 12), disc(SIZE, 44, 46, 12)]
    logits = truth_of(target_of(masks))
    known = seen(Painted(logits.clone()))
    places = torch.from_numpy(masks[0][::2, ::2].astype(bool))
    logits[1:33, places] *= torch.from_numpy(rng.uniform(0.5, 2, int(places.sum()))).float()
    found = seen(Painted(logits))
    by_place = found.scores[np.argsort(found.boxes[:, 0])]
    assert known.scores.min() > 0.9 and by_place[-1] == pytest.approx(known.scores[0], abs=0.01)
    assert by_place[0] < 0.75 and (np.diff(found.scores) <= 0).all()


def rod(size: tuple[int, int], y: float, x: float, long: float, wide: float) -> np.ndarray:
    """Lying, with its long side along x, px."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return ((np.abs(columns - x) <= long / 2) & (np.abs(rows - y) <= wide / 2)).astype(np.uint8)


def test_agreement_is_the_mean_iou_of_what_its_witnesses_claim() -> None:
    """Beside sixteen polygons, one a witness, followed and compared by shapely, where noise lies on what is said (IoUs
    are from points on outlines, nearly)."""
    model = Painted(truth_of(target_of([disc(SIZE, 32, 32, 20)])))
    polygon = Stars(np.array([[32.0, 32.0]]), np.full((1, 32), 20.0))
    known = agreed(model, model.logits, polygon)[0]
    assert 0.93 < known <= 1  # in steps of a px, pixels of one disc do not say quite the same
    noise = np.random.default_rng(0).uniform(0.6, 1.4, model.logits[1:33].shape)
    wrong = model.logits.clone()
    wrong[1:33] *= torch.from_numpy(noise).float()
    angles = np.arange(8) * np.pi / 4
    places = [(32 + 20 * share * np.sin(a), 32 + 20 * share * np.cos(a)) for share in (0.3, 0.6) for a in angles]
    cells = np.round(np.array(places) / 2).astype(int)
    radii = wrong[1:33].numpy()[:, cells[:, 0], cells[:, 1]].T.astype(np.float64) * UNIT_PX
    claimed = shapely.polygons(model.followed(wrong, Stars(cells * 2.0, radii)).corners())
    whole = shapely.polygons(model.followed(wrong, polygon).corners())[0]
    by_hand = (shapely.area(shapely.intersection(whole, claimed)) / shapely.area(shapely.union(whole, claimed))).mean()
    assert agreed(model, wrong, polygon)[0] == pytest.approx(by_hand, abs=0.01) and by_hand < known - 0.05
    unheard = model.logits.clone()
    unheard[1:33, :, 17:] *= 0.5
    assert agreed(model, unheard, polygon)[0] < known - 0.15
    unheard[0, :, 17:] = -5  # who claims nothing is not asked
    assert agreed(model, unheard, polygon)[0] == pytest.approx(known, abs=0.05)
    unheard[0] = -5
    assert agreed(model, unheard, polygon)[0] == 0
    assert agreed(model, unheard, Stars(np.zeros((0, 2)), np.zeros((0, 32)))).shape == (0,)


def test_pixels_that_do_not_see_the_far_tip_of_a_rod_agree() -> None:
    """What they say ends after 14 px; the tips themselves are known to pixels near them."""
    model = Painted(truth_of(target_of([rod(SIZE, 32, 32, 40, 12)])))
    short = model.logits.clone()
    short[1:33] = short[1:33].clamp(max=14 / UNIT_PX)
    middle = Stars(np.array([[32.0, 32.0]]), short[1:33, 16, 16].numpy()[None].astype(np.float64) * UNIT_PX)
    assert agreed(model, short, middle)[0] > 0.8


def test_rays_end_where_pixels_halfway_say() -> None:
    """By hand: a rod of 48 × 8 px whose middle takes itself for a disc of 20 px, while pixels near the tips know."""
    mask = rod(SIZE, 32, 32, 48, 8)
    model = Painted(truth_of(target_of([mask])))
    middle = Stars(np.array([[32.0, 32.0]]), np.full((1, 32), 20.0))
    followed = model.followed(model.logits, middle).radii[0]
    np.testing.assert_allclose(followed[[0, 16]], 24, atol=1)  # along the rod, past the disc
    np.testing.assert_array_equal(followed[[8, 24]], 20)  # across it: halfway is no particle, which says nothing
    outside = Stars(np.array([[32.0, 2.0]]), np.full((1, 32), 20.0))
    assert model.followed(model.logits, outside).radii[0, 16] == 20, "halfway is not in the micrograph"
    assert model.followed(model.logits, Stars(np.zeros((0, 2)), np.zeros((0, 32)))).radii.shape == (0, 32)


@pytest.mark.parametrize("grid", [1, 2])
def test_what_is_known_is_followed_to_where_it_was(grid: int) -> None:
    """Also of a micrograph that is a line of pixels."""
    logits = truth_of(target_of([disc(SIZE, 30, 34, 20)]), grid)
    model = Painted(logits, grid)
    stars, *_ = model.claims(logits)
    known = np.flatnonzero(stars.radii.min(axis=1) > 8)
    chosen = Stars(stars.centres[known], stars.radii[known])
    np.testing.assert_allclose(model.followed(logits, chosen).radii, chosen.radii, atol=2)  # targets are steps of a px
    line = torch.ones(33, 1, 64)
    assert np.isfinite(model.followed(line, Stars(np.array([[0.0, 32.0]]), np.full((1, 32), 8.0))).radii).all()


def test_the_outline_is_where_the_border_is() -> None:
    """No half a pixel is lost between the grid's points and pixels' centres."""
    found = seen(Painted(truth_of(target_of([disc(SIZE, 30.5, 33.5, 16)]))))
    assert found.contours is not None
    middle = shapely.centroid(shapely.Polygon(found.contours[0]))
    np.testing.assert_allclose([middle.x, middle.y], [30.5, 33.5], atol=0.3)
    assert np.hypot(*(found.contours[0] - [30.5, 33.5]).T).mean() == pytest.approx(16, abs=0.4)
    np.testing.assert_allclose(found.boxes[0], [14.5, 17.5, 46.5, 49.5], atol=1)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_rescaled_look_comes_back_in_the_micrographs_frame(scale: float) -> None:
    frame = (round(64 * scale), round(64 * scale))
    found = seen(Painted(truth_of(target_of([disc(SIZE, 30, 34, 15)]))), frame=frame)
    assert found.masks is not None and tuple(found.masks[0]["size"]) == frame
    assert best_iou(found, disc(frame, 30 * scale, 34 * scale, 15 * scale)) > 0.9


def test_a_particle_at_the_side_is_cut_there() -> None:
    found = seen(Painted(truth_of(target_of([disc(SIZE, 2, 30, 14)]))))
    assert found.contours is not None and (found.boxes >= 0).all()
    outline = found.contours[0]
    assert outline.min() >= 0 and best_iou(found, disc(SIZE, 2, 30, 14)) > 0.88


def test_what_leaves_the_frame_is_cut_in_contours_and_masks() -> None:
    logits = truth_of(target_of([disc(SIZE, 4, 30, 10)]))
    logits[1:33] *= 2  # says that it reaches far beyond
    found = seen(Painted(logits))
    assert found.contours is not None and all(contour.min() >= 0 for contour in found.contours)


def test_an_empty_micrograph_stays_empty() -> None:
    logits = torch.full((33, 32, 32), -3.0)
    found = seen(Painted(logits))
    assert len(found) == 0 and found.boxes.shape == (0, 4) and not found.capped


def test_classes() -> None:
    target = target_of([disc(SIZE, 18, 30, 10), disc(SIZE, 46, 30, 9)], [1, 0])
    model = Painted(truth_of(target, classes=2), classes=2)
    found = seen(model)
    assert found.labels[np.argsort(found.boxes[:, 0])].tolist() == [1, 0]
    losses = model.train()([torch.zeros(1, *SIZE)], [target])
    assert isinstance(losses, dict) and set(losses) == {"loss_object", "loss_distance", "loss_shape", "loss_class"}
    assert losses["loss_class"] < 0.01 and losses["loss_distance"] < 1e-4
    assert losses["loss_shape"] == pytest.approx(0, abs=1e-5)


def test_distances_are_compared_in_shares_of_a_particles_reach() -> None:
    """By hand: a tenth too far everywhere costs that share of a tenth, whatever the particle's size; the ground 1e-4 px
    a px, beside it."""
    for radius in (8, 24):
        target = target_of([disc(SIZE, 30, 34, radius)])
        maps = Painted(torch.zeros(0)).encoder()(target)["maps"]
        logits = truth_of(target)
        logits[1:33] *= 1.1
        losses = Painted(logits).train()([torch.zeros(1, *SIZE)], [target])
        assert isinstance(losses, dict)
        everywhere = float(((1 - maps[1]) * logits[1:33].mean(0)).mean()) * UNIT_PX
        assert float(losses["loss_distance"]) == pytest.approx(0.1 + GROUND_WEIGHT * everywhere, rel=1e-4)
        assert float(losses["loss_shape"]) == pytest.approx(1 - 1 / 1.1**2, rel=1e-3)
        assert float(losses["loss_object"]) == pytest.approx(entropy_of(maps[1]), abs=1e-3)


def test_the_share_of_two_outlines_is_their_iou() -> None:
    """Against shapely's, of outlines with so many corners that sectors are no coarser than triangles."""
    angles = np.arange(720) * (np.pi / 360)
    rod = np.minimum(30 / np.abs(np.cos(angles)).clip(1e-3), 8 / np.abs(np.sin(angles)).clip(1e-3))
    said = 12 + 6 * np.sin(3 * angles)
    outlines = [shapely.Polygon(np.stack([r * np.cos(angles), r * np.sin(angles)], axis=1)) for r in (rod, said)]
    iou = shapely.area(shapely.intersection(*outlines)) / shapely.area(shapely.union(*outlines))
    maps = [torch.from_numpy(each)[None, :, None, None] for each in (said, rod)]
    assert float(same_share(*maps)) == pytest.approx(iou, abs=2e-3)
    assert float(same_share(-maps[0], maps[1])) < 1e-5  # a negative distance reaches nowhere
    assert float(same_share(0 * maps[0], 0 * maps[1])) == 1


def entropy_of(shares: Tensor) -> float:
    """Cross-entropy of what knows the shares: none is lower."""
    return float(-(torch.xlogy(shares, shares) + torch.xlogy(1 - shares, 1 - shares)).mean())


def test_reach_over_the_ground_costs_little_beside_that_of_particles() -> None:
    target = target_of([disc(SIZE, 30, 34, 15)])
    logits = truth_of(target)
    there = Painted(torch.zeros(0)).encoder()(target)["maps"][1]
    wrong = torch.where(there > 0, 0.0, 3.0)
    logits[1:33] += wrong
    losses = Painted(logits).train()([torch.zeros(1, *SIZE)], [target])
    assert isinstance(losses, dict)
    ground = float(((1 - there) * logits[1:33].abs().mean(0)).mean()) * UNIT_PX
    assert float(losses["loss_distance"]) == pytest.approx(GROUND_WEIGHT * ground, rel=1e-3)


def test_a_crop_without_particles_has_finite_losses() -> None:
    losses = Painted(torch.full((33, 32, 32), -6.0)).train()([torch.zeros(1, *SIZE)], [target_of([])])
    assert isinstance(losses, dict) and all(torch.isfinite(value) and value < 0.02 for value in losses.values())


def test_caps_are_reported() -> None:
    masks = [disc(SIZE, 16, 16, 8), disc(SIZE, 46, 16, 8), disc(SIZE, 30, 46, 9)]
    found = seen(Painted(truth_of(target_of(masks)), max_instances=2))
    assert len(found) == 2 and found.capped


def test_what_is_not_star_convex_loses_what_no_ray_reaches() -> None:
    """docs/models.md: a ring sector of 270 degrees. From no point are both of its ends seen."""
    rows, columns = np.mgrid[:64, :64] + 0.5
    radius, angle = np.hypot(columns - 32, rows - 32), np.arctan2(rows - 32, columns - 32)
    sector = ((radius > 12) & (radius < 26) & (np.abs(angle) < 0.75 * np.pi)).astype(np.uint8)
    found = seen(Painted(truth_of(target_of([sector]))))
    assert 0.2 < best_iou(found, sector) < 0.6


def test_too_many_claims_are_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tem_seg.models.dense.stardist.MOST_CLAIMS", 10)
    assert seen(Painted(truth_of(target_of([disc(SIZE, 30, 34, 15)])))).capped
