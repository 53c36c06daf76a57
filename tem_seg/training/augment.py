"""Augmentation: geometry on crops and on each particle's own box, tone and noise through albumentations.

The cost of the geometry grows with the crop and with the area of the particles in it, never with particles × image
area.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network at import otherwise

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Rle
from tem_seg.data.rle import decode_crop
from tem_seg.training.turning import turned_crop, turned_patch
from tem_seg.training.window import Window


def draw_window(
    size: tuple[int, int], median_size_px: float, crop_px: int, scale_range: tuple[float, float],
    particle_px_range: tuple[float, float], rng: np.random.Generator, stretch: float = 0.0, rotate_deg: float = 0.0,
) -> Window:  # fmt: skip
    """A random window of a micrograph (H, W), log-uniform in scale, turned and mirrored at random.

    median_size_px: square root of the median particle area, NaN for an empty micrograph. The scale is held so that
    such a particle stays within particle_px_range in the crop: beyond it there is nothing left to see, or to frame.
    stretch: the sides' magnifications differ by up to this share, log-uniform: particles of other aspect ratios.
    rotate_deg: turned by up to this angle, either way, beside the quarter turns.
    """
    low, high = np.log(scale_range)
    scale = float(np.exp(rng.uniform(low, high)))
    if np.isfinite(median_size_px):
        scale = float(np.clip(scale, particle_px_range[0] / median_size_px, particle_px_range[1] / median_size_px))
    ratio = float(np.exp(rng.uniform(-0.5, 0.5) * np.log1p(stretch)))
    scales = (scale * ratio, scale / ratio)
    height, width = (min(side, max(1, round(crop_px / s))) for side, s in zip(size, scales, strict=True))
    return Window(
        x0=int(rng.integers(size[1] - width + 1)),
        y0=int(rng.integers(size[0] - height + 1)),
        width=width,
        height=height,
        out_width=min(crop_px, max(1, round(width * scales[1]))),
        out_height=min(crop_px, max(1, round(height * scales[0]))),
        mirror=bool(rng.integers(2)),
        quarter_turns=int(rng.integers(4)),
        turn_deg=float(rng.uniform(-rotate_deg, rotate_deg)) if rotate_deg else 0.0,
    )


def crop_image(pixels: NDArray[np.floating], window: Window) -> NDArray[np.float32]:
    """pixels (H, W) → the window as float32 (out_height, out_width), turned; area-averaged when shrunk.

    Where a window turned by any angle shows what lies beyond the micrograph it is NaN.
    """
    if window.turn_deg:
        return window.orient(turned_crop(pixels, window))
    part = pixels[window.y0 : window.y0 + window.height, window.x0 : window.x0 + window.width].astype(np.float32)
    shrinks = window.out_width < window.width
    size = (window.out_width, window.out_height)
    resized = cv2.resize(part, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return window.orient(resized)


def crop_mask(segmentation: Rle, window: Window) -> NDArray[np.uint8] | None:
    """One particle's mask in the window, (out_height, out_width) uint8 in {0, 1} before turning; None if outside."""
    found = _seen(segmentation, window)
    if found is None:
        return None
    patch, x, y = found
    out: NDArray[np.uint8] = np.zeros((window.out_height, window.out_width), np.uint8)
    out[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
    return out


def _seen(segmentation: Rle, window: Window) -> tuple[NDArray[np.bool_], int, int] | None:
    return turned_patch(segmentation, window) if window.turn_deg else _patch(segmentation, window)


def _patch(segmentation: Rle, window: Window) -> tuple[NDArray[np.bool_], int, int] | None:
    """What the window shows of one particle, cut to its place: (h, w) bool, x, y before turning; None if outside."""
    crop, x0, y0 = decode_crop(segmentation)
    scale_x, scale_y = window.out_width / window.width, window.out_height / window.height
    left, top = (x0 - window.x0) * scale_x, (y0 - window.y0) * scale_y
    right, bottom = left + crop.shape[1] * scale_x, top + crop.shape[0] * scale_y
    x_from, y_from = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
    x_to, y_to = min(window.out_width, int(np.ceil(right))), min(window.out_height, int(np.ceil(bottom)))
    if x_to <= x_from or y_to <= y_from or not crop.size:
        return None
    # pixel centres: source (i + 0.5) lands at left + (i + 0.5) * scale
    to_local = np.array(
        [[scale_x, 0, left - x_from + 0.5 * scale_x - 0.5], [0, scale_y, top - y_from + 0.5 * scale_y - 0.5]]
    )
    local = cv2.warpAffine(crop.astype(np.uint8) * 255, to_local, (x_to - x_from, y_to - y_from))
    return np.greater(local, 127), x_from, y_from


def crop_masks(
    segmentations: Iterable[Rle], window: Window, min_area_px: int = 8
) -> tuple[NDArray[np.uint8], list[int]]:
    """Masks (N, h, w) uint8 of the particles seen in the window, turned, and which of the segmentations they are.

    A particle of fewer than min_area_px px in the window is left out.
    """
    found = [(index, _seen(segmentation, window)) for index, segmentation in enumerate(segmentations)]
    seen = [(index, *view) for index, view in found if view is not None and np.count_nonzero(view[0]) >= min_area_px]
    sides = (window.out_height, window.out_width)
    masks = np.zeros((len(seen), *(sides[::-1] if window.quarter_turns % 2 else sides)), np.uint8)
    for mask, (_, patch, x, y) in zip(masks, seen, strict=True):
        turned = window.orient(patch)  # the patch, not the crop: 300 crops would cost 30 ms
        x, y = window.orient_corner(x, y, patch.shape)
        mask[y : y + turned.shape[0], x : x + turned.shape[1]] = turned
    return masks, [index for index, *_ in seen]


def boxes_of_masks(masks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Masks (N, h, w) in {0, 1}, none empty → boxes (N, 4) float32 xyxy px, half-open."""
    boxes = np.zeros((len(masks), 4), np.float32)
    if len(masks):
        seen = masks.view(np.bool_)  # 8 times as fast as any() of numbers
        columns, rows = np.asarray(seen.any(axis=1)), np.asarray(seen.any(axis=2))
        boxes[:, 0], boxes[:, 1] = columns.argmax(axis=1), rows.argmax(axis=1)
        boxes[:, 2] = masks.shape[2] - columns[:, ::-1].argmax(axis=1)
        boxes[:, 3] = masks.shape[1] - rows[:, ::-1].argmax(axis=1)
    return boxes


@dataclass(frozen=True, slots=True)
class Tone:
    """Chances (0–1) and strengths of the changes of tone, blur and noise; images are float32 in [0, 1]."""

    contrast_chance: float = 0.8
    contrast: float = 0.3
    gamma_chance: float = 0.3
    noise_chance: float = 0.3
    noise_sd: float = 0.08
    blur_chance: float = 0.2
    invert_chance: float = 0.1

    def build(self, headroom: float = 0.0) -> A.Compose:
        """The albumentations pipeline, to be called by :func:`change_tone` with the same headroom."""
        unit = 1 / (1 + 2 * headroom)
        return A.Compose([
            A.RandomBrightnessContrast(self.contrast * unit, self.contrast, p=self.contrast_chance),
            A.RandomGamma((60, 160), p=self.gamma_chance),
            A.GaussianBlur(blur_limit=(3, 5), p=self.blur_chance),
            A.GaussNoise(std_range=(0.0, self.noise_sd * unit), p=self.noise_chance),
            A.InvertImg(p=self.invert_chance),
        ])  # fmt: skip


def change_tone(
    pipeline: A.Compose, image: NDArray[np.float32], rng: np.random.Generator, headroom: float = 0.0
) -> NDArray[np.float32]:
    """image (h, w) float32 in [-headroom, 1 + headroom] → the same, changed in tone, blur and noise as drawn from rng.

    Albumentations takes [0, 1] and clips to it: it is shown the whole range as that.
    """
    pipeline.set_random_seed(int(rng.integers(2**31)))
    least, span = np.float32(-headroom), np.float32(1 + 2 * headroom)
    changed = pipeline(image=((image - least) / span)[..., None])["image"][..., 0]
    clipped: NDArray[np.float32] = np.clip(changed, 0.0, 1.0).astype(np.float32) * span + least
    return clipped
