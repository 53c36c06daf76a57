"""Real annotated images taken apart, into backgrounds and particles: what cut_paste composes its pictures from."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Instances
from tem_seg.generation.real import ground
from tem_seg.generation.real.cutting import Cutting, cut_out, signed_distance
from tem_seg.generation.real.images import RealImages, grey_levels
from tem_seg.generation.real.sifting import MIN_GROUND, Sifting, Whole, is_open, measured, sift, why_empty

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
HALO_PX = (2, 20)  # how far particles are seen to brighten or darken their surroundings, at least and at most
TAKEN_HALO_PX = 8  # and how much of that comes along with a particle, at most
DEPTH_PAD = 2
CACHE_BYTES = 400_000_000  # of prepared images a process keeps


@dataclass(frozen=True, slots=True)
class Source:
    """A real image taken apart. All (H, W) float32 grey levels 0-255.

    level: the slow part of the background. backgrounds: without particles, each with its slow part; empty where too
    little background is seen. dark: particles are darker than the background. particles: all, with their signed
    distances in depths, each (h, w) and DEPTH_PAD wider than the mask on every side. cuttings: those fit for pasting.
    halo_px: how far from the outlines the surroundings are not yet background.
    """

    pixels: Field
    level: Field
    backgrounds: list[tuple[Field, Field]]
    dark: bool
    particles: list[Whole]
    depths: list[Field]
    cuttings: list[Cutting]
    halo_px: int
    pixel_size_nm: float | None

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        fields = [self.pixels, self.level, *self.depths, *(f for pair in self.backgrounds for f in pair)]
        return sum(f.nbytes for f in fields) + sum(c.nbytes for c in self.cuttings)


class Scratch(threading.local):
    """Arrays that are filled anew for every picture: the first touch of fresh memory takes longer than filling it."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[Any]] = {}

    def __call__(self, name: str, shape: tuple[int, int], dtype: type[np.generic]) -> NDArray[Any]:
        """The array of that name, shape and dtype, with whatever was left in it."""
        if name not in self._held or self._held[name].shape != shape:
            self._held[name] = np.empty(shape, dtype)
        return self._held[name]


class Pool:
    """Sources of all images, made when they are first needed; the least used go when memory is full."""

    def __init__(self, images: RealImages, sifting: Sifting, synthetic_backgrounds: bool) -> None:
        self.images, self.synthetic_backgrounds, self.scratch = images, synthetic_backgrounds, Scratch()
        if not len(images):
            raise UserError(f"cut_paste: there is no image in split {images.split!r} of {images.reader.identity()}")
        self.particles = [sift(instances, sifting) for _, instances in images.items]
        self.fit = [i for i, found in enumerate(self.particles) if any(not p.reason for p in found)]
        if not self.fit:
            raise UserError(why_empty(self.particles, sifting))
        sizes = [entry["height"] * entry["width"] for entry, _ in images.items]
        self.open = [i for i, found in enumerate(self.particles) if synthetic_backgrounds or is_open(found, sizes[i])]
        self._sources: OrderedDict[int, Source] = OrderedDict()
        self._bytes = 0

    def source(self, index: int) -> Source:
        """Image ``index``, taken apart."""
        if index in self._sources:
            self._sources.move_to_end(index)
            return self._sources[index]
        made = take_apart(self.images, index, self.particles[index], self.synthetic_backgrounds)
        self._sources[index] = made
        self._bytes += made.nbytes
        while self._bytes > CACHE_BYTES and len(self._sources) > 1:
            self._bytes -= self._sources.popitem(last=False)[1].nbytes
        return made


