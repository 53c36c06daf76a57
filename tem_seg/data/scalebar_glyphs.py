"""What a piece of a scale bar's label is: a digit, a point, a letter of a unit, or none of these.

A small network of 69,000 weights, trained on drawn labels alone (scripts/train_glyphs.py, which uses the functions
of this file too: what is trained is what is read).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES = "0123456789.nmµuÅ"
"""The network's outputs; one more for everything else."""
DIGIT_ROWS, ABOVE, BELOW = 32, 8, 12
WORD_ROWS = DIGIT_ROWS + ABOVE + BELOW
PATCH = WORD_ROWS // 2
WEIGHTS = "scalebar_glyphs.npz"

Coverage = NDArray[np.float32]
"""How much of a pixel is ink, (h, w) in [0, 1]."""


def normalised(ink: Coverage, top: float, bottom: float) -> Coverage:
    """A line of text scaled so that what spans rows top to bottom (its first digit) is DIGIT_ROWS high."""
    scale = DIGIT_ROWS / (bottom - top)
    width = max(1, round(ink.shape[1] * scale))
    shrinking = scale < 1.0
    if shrinking:  # area averages first: cv2.warpAffine would skip pixels
        rows = max(1, round(ink.shape[0] * scale))
        top *= rows / ink.shape[0]
        ink = np.asarray(cv2.resize(ink, (width, rows), interpolation=cv2.INTER_AREA), np.float32)
        scale = 1.0
    matrix = np.array([[scale, 0.0, (scale - 1.0) / 2.0], [0.0, scale, (scale - 1.0) / 2.0 + ABOVE - top * scale]])
    method = cv2.INTER_LINEAR if shrinking else cv2.INTER_CUBIC
    return np.clip(cv2.warpAffine(ink, matrix, (width, WORD_ROWS), flags=method), 0.0, 1.0)


def patches(word: Coverage, segments: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    """Columns x0 to x1 (half-open) of a normalised word, centred, nothing beside them → (N, PATCH²)."""
    out = np.zeros((len(segments), WORD_ROWS, WORD_ROWS), np.float32)
    for canvas, (x0, x1) in zip(out, segments, strict=True):
        width = min(x1 - x0, WORD_ROWS)
        left = (WORD_ROWS - width) // 2
        canvas[:, left : left + width] = word[:, x0 : x0 + width]
    halves = out.reshape(len(segments), PATCH, 2, PATCH, 2).mean(axis=(2, 4))
    return np.asarray(halves.reshape(len(segments), PATCH * PATCH), np.float32)


def log_probabilities(pieces: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, PATCH²) → (N, len(CLASSES) + 1) logarithms of probabilities; the last is "none of these"."""
    layers = _weights()
    values = pieces.astype(np.float64)
    for k in range(0, len(layers), 2):
        values = values @ layers[k] + layers[k + 1]
        if k + 2 < len(layers):
            values = np.maximum(values, 0.0)
    values -= values.max(axis=1, keepdims=True)
    return np.asarray(values - np.log(np.exp(values).sum(axis=1, keepdims=True)))


@cache
def _weights() -> list[NDArray[np.float64]]:
    with files("tem_seg.data").joinpath(WEIGHTS).open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return [stored[f"layer{k}"].astype(np.float64) for k in range(len(stored.files))]
