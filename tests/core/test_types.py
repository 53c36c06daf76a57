from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from tem_seg.core.types import Instances, Micrograph, Modality, Particle, Prediction, Rle, Scene

TRIANGLE = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
MASK: Rle = {"size": [4, 5], "counts": "d0"}


def test_particle() -> None:
    assert Particle(TRIANGLE, 2.0, "plate", "particle").contrast == {}


@pytest.mark.parametrize(
    ("outline", "height", "message"),
    [
        (TRIANGLE[:2], 1.0, r"must be \(K >= 3, 2\), got \(2, 2\)"),
        (TRIANGLE[:, :1], 1.0, r"must be \(K >= 3, 2\)"),
        (TRIANGLE * np.nan, 1.0, "NaN or infinity"),
        (TRIANGLE, 0.0, "height_nm must be positive, got 0"),
        (TRIANGLE, float("nan"), "height_nm must be positive"),
    ],
)
def test_impossible_particles(outline: np.ndarray, height: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Particle(outline, height, "plate", "particle")


@pytest.mark.parametrize("field", [(0.0, 5.0), (5.0, -1.0), (5.0,)])
def test_impossible_scenes(field: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="two positive lengths"):
        Scene((), field)


@pytest.mark.parametrize(
    ("pixels", "size_nm", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), None, r"must be \(H, W\)"),
        (np.zeros((0, 5), np.float32), None, "at least one pixel"),
        (np.zeros((4, 5)), None, "must be float32, got float64"),
        (np.zeros((4, 5), np.float32), 0.0, "pixel_size_nm must be positive"),
        (np.zeros((4, 5), np.float32), float("nan"), "pixel_size_nm must be positive"),
    ],
)
def test_impossible_micrographs(pixels: np.ndarray, size_nm: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Micrograph(pixels, size_nm)


def test_a_micrograph_does_not_change() -> None:
    micrograph = Micrograph(np.zeros((1, 1), np.float32))
    assert micrograph.modality is Modality.UNKNOWN and micrograph.pixel_size_nm is None
    with pytest.raises(FrozenInstanceError):
        micrograph.pixel_size_nm = 1.0  # type: ignore[misc]


def test_no_particles_is_a_case() -> None:
    assert len(Instances((4, 5), np.zeros(0, np.int64), [])) == 0
    assert len(Prediction(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), [])) == 0


def test_impossible_instances() -> None:
    one = np.zeros(1, np.int64)
    with pytest.raises(ValueError, match=r"labels must be \(1,\) for 1 segmentations, got \(0,\)"):
        Instances((4, 5), one[:0], [MASK])
    with pytest.raises(ValueError, match=r"mask 0 has size \[4, 5\], the micrograph \[5, 4\]"):
        Instances((5, 4), one, [MASK])
    with pytest.raises(ValueError, match="full_segmentations must be empty or hold 1"):
        Instances((4, 5), one, [MASK], [MASK, MASK])
    with pytest.raises(ValueError, match="truths must be empty or hold 1"):
        Instances((4, 5), one, [MASK], truths=[{}, {}])


def test_impossible_predictions() -> None:
    boxes, labels, scores = np.zeros((1, 4), np.float32), np.zeros(1, np.int64), np.ones(1, np.float32)
    with pytest.raises(ValueError, match="1 scores, but boxes"):
        Prediction(boxes[:0], labels, scores)
    with pytest.raises(ValueError, match="1 scores, but 0 masks"):
        Prediction(boxes, labels, scores, [])
    with pytest.raises(ValueError, match="rotated_boxes"):
        Prediction(boxes, labels, scores, None, boxes)
    with pytest.raises(ValueError, match=r"1 scores, but agreement_iou \(2,\)"):
        Prediction(boxes, labels, scores, agreement_iou=np.ones(2, np.float32))


def test_boxes_stand_in_for_masks() -> None:
    found = Instances((4, 5), np.zeros(2, np.int64), [], boxes=np.zeros((2, 4)), rotated_boxes=np.zeros((2, 5)))
    assert len(found) == 2 and found.has_boxes_only
    assert not Instances((4, 5), np.zeros(0, np.int64), []).has_boxes_only
    with pytest.raises(ValueError, match=r"boxes must be \(2, 4\) for 2 labels, got \(1, 4\)"):
        Instances((4, 5), np.zeros(2, np.int64), [], boxes=np.zeros((1, 4)))
    with pytest.raises(ValueError, match="1 segmentations beside boxes"):
        Instances((4, 5), np.zeros(1, np.int64), [MASK], rotated_boxes=np.zeros((1, 5)))
