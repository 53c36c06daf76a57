"""scripts/emps_groups.py: how ordered rods lie, by closed forms; the rule's limits; the table is what it writes."""

from __future__ import annotations

from pathlib import Path

import cv2
import emps_groups
import numpy as np
import pytest

from tem_seg.core.types import Instances
from tem_seg.data import rle


def rods(*angles_deg: float, step: float = 12.0) -> np.ndarray:
    """A row of rods of 40 × 8 px, each turned by its angle."""
    return np.array([[step * k, 50.0, 40.0, 8.0, angle] for k, angle in enumerate(angles_deg)])


def instances(*boxes: tuple[tuple[float, float], tuple[float, float], float]) -> Instances:
    """Drawn rectangles ((x, y), (width, height), angle clockwise) in a frame of 100 × 120."""
    masks = []
    for box in boxes:
        drawn = np.zeros((100, 120), np.uint8)
        cv2.fillPoly(drawn, [np.rint(cv2.boxPoints(box)).astype(np.int32)], 1)
        masks.append(rle.encode(drawn.astype(bool)))
    return Instances((100, 120), np.zeros(len(masks), np.int64), masks)


@pytest.mark.parametrize("turn", [0.0, 33.0, 90.0, 170.0])
def test_parallel_rods_are_ordered_whatever_their_direction(turn: float) -> None:
    side_by_side = rods(90, 90, 90)
    side_by_side[:, 4] += turn
    angle = np.deg2rad(turn)  # the row turns with the rods; y points down
    x = side_by_side[:, 0].copy()
    side_by_side[:, 0], side_by_side[:, 1] = x * np.cos(angle), 50 - x * np.sin(angle)
    assert emps_groups.order_of(side_by_side) == pytest.approx((1.0, 1.0))


def test_order_is_the_cosine_of_twice_the_angle() -> None:
    assert emps_groups.order_of(rods(90, 90 + 30)) == pytest.approx((1.0, 0.5))
    assert emps_groups.order_of(rods(90, 0)) == pytest.approx((1.0, -1.0))
    assert emps_groups.order_of(rods(90, -90)) == pytest.approx((1.0, 1.0)), "a rod has no head"


def test_rods_far_from_each_other_lie_beside_none() -> None:
    """8 px wide, 16 px apart from edge to edge in the first case, 8 in the second."""
    assert emps_groups.order_of(rods(90, 90, step=24.5))[0] == 0.0
    assert emps_groups.order_of(rods(90, 90, step=15.5)) == pytest.approx((1.0, 1.0))
    assert np.isnan(emps_groups.order_of(rods(90))[1]) and np.isnan(emps_groups.order_of(rods())[0])


def test_directions_of_drawn_rods() -> None:
    found = emps_groups.rods_of(instances(((30, 50), (8, 50), 20), ((60, 50), (50, 8), 110), ((2, 50), (8, 50), 0)))
    assert len(found) == 2, "the third is cut by the border"
    assert np.allclose(found[:, 2:4], [[50, 8], [50, 8]], atol=2.5)
    assert emps_groups.order_of(found * [1, 1, 1, 3, 1])[1] == pytest.approx(1.0, abs=0.01)


def test_the_rules_limits() -> None:
    group = emps_groups.group_of
    assert [group("spherical", True, grey, 0, 0, 0) for grey in (0, 84.9, 85)] == ["black", "black", None]
    assert [group("spherical", False, grey, 0, 0, 0) for grey in (84, 85, 169, 170)] == [None, "gray", "gray", None]
    assert group("rod", True, 0, 3, 0.5, 0.34) == "ordered_rods"
    assert {group("rod", True, 0, 2, 1, 1), group("rod", True, 0, 9, 0.4, 1), group("rod", True, 0, 9, 1, 0.3)} == {
        None
    }
    assert group("cubic", True, 0, 9, 1, 1) is None and group("rod", True, 0, 9, float("nan"), float("nan")) is None


def test_the_grey_of_particles_alone() -> None:
    found = instances(((30, 50), (20, 20), 0))
    pixels = np.full((100, 120), 200, np.float32)
    pixels[40:61, 20:41] = 30
    assert emps_groups.particle_grey(pixels, found) == 30
    assert np.isnan(emps_groups.particle_grey(pixels, Instances((100, 120), np.zeros(0, np.int64), [])))


def test_the_tracked_table_is_what_the_script_writes(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 311 spherical and 65 rod images are read: some 15 s."""
    made = tmp_path / "groups.csv"
    monkeypatch.setattr("sys.argv", ["emps_groups.py", str(data_dir / "emps"), "--into", str(made)])
    emps_groups.main()
    assert made.read_bytes() == emps_groups.TABLE.read_bytes()