def take_apart(images: RealImages, index: int, particles: list[Whole], synthetic_backgrounds: bool) -> Source:
    """Image ``index`` → its backgrounds, and its particles cut out."""
    micrograph = images.micrograph(index)
    pixels = grey_levels(micrograph.pixels)
    rng = child_rng(0, "pool", index)
    owner = np.zeros(pixels.shape, np.int32)
    for number, particle in enumerate(particles, start=1):
        owner[particle.mask.window][particle.mask.values] = number
    taken = owner > 0
    if taken.all():
        raise UserError(f"{images.items[index][0]['file_name']}: every pixel belongs to a particle: leave it out")
    free, known, level, halo_px = _background(pixels, taken, particles)
    grain = ground.grain_like(pixels - level, known, rng)
    backgrounds = []
    if is_open(particles, free.size):
        backgrounds.append((ground.without_particles(pixels, ~free, level, grain), level))
    if synthetic_backgrounds:
        mean = np.float32(pixels[known].mean())
        backgrounds.append((mean + grain, np.full(pixels.shape, mean)))
    dark = _is_dark(pixels, level, particles)
    relative = np.asarray(pixels / np.maximum(level, ground.LOWEST) if dark else pixels - level, np.float32)
    cuttings = [cut_out(relative, owner, p, number, dark, min(halo_px, TAKEN_HALO_PX), rng)
                for number, p in enumerate(particles, start=1) if not p.reason]  # fmt: skip
    depths = [signed_distance(np.pad(p.mask.values, DEPTH_PAD)) for p in particles]
    return Source(pixels, level, backgrounds, dark, particles, depths, cuttings, halo_px, micrograph.pixel_size_nm)


def background_of(pixels: Field, instances: Instances) -> Field:
    """pixels (H, W) float32, grey levels → the image without its particles: inpainted, with the grain of the rest.

    UserError where particles cover all of it.
    """
    particles = [measured(mask, 0) for mask in instances.segmentations]
    taken = np.zeros(pixels.shape, bool)
    for particle in particles:
        taken[particle.mask.window] |= particle.mask.values
    if not taken.any():
        return pixels
    if taken.all():
        raise UserError("every pixel of the image belongs to a particle: there is no background to take from it")
    free, known, level, _ = _background(pixels, taken, particles)
    grain = ground.grain_like(pixels - level, known, child_rng(0, "pool"))
    return ground.without_particles(pixels, ~free, level, grain)


def _background(pixels: Field, taken: Mask, particles: list[Whole]) -> tuple[Mask, Mask, Field, int]:
    """Pixels (H, W) away from particles (taken) and halos; those of them without letters and bars; the slow part of the
    background; the halos' width in px.

    Outlines seldom hold the whole blurred edge and its fringe: how far these reach is seen in the mean deviation from
    the background at every distance. What particles enclose is no background either: halos from all sides meet there.
    """
    away = np.asarray(cv2.distanceTransform((~taken).astype(np.uint8), cv2.DIST_L2, 3), np.float32)
    least, most = HALO_PX
    reach = next(r for r in (most, most // 2, least, 0) if np.count_nonzero(away > r) >= 0.02 * away.size or r == 0)
    level = ground.smooth_level(pixels, away <= reach)
    halo_px = min(_halo_px(pixels - level, away, most), max(reach, least))
    free = away > min(halo_px, reach)
    middle = float(np.median([p.diameter for p in particles])) if particles else 0.0
    for radius in (0.5 * middle, 0.25 * middle):
        outer = cv2.distanceTransform((away <= radius + halo_px).astype(np.uint8), cv2.DIST_L2, 3) <= radius
        if np.count_nonzero(outer) >= MIN_GROUND * outer.size:
            free &= outer
            break
    known = free & ~ground.writing(pixels, free)
    for _ in range(2):  # a bar raises the level around it, which hides part of it the first time
        level = ground.smooth_level(pixels, ~known)
        known = ground.plain(pixels - level, known)
    level = ground.smooth_level(pixels, ~known)
    return free, known, level, halo_px


def _halo_px(deviation: Field, away: Field, most: int) -> int:
    """Distance beyond which the mean deviation stays within half its spread in the background."""
    near = (away > 0) & (away < 2 * most)
    if not near.any():
        return HALO_PX[0]
    steps = away[near].astype(np.int64)
    counts = np.bincount(steps, minlength=2 * most)
    mean = np.bincount(steps, weights=deviation[near], minlength=2 * most) / np.maximum(counts, 1)
    beyond = deviation[near][steps >= most]
    spread = float(np.subtract(*np.percentile(beyond, [75, 25]))) / 1.35 if len(beyond) > 100 else 2.0
    odd = np.flatnonzero(np.abs(mean[:most] - float(np.median(mean[most // 2 :]))) > max(0.5 * spread, 0.7))
    return int(np.clip(odd[-1] + 1 if len(odd) else 0, *HALO_PX))


def _is_dark(pixels: Field, level: Field, particles: list[Whole]) -> bool:
    differences = [np.median((pixels - level)[p.mask.window][p.mask.values]) for p in particles]
    return bool(np.mean(differences) < 0) if differences else True
