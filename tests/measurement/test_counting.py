"""Counting rules: what each leaves out, what it says of itself, and that weights make up for the border."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.weighted import quantile
from tem_seg.data import rle
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.measurement.counting import Rules, apply, border_weights, left_out, size_px
from tem_seg.measurement.particles import counted, particle_table

SIZE = (100, 120)


def dataset_of(*pixel_sizes_nm: float | None, size: tuple[int, int] = SIZE) -> CocoDataset:
    images = [ImageRecord(i + 1, Path(f"im{i + 1}.png"), *size, nm, "file") for i, nm in enumerate(pixel_sizes_nm)]
    return CocoDataset(Path("dataset.json"), images, ["p"], [1], {i.id: [] for i in images})


def row(x: int, y: int, width: int, height: int, **more: Any) -> dict[str, Any]:
    return {"segmentation": rle.encode_crop(np.ones((height, width), bool), x, y, SIZE), "category_id": 1} | more


# alone, two that touch, two that overlap, one on the border, a crumb that touches the first
ROWS = {1: [row(20, 20, 10, 10), row(50, 20, 10, 10), row(60, 20, 8, 8), row(20, 60, 20, 20), row(35, 60, 9, 9),
            row(100, 90, 10, 10), row(30, 20, 2, 2)]}  # fmt: skip


def ids(rules: Rules) -> list[int]:
    return counted(dataset_of(0.5), ROWS, rules).particles["particle"].tolist()


def test_each_rule_leaves_out_its_own() -> None:
    assert ids(Rules()) == [1, 2, 3, 4, 5, 6, 7]
    assert ids(Rules(border="exclude")) == ids(Rules(border="weight")) == [1, 2, 3, 4, 5, 7]
    assert ids(Rules(touching="exclude")) == [4, 5, 6]
    assert ids(Rules(overlapping="exclude")) == [1, 2, 3, 6, 7]
    assert ids(Rules(min_size_px=3.0)) == [1, 2, 3, 4, 5, 6]
    assert ids(Rules(min_size_px=2.2)) == [1, 2, 3, 4, 5, 6, 7]


def test_what_is_too_small_touches_nobody() -> None:
    assert ids(Rules(touching="exclude", min_size_px=3.0)) == [1, 4, 5, 6]


def test_effects_say_how_many_and_what_became_of_the_median() -> None:
    rules = Rules(border="weight", touching="exclude", min_size_px=3.0)
    found = counted(dataset_of(0.5), ROWS, rules)
    assert [(e.rule, e.setting, e.before, e.after) for e in found.effects] == [
        ("min_size_px", "3", 7, 6), ("touching", "exclude", 6, 4), ("border", "exclude", 4, 3),
        ("border", "weight", 3, 3),
    ]  # fmt: skip
    first = found.effects[0]
    sizes = np.sqrt(4 / np.pi * np.array([100, 100, 64, 400, 81, 100, 4])) * 0.5
    assert first.median_before == {"equivalent_diameter_nm": pytest.approx(np.median(sizes))}
    assert first.median_after == {"equivalent_diameter_nm": pytest.approx(np.median(sizes[:-1]))}
    assert str(first) == "min_size_px 3: 7 → 6 (1 removed); median equivalent diameter 5.642 → 5.642 nm"
    assert first.to_json()["removed"] == 1
    assert "no particle removed" in str(found.effects[-1])
    assert len(found.measured) == 7 and set(found.measured["weight"]) == {1.0}


def test_rules_that_let_everything_be_have_no_effect() -> None:
    assert counted(dataset_of(0.5), ROWS, Rules()).effects == []


def merged(x: int) -> dict[str, Any]:
    """Two discs of 20 px grown together, beside which a single one."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    mask = np.hypot(rows - 30, columns - x) <= 10
    return {"segmentation": rle.encode(mask | (np.hypot(rows - 30, columns - x - 19) <= 10)), "category_id": 1}


