"""Experimental substrates: a folder of micrographs without particles, or annotated ones with theirs painted over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Micrograph
from tem_seg.data import rle
from tem_seg.data.images import read_micrograph
from tem_seg.generation.real.images import RealImages, grey_levels
from tem_seg.generation.real.pool import background_of

Pixels = NDArray[np.float32]
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".mrc", ".dm3", ".dm4", ".emd", ".ser", ".hspy")
NOISE_PX = 512
"""Side of the middle part of a substrate that tells its noise well enough."""
KEPT = 64
"""Substrates that a process keeps in memory."""


class Substrates(Protocol):
    """Numbered micrographs without particles."""

    def __len__(self) -> int: ...

    def substrate(self, index: int) -> tuple[Pixels, float | None]:
        """(grey levels (H, W) float32, 0 = no signal, about 255 = the brightest; pixel size in nm or None)."""

    def identity(self) -> dict[str, Any]:
        """What they depend on, JSON-able."""


class _Kept(ABC):
    """The last few substrates stay in memory, so that a process prepares each of a small folder once."""

    def substrate(self, index: int) -> tuple[Pixels, float | None]:
        """Number ``index``, in a fixed order."""
        if index not in self._held:
            if len(self._held) >= KEPT:
                self._held.pop(next(iter(self._held)))
            self._held[index] = self._made(index)
        return self._held[index]

    @abstractmethod
    def _made(self, index: int) -> tuple[Pixels, float | None]:
        """What ``substrate`` gives, prepared anew."""

    @cached_property
    def _held(self) -> dict[int, tuple[Pixels, float | None]]:
        return {}


@dataclass(frozen=True)
class SubstrateFolder(_Kept):
    """All micrographs of a folder: bare film, taken beside the particles. Read by data.images.read_micrograph."""

    root: str | Path

    @cached_property
    def _files(self) -> list[Path]:
        found = sorted(path for path in Path(self.root).glob("*") if path.suffix.lower() in SUFFIXES)
        if not found:
            raise UserError(f"no micrograph in the substrate folder {self.root}: expected {', '.join(SUFFIXES)}")
        return found

    def __len__(self) -> int:
        return len(self._files)

    def _made(self, index: int) -> tuple[Pixels, float | None]:
        micrograph: Micrograph = read_micrograph(self._files[index])
        return grey_levels(micrograph.pixels), micrograph.pixel_size_nm

    def identity(self) -> dict[str, Any]:
        """Names and lengths of the files."""
        return {"files": [[path.name, path.stat().st_size] for path in self._files]}


@dataclass(frozen=True)
class InpaintedSubstrates(_Kept):
    """What lies between and behind the particles of annotated micrographs (pool.background_of).

    max_covered: micrographs of which particles cover more than this share are left out: what lies under is a guess.
    """

    images: RealImages
    max_covered: float = 0.4

    @cached_property
    def _chosen(self) -> list[int]:
        chosen = []
        for index, (entry, instances) in enumerate(self.images.items):
            covered = sum(rle.area_px(mask) for mask in instances.segmentations) / (entry["height"] * entry["width"])
            if covered <= self.max_covered:
                chosen.append(index)
        if not chosen:
            raise UserError(
                f"InpaintedSubstrates: in all {len(self.images)} micrographs particles cover more than "
                f"max_covered = {self.max_covered:g} of the area: raise it, or take emptier micrographs"
            )
        return chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def _made(self, index: int) -> tuple[Pixels, float | None]:
        number = self._chosen[index]
        micrograph = self.images.micrograph(number)
        return background_of(grey_levels(micrograph.pixels), self.images.items[number][1]), micrograph.pixel_size_nm

    def identity(self) -> dict[str, Any]:
        """The images and the limit."""
        return {"images": self.images.identity(), "max_covered": self.max_covered}


def noise_of(pixels: Pixels) -> tuple[float, float]:
    """(standard deviation in grey levels, blur sigma in px) of a substrate's noise, taken as blurred white noise.

    From the structure function at lags 1 and 2 along rows and columns: (1 − ρ⁴) / (1 − ρ) of lag 2 over lag 1, where
    ρ = exp(−1 / 4σ²) is the correlation of neighbours. Slow unevenness and edges hardly count.
    """
    half = NOISE_PX // 2
    y, x = pixels.shape[0] // 2, pixels.shape[1] // 2
    middle = pixels[max(0, y - half) : y + half, max(0, x - half) : x + half]
    first, second = (_difference_variance(middle, lag) for lag in (1, 2))
    if first < 1e-6:
        return 0.0, 0.5
    candidates = np.linspace(0.0, 0.98, 197)
    ratios = 1.0 + candidates + candidates**2 + candidates**3
    rho = float(np.interp(np.clip(second / first, ratios[0], ratios[-1]), ratios, candidates))
    blur_px = 0.3 if rho < 0.063 else float(np.sqrt(-0.25 / np.log(rho)))
    return float(np.sqrt(first / (2.0 * (1.0 - rho)))), blur_px


def _difference_variance(pixels: Pixels, lag: int) -> float:
    """Variance of the difference of pixels ``lag`` apart, without the tails that edges and letters make."""
    values = np.concatenate(
        [(pixels[lag::2] - pixels[:-lag:2]).ravel(), (pixels[:, lag::2] - pixels[:, :-lag:2]).ravel()]
    )
    squares = values * values
    limit = 9.0 * (float(np.percentile(np.abs(values), 68.0)) + 0.5) ** 2
    return float(np.minimum(squares, limit).mean())


def canvas(pixels: Pixels, image_size: tuple[int, int], zoom: float, reflect: bool, rng: np.random.Generator) -> Pixels:
    """A random piece (H, W) of a substrate magnified by ``zoom``, flipped and turned by quarters at random.

    One that is too small is continued by its mirror image where ``reflect`` allows that. Raises UserError otherwise.
    """
    if zoom != 1.0:
        method = cv2.INTER_AREA if zoom < 1.0 else cv2.INTER_CUBIC
        pixels = np.asarray(cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=method), np.float32)
    pixels = np.rot90(pixels, int(rng.integers(4)))
    pixels = pixels[:, ::-1] if rng.random() < 0.5 else pixels
    lacks = [max(0, wanted - side) for wanted, side in zip(image_size, pixels.shape, strict=True)]
    if any(lacks):
        if not reflect:
            raise UserError(_too_small((pixels.shape[0], pixels.shape[1]), image_size))
        pixels = np.pad(pixels, [(0, lack) for lack in lacks], mode="symmetric")
    y0, x0 = (int(rng.integers(side - wanted + 1)) for wanted, side in zip(image_size, pixels.shape, strict=True))
    return np.ascontiguousarray(pixels[y0 : y0 + image_size[0], x0 : x0 + image_size[1]], np.float32)


def _too_small(size: tuple[int, int], image_size: tuple[int, int]) -> str:
    return (
        f"a substrate of {size[0]} × {size[1]} px is smaller than the output of {image_size[0]} × {image_size[1]} px: "
        "give larger ones, a smaller generation.image_size, or reflect: true (it is continued by its mirror image)"
    )
