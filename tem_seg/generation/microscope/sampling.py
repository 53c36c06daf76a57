"""Imaging step of scans that visit only a part of the pixels, to spare the specimen or the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.generation.microscope.exposure import Exposure
from tem_seg.generation.ranges import SHARE, Range, check, uniform

KINDS = ("random_pixels", "random_lines", "line_hops")
FILLS = ("zero", "nearest")


@dataclass(frozen=True)
class SubSampling:
    """Pixels that the beam did not visit hold 0, or what the nearest visited one holds; the mask goes with the image.

    Comes after ToGreyLevels, whose percentiles are then those of the visited pixels, and before bars and labels.
    random_pixels: each pixel by chance (Anderson et al., Proc. SPIE 8657 (2013) 86570C). random_lines: whole rows.
    line_hops: lines that hop up and down by a pixel as they go, each in its own band, which scan coils can follow
    (Kovarik et al., Appl. Phys. Lett. 109 (2016) 164102). In a video every frame visits other pixels.
    """

    probability: float
    """Share 0-1 of the micrographs."""
    share: Range
    """Of the pixels, 0-1, that are visited."""
    kinds: Sequence[str] = KINDS
    """One of them is drawn for each micrograph."""
    fill: str = "zero"
    """zero or nearest."""

    def __post_init__(self) -> None:
        check(self, {"share": (0.001, 1.0)}, {"probability": SHARE})
        kinds = (self.kinds,) if isinstance(self.kinds, str) else tuple(self.kinds)
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds:
            raise UserError(f"SubSampling.kinds must be some of {', '.join(KINDS)}, got {list(kinds)}")
        if self.fill not in FILLS:
            raise UserError(f"SubSampling.fill must be one of {', '.join(FILLS)}, got {self.fill!r}")
        object.__setattr__(self, "kinds", kinds)

    def __call__(self, exposure: Exposure, rng: np.random.Generator) -> None:
        if rng.random() >= self.probability:
            return
        kind, share = self.kinds[int(rng.integers(len(self.kinds)))], uniform(rng, self.share)
        sampled = visited(kind, share, exposure.size, exposure.frame_rng or rng)
        exposure.sampled = sampled if exposure.sampled is None else exposure.sampled & sampled
        if self.fill == "nearest" and exposure.sampled.any():
            exposure.pixels = from_nearest(exposure.pixels, exposure.sampled)
        else:
            exposure.pixels *= exposure.sampled


def visited(kind: str, share: float, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """(H, W) bool mask of the pixels that a scan of this kind visits."""
    if kind == "random_pixels":
        return np.asarray(rng.integers(0, 65536, size, dtype=np.uint16) < round(share * 65536))
    mask = np.zeros(size, bool)
    lines = max(1, round(share * size[0]))
    if kind == "random_lines":
        mask[rng.choice(size[0], lines, replace=False)] = True
    else:
        mask[_hopping_rows(lines, size, rng), np.arange(size[1])] = True
    return mask


def _hopping_rows(lines: int, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
    """(lines, W) rows of lines that hop by -1, 0 or 1 px a pixel, each mirrored at the borders of its own band."""
    edges = np.rint(np.linspace(0, size[0], lines + 1)).astype(np.int64)
    low, depth = edges[:-1, None], np.diff(edges)[:, None]
    walk = np.cumsum(rng.integers(-1, 2, (lines, size[1])), axis=1) + rng.integers(0, size[0], (lines, 1))
    folded = walk % (2 * depth)
    return np.asarray(low + np.minimum(folded, 2 * depth - 1 - folded))


def from_nearest(pixels: NDArray[np.float32], sampled: NDArray[np.bool_]) -> NDArray[np.float32]:
    """pixels (H, W) with every one that is not sampled (H, W) taken from the nearest sampled one (at least one is)."""
    missing = (~sampled).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(missing, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    values = np.zeros(int(labels.max()) + 1, np.float32)
    values[labels[sampled]] = pixels[sampled]
    return np.asarray(values[labels], np.float32)