def test_aggregated_masks_are_counted_left_out_or_split() -> None:
    rows = {1: [merged(30), row(20, 60, 18, 18)]}
    choices = ("count", "exclude", "split")
    whole, without, parts = (counted(dataset_of(None), rows, Rules(aggregated=choice)) for choice in choices)
    assert whole.particles["particle"].tolist() == [1, 2]
    assert without.particles["particle"].tolist() == [2] and without.measured["parts"].tolist() == [2, 1]
    table = parts.particles
    assert table[["particle", "part"]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 1]]
    assert table["equivalent_diameter_px"][:2].tolist() == pytest.approx([20, 20], rel=0.02)
    assert table["touches_particle"].tolist() == [True, True, False]
    effect = parts.effects[0]
    assert (effect.rule, effect.setting, effect.before, effect.after) == ("aggregated", "split", 2, 3)
    assert "2 → 3 (1 added)" in str(effect)


def test_a_split_particle_leaves_its_contour() -> None:
    line = [[20, 20], [60, 20], [60, 40], [20, 40]]
    rows = {1: [merged(30) | {"contour": line}, row(20, 60, 18, 18, contour=[[20, 60], [38, 60], [38, 78], [20, 78]])]}
    assert counted(dataset_of(None), rows, Rules(aggregated="split")).particles["outline"].tolist() == [
        "mask", "mask", "contour",
    ]  # fmt: skip


def test_weights_by_hand() -> None:
    table = counted(dataset_of(0.5), {1: [row(20, 20, 10, 30)]}, Rules(border="weight")).particles
    assert table["weight"].tolist() == pytest.approx([120 * 100 / ((120 - 10 - 1) * (100 - 30 - 1))])


def test_a_particle_as_large_as_the_frame() -> None:
    """It can never lie inside, so it is left out; one pixel less on each side fits in one place."""
    found = counted(dataset_of(1.0), {1: [row(0, 0, 120, 100), row(1, 1, 118, 98)]}, Rules(border="weight")).particles
    assert found["weight"].tolist() == [120 * 100]


def test_every_place_counts_once() -> None:
    """Law behind the weights: over all places of a box in and around the frame, Σ weights = number of places in it."""
    frame, (width, height) = (12, 15), (4, 3)
    inside = sum(x > 0 and y > 0 and x + width < 15 and y + height < 12 for x in range(15) for y in range(12))
    table = pd.DataFrame({"image_id": [1], "x_size_px": [4.0], "y_size_px": [3.0], "pixel_size_nm": [np.nan]})
    assert inside * border_weights(table, {1: frame})[0] == pytest.approx(12 * 15)


def test_weights_make_up_for_large_particles_at_the_border() -> None:
    """Discs of 8 to 60 px scattered over many frames of 100 × 120: the mean is 4 px low without weights."""
    rng = np.random.default_rng(0)
    diameters = rng.uniform(8, 60, 40000)
    x, y = rng.uniform(-40, 160, 40000), rng.uniform(-40, 140, 40000)
    left, right = np.ceil(x - diameters / 2 - 0.5), np.floor(x + diameters / 2 - 0.5) + 1  # pixel centres inside
    top, low = np.ceil(y - diameters / 2 - 0.5), np.floor(y + diameters / 2 - 0.5) + 1
    there = (left > 0) & (top > 0) & (right < 120) & (low < 100)
    columns = {"image_id": 1, "x_size_px": right - left, "y_size_px": low - top, "pixel_size_nm": np.nan}
    weights, seen = border_weights(pd.DataFrame(columns)[there], {1: SIZE}), diameters[there]
    assert diameters.mean() - seen.mean() > 4
    assert np.average(seen, weights=weights) == pytest.approx(diameters.mean(), abs=0.5)
    assert quantile(seen, 0.5, weights) == pytest.approx(np.median(diameters), abs=0.8)
    in_frame = ((x > 0) & (x < 120) & (y > 0) & (y < 100)).sum()
    assert weights.sum() == pytest.approx(in_frame, rel=0.03)  # and their sum is the number in the frame


