"""Particles of a Prediction: chosen, put together, moved to another frame, with everything that is known of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.geometry import wrap_half_turn
from tem_seg.core.types import Prediction, Rle
from tem_seg.data.rle import decode_crop, encode_crops

Points = NDArray[np.float64]
PER_PARTICLE = tuple(field.name for field in dataclasses.fields(Prediction) if field.name != "capped")
"""Fields of a Prediction that hold one entry a particle, an array or a list each, or None."""


def keep(prediction: Prediction, chosen: NDArray[Any]) -> Prediction:
    """The part of a prediction given by a boolean or index array (N,)."""
    index = np.flatnonzero(chosen) if chosen.dtype == bool else chosen

    def part(values: Any) -> Any:
        return [values[i] for i in index] if isinstance(values, list) else values[index]

    found: dict[str, Any] = {name: getattr(prediction, name) for name in PER_PARTICLE}
    parts: dict[str, Any] = {name: None if values is None else part(values) for name, values in found.items()}
    return Prediction(**parts, capped=prediction.capped)


def concatenate(predictions: Sequence[Prediction]) -> Prediction:
    """The particles of at least one prediction of the same frame, one after the other; capped if one of them is.

    Raises ValueError where some have a field (masks) that others lack.
    """
    together: dict[str, Any] = {}
    for name in PER_PARTICLE:
        parts = [getattr(prediction, name) for prediction in predictions]
        known = [part for part in parts if part is not None]
        if known and len(known) < len(parts):
            raise ValueError(f"{len(known)} of {len(parts)} predictions have {name}: all need them, or none")
        if not known:
            together[name] = None
        elif isinstance(known[0], list):
            together[name] = [value for part in known for value in part]
        else:
            together[name] = np.concatenate(known)
    return Prediction(**together, capped=any(prediction.capped for prediction in predictions))


def by_score(prediction: Prediction) -> Prediction:
    """In descending score; equal ones keep their order."""
    return keep(prediction, np.argsort(-prediction.scores, kind="stable"))


# ----------------------------------------------------------------------------------------------------- frames


def shifted(prediction: Prediction, x0: int, y0: int, size: tuple[int, int]) -> Prediction:
    """A prediction in a window whose top-left pixel is (x0, y0) of a frame ``size`` (H, W) → in that frame."""
    return _moved(
        prediction, size, points=lambda found: found + np.array([x0, y0]), crop=lambda crop: crop, angle=float
    )


def turned_back(prediction: Prediction, turns: int, mirrored: bool, size: tuple[int, int]) -> Prediction:
    """A prediction for a micrograph ``size`` (H, W) that was shown mirrored (left–right) and turned → in its own frame.

    turns: quarter turns counter-clockwise as displayed, after mirroring, if so; what was shown is
    ``np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)``. Exact: masks keep their pixels.
    """
    if not turns and not mirrored:
        return prediction

    def points(found: Points) -> Points:
        for turn in range(turns, 0, -1):  # a turn made x' = y and y' = width - x
            width = size[1] if turn % 2 else size[0]
            found = np.stack([width - found[:, 1], found[:, 0]], axis=1)
        return found * [-1, 1] + [size[1], 0] if mirrored else found

    def crop(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
        upright = np.rot90(found, -turns)
        return upright[:, ::-1] if mirrored else upright

    sense = -1.0 if mirrored else 1.0
    back = _moved(prediction, size, points, crop, lambda angle_deg: sense * (angle_deg - 90.0 * turns))
    if mirrored and back.contours is not None:  # a mirrored outline runs the other way round
        return dataclasses.replace(back, contours=[contour[::-1] for contour in back.contours])
    return back


def _moved(
    prediction: Prediction, size: tuple[int, int], points: Callable[[Points], Points],
    crop: Callable[[NDArray[np.bool_]], NDArray[np.bool_]], angle: Callable[[float], float],
) -> Prediction:  # fmt: skip
    """Everything that has a place, carried to a frame ``size`` (H, W) by an isometry of pixels onto pixels."""
    changes: dict[str, Any] = {"boxes": _upright(prediction.boxes, points).astype(np.float32)}
    if prediction.masks is not None:
        changes["masks"] = _moved_masks(prediction.masks, size, points, crop)
    if prediction.rotated_boxes is not None:
        turned = prediction.rotated_boxes.astype(np.float64)
        turned[:, :2] = points(turned[:, :2])
        turned[:, 4] = [wrap_half_turn(angle(value)) for value in turned[:, 4].tolist()]
        changes["rotated_boxes"] = turned.astype(np.float32)
    if prediction.contours is not None:
        changes["contours"] = [points(c.astype(np.float64)).astype(np.float32) for c in prediction.contours]
    return dataclasses.replace(prediction, **changes)


def _upright(boxes: NDArray[np.floating], points: Callable[[Points], Points]) -> Points:
    """(N, 4) xyxy px, moved."""
    corners = points(boxes.astype(np.float64).reshape(-1, 2)).reshape(-1, 2, 2)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def _moved_masks(
    masks: list[Rle], size: tuple[int, int], points: Callable[[Points], Points],
    crop: Callable[[NDArray[np.bool_]], NDArray[np.bool_]],
) -> list[Rle]:  # fmt: skip
    found = [decode_crop(mask) for mask in masks]
    boxes = np.array([[x, y, x + c.shape[1], y + c.shape[0]] for c, x, y in found], np.float64).reshape(-1, 4)
    x0, y0 = _upright(boxes, points)[:, :2].round().astype(np.int64).T
    return encode_crops([crop(c) for c, _, _ in found], x0, y0, size)
