"""Imaging step: what authors draw into their figures: arrows, words, dashed circles and boxes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.microscope.overlays import FONTS, blend, take_place, text_alpha
from tem_seg.generation.ranges import SHARE, Range, check, uniform

INKS = (0.0, 255.0, 76.0, 226.0, 150.0, 29.0)
"""Black, white, and what red, yellow, green and blue become when a figure is made grey (ITU-R BT.601)."""
WORDS = (
    "Au",
    "Ag",
    "Pt",
    "Pd",
    "SiO2",
    "NP",
    "C",
    "i",
    "ii",
    "1",
    "2",
    "3",
    "A",
    "B",
    "(111)",
    "(200)",
    "[110]",
    "0.24 nm",
)
KINDS = ("arrow", "word", "circle", "box")
TRIES = 8
SUBPIXEL_BITS = 4

Mark = NDArray[np.float32]
"""Coverage (h, w) in [0, 1]."""


@dataclass(frozen=True)
class Annotations:
    """Marks drawn over the picture, thin enough for the particles under them to be seen: none of them hides anything.

    Every other mark is put where one of a few random places differs most from the background, so that arrows point
    at something. Marks keep clear of bars, letters and each other.
    """

    probability: float
    """Share 0-1 of the micrographs."""
    number: Range
    """Of marks."""
    size: Range
    """Length of an arrow, diameter of a circle, over the image's height."""
    line: Range
    """Width of the lines, over the image's height."""
    text: Range
    """Height of the letters' em, over the image's height."""

    def __post_init__(self) -> None:
        limits: dict[str, Range] = {"number": (0.0, 50.0), "size": (0.01, 0.8), "line": (0.0005, 0.02)}
        check(self, limits | {"text": (0.005, 0.3)}, {"probability": SHARE})
        if any(number != int(number) for number in self.number):
            raise UserError(f"Annotations.number must be whole numbers, got {list(self.number)}")

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        ink, opacity = _ink(exposure, rng), np.float32(rng.uniform(0.7, 1.0))
        width_px = uniform(rng, self.line) * exposure.size[0]
        for _ in range(int(rng.integers(int(self.number[0]), int(self.number[1]) + 1))):
            mark, points_at = self._mark(exposure.size[0], width_px, rng)
            height, width = mark.shape
            place = take_place(exposure, _places(exposure, (height, width), points_at, rng), width, height)
            if place is not None:
                blend(exposure, mark * opacity, *place, ink)

    def _mark(self, height: int, width_px: float, rng: np.random.Generator) -> tuple[Mark, tuple[int, int]]:
        """One mark, and what it points at: x, y px from its top-left corner."""
        kind = KINDS[int(rng.choice(4, p=[0.45, 0.25, 0.15, 0.15]))]
        if kind == "word":
            em = max(6, round(uniform(rng, self.text) * height))
            return _centred(text_alpha(WORDS[int(rng.integers(len(WORDS)))], FONTS[int(rng.integers(len(FONTS)))], em))
        length_px = max(6.0, uniform(rng, self.size) * height)
        if kind == "arrow":
            return arrow(length_px, rng.uniform(0.0, 2.0 * np.pi), width_px)
        if kind == "circle":
            angle = np.linspace(0.0, 2.0 * np.pi, 73)
            corners = np.stack([np.cos(angle), np.sin(angle) * rng.uniform(0.7, 1.0)], axis=1) * length_px / 2.0
        else:
            half = length_px / 2.0 * np.array([1.0, rng.uniform(0.5, 1.0)])
            corners = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
        dash_px = rng.uniform(2.0, 5.0) * max(width_px, 1.0) if rng.random() < 0.7 else np.inf
        return _centred(dashed(corners, dash_px, width_px))


def _centred(mark: Mark) -> tuple[Mark, tuple[int, int]]:
    return mark, (mark.shape[1] // 2, mark.shape[0] // 2)


def _ink(exposure: Exposure, rng: np.random.Generator) -> float:
    """Most authors take what can be seen; some take a colour."""
    if rng.random() < 0.3:
        return INKS[int(rng.integers(2, len(INKS)))]
    return 255.0 if np.median(exposure.pixels[::16, ::16]) < 128 else 0.0


def _places(
    exposure: Exposure, size: tuple[int, int], points_at: tuple[int, int], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Top-left corners (x0, y0) within the image; the one that points at the most striking pixel first, or any."""
    room = [side - part for side, part in zip(exposure.size, size, strict=True)]
    if min(room) < 0:
        return []
    y0, x0 = (rng.integers(0, space + 1, TRIES) for space in room)
    order = np.arange(TRIES)
    if rng.random() < 0.5:
        there = exposure.pixels[y0 + points_at[1], x0 + points_at[0]]
        order = np.argsort(-np.abs(there - np.median(exposure.pixels[::16, ::16])), kind="stable")
    return [(int(x0[i]), int(y0[i])) for i in order]


def arrow(length_px: float, angle: float, width_px: float) -> tuple[Mark, tuple[int, int]]:
    """An arrow that points along angle (rad, clockwise as displayed from x), and where its tip is, x, y px."""
    width_px = max(width_px, 1.0)
    head_px = min(6.0 * width_px, 0.5 * length_px)
    tip = np.array([np.cos(angle), np.sin(angle)])
    side = np.array([-tip[1], tip[0]])
    neck = tip * (length_px - head_px)
    shaft = np.array([np.zeros(2), neck])
    head = np.array([tip * length_px, neck + 0.4 * head_px * side, neck - 0.4 * head_px * side])
    corners = np.concatenate([shaft, head])
    low, layer = _layer(corners, width_px)
    cv2.fillPoly(layer, [_fixed(head - low)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    cv2.polylines(layer, [_fixed(shaft - low)], False, 255, round(width_px), cv2.LINE_AA, SUBPIXEL_BITS)
    x, y = np.floor(head[0] - low)
    return layer.astype(np.float32) / np.float32(255.0), (int(x), int(y))


def dashed(corners: NDArray[np.float64], dash_px: float, width_px: float) -> Mark:
    """The line through corners (K, 2) px, in dashes as long as their gaps."""
    low, layer = _layer(corners, width_px)
    along = np.r_[0.0, np.cumsum(np.hypot(*np.diff(corners, axis=0).T))]
    dashes = max(1, round(float(along[-1]) / (2.0 * dash_px)))
    edges = np.linspace(0.0, along[-1], 2 * dashes + 1) if np.isfinite(dash_px) else along[[0, -1]]
    for start, end in zip(edges[:-1:2], edges[1::2], strict=True):
        at = np.r_[start, along[(along > start) & (along < end)], end]
        points = np.stack([np.interp(at, along, corners[:, axis]) for axis in (0, 1)], axis=1)
        cv2.polylines(
            layer, [_fixed(points - low)], False, 255, max(1, round(width_px)), cv2.LINE_AA, SUBPIXEL_BITS
        )  # fmt: skip
    return layer.astype(np.float32) / np.float32(255.0)


def _layer(corners: NDArray[np.float64], width_px: float) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Place of a layer's top-left pixel, and the empty layer (h, w) that the line through corners fits in."""
    margin = width_px + 2.0
    low, high = np.floor(corners.min(axis=0) - margin), np.ceil(corners.max(axis=0) + margin)
    width, height = (int(v) for v in high - low)
    return low, np.zeros((height, width), np.uint8)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Points as OpenCV's fixed-point numbers; it counts from the first pixel's centre."""
    return np.asarray(np.rint((points - 0.5) * 2**SUBPIXEL_BITS), np.int32)