def test_sizes_in_pixels_whatever_the_unit() -> None:
    table = particle_table(dataset_of(0.5, None), {1: ROWS[1][:1], 2: ROWS[1][:1]})
    assert size_px(table) == pytest.approx([np.sqrt(400 / np.pi)] * 2)
    boxes = {1: [{"rotated_box": [50, 50, 5, 30, 10], "category_id": 1}]}
    assert size_px(particle_table(dataset_of(0.5), boxes)) == pytest.approx([30])
    found = counted(dataset_of(0.5), boxes, Rules(min_size_px=31, border="weight"))
    assert len(found.particles) == 0 and found.effects[0].median_before == {"max_feret_nm": 15.0}


@pytest.mark.parametrize("rules", [Rules(border="weight"), Rules(aggregated="split", min_size_px=4)])
def test_no_particles(rules: Rules) -> None:
    empty = {1: [{"segmentation": rle.encode(np.zeros(SIZE, bool)), "category_id": 1}]}
    for rows in ({1: []}, empty):
        found = counted(dataset_of(1.0), rows, rules)
        assert len(found.particles) == 0 and "weight" in found.particles
        assert all(np.isnan(list(effect.median_after.values())).all() for effect in found.effects)
        assert "median equivalent diameter nan → nan nm" in str(found.effects[-1])


def test_one_and_all_identical() -> None:
    rules = Rules(border="weight", touching="exclude", overlapping="exclude", aggregated="exclude", min_size_px=1)
    for count in (1, 6):
        rows = {1: [row(10 + 15 * k, 40, 10, 10) for k in range(count)]}
        found = counted(dataset_of(2.0), rows, rules).particles
        assert len(found) == count and found["equivalent_diameter_nm"].nunique() == 1 and found["weight"].nunique() == 1


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"border": "drop"}, "border particles: 'drop' is none of keep, exclude, weight"),
        ({"touching": "split"}, "touching particles: 'split' is none of count, exclude"),
        ({"min_size_px": -1.0}, "min_size_px must be 0 or a positive number of pixels, got -1.0"),
        ({"min_size_px": float("nan")}, "min_size_px must be 0 or a positive"),
        ({"neck": 1.0}, "neck must lie between 0 and 1"),
    ],
)
def test_rules_that_are_none(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Rules(**rules)


def test_rules_work_on_a_table_that_was_read_back(tmp_path: Path) -> None:
    """Those that need no pixels do: applying them again changes nothing more."""
    once = counted(dataset_of(0.5), ROWS, Rules(touching="exclude", border="weight")).particles
    again, _ = apply(once, Rules(touching="exclude", border="weight"), {1: SIZE})
    pd.testing.assert_frame_equal(again, once)


def test_close_to_the_border_is_cut_by_it() -> None:
    """border_px 2: one, two and three pixels from the frame; the law of places holds for it, too."""
    rows = [row(1, 40, 10, 10), row(40, 2, 10, 10), row(120 - 3 - 10, 40, 10, 10), row(40, 100 - 2 - 10, 10, 10)]
    found = counted(dataset_of(1.0), {1: rows}, Rules(border="weight", border_px=2))
    assert found.measured["touches_border"].tolist() == [True, True, False, True]
    assert found.particles["weight"].tolist() == pytest.approx([120 * 100 / ((120 - 10 - 5) * (100 - 10 - 5))])
    inside = sum(x > 2 and y > 2 and x + 4 < 13 and y + 3 < 10 for x in range(15) for y in range(12))
    table = pd.DataFrame({"image_id": [1], "x_size_px": [4.0], "y_size_px": [3.0], "pixel_size_nm": [np.nan]})
    assert inside * border_weights(table, {1: (12, 15)}, 2)[0] == pytest.approx(12 * 15)
    with pytest.raises(UserError, match="border_px must be 0 or a positive number of pixels, got -1"):
        Rules(border_px=-1)


def test_the_first_rule_that_leaves_a_particle_out_is_named() -> None:
    rules = Rules(border="exclude", min_size_px=8)
    rows = [row(0, 0, 20, 20), row(50, 50, 4, 4), row(0, 60, 4, 4), row(50, 20, 20, 20)]
    table = counted(dataset_of(1.0), {1: rows}, rules).measured
    assert left_out(table, rules, {1: SIZE}) == ["border", "min_size_px", "min_size_px", ""]
    assert left_out(table.iloc[:0], rules, {}) == [] and left_out(table, Rules(), {1: SIZE}) == [""] * 4
