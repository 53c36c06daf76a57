"""One picture of cut_paste in the making: a background, particles laid on it, their masks and truths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.generation.ranges import log_uniform, uniform
from tem_seg.generation.raster import Crop
from tem_seg.generation.real import layout, paste
from tem_seg.generation.real.cutting import Cutting
from tem_seg.generation.real.layout import Layout, discs_of
from tem_seg.generation.real.paste import Pasted, Pose
from tem_seg.generation.real.pool import Source
from tem_seg.generation.real.view import View
from tem_seg.generation.recipe import Picture

if TYPE_CHECKING:
    from tem_seg.generation.recipes.cut_paste import CutPaste


Choice = tuple[Cutting, float, float, bool]
"""A particle, its magnification, turn in radians, and whether it is mirrored."""


class Collage:
    """Draws one picture of (H, W) px by a recipe's parameters."""

    def __init__(self, recipe: CutPaste, rng: np.random.Generator, image_size: tuple[int, int]) -> None:
        self.recipe, self.rng, self.image_size = recipe, rng, image_size
        pool = recipe.pool
        self.index = pool.fit[int(rng.integers(len(pool.fit)))]
        self.main = pool.source(self.index)
        self.sources = [(self.index, self.main), *self._others()]
        self.keeps = rng.random() < recipe.keep_particles
        self.ground = (self.index, self.main) if self.keeps else self._open_source()
        self.keeps = self.keeps or not self.ground[1].backgrounds  # too full to give one
        self.scale, self.count = self._scale_and_count()
        self.view = self._view()
        if self.keeps:
            self.scale = self.view.magnification / recipe.base(self.index, image_size)

    def picture(self) -> Picture:
        """Background, layout, pasting, noise."""
        source, scratch = self.ground[1], self.recipe.pool.scratch
        if self.keeps:
            fields, kept = (source.pixels, source.level), self._kept()
        else:
            fields, kept = source.backgrounds[int(self.rng.integers(len(source.backgrounds)))], []
        pixels = self.view.of(fields[0])
        level = self.view.of(fields[1], scratch("level", self.image_size, np.float32))
        top = scratch("top", self.image_size, np.uint16)
        seen = paste.stacked([*kept, *self._pasted(kept)], self.recipe.min_visible, top)
        self._paint(pixels, level, seen.particles)
        pixel_size_nm = self._pixel_size_nm()
        instances = paste.instances_of(seen, self.image_size, self.recipe.min_visible_px, pixel_size_nm)
        return Picture(self._spoilt(pixels), instances, pixel_size_nm)

    # ----------------------------------------------------------------------------------------- what, and how much

    def _others(self) -> list[tuple[int, Source]]:
        """Further images that particles come from."""
        low, high = (int(n) for n in self.recipe.particle_sources)
        wanted = int(self.rng.integers(low, high + 1)) - 1
        return [found for _ in range(wanted) if (found := self._alike(self.recipe.pool.fit)) is not None]

    def _alike(self, indices: Sequence[int]) -> tuple[int, Source] | None:
        """Of a few of these images, drawn at random, one whose particles have the main one's sign of contrast."""
        for _ in range(4 if indices else 0):
            index = indices[int(self.rng.integers(len(indices)))]
            source = self.recipe.pool.source(index)
            if index != self.index and (source.dark == self.main.dark or not source.particles):
                return index, source
        return None

    def _open_source(self) -> tuple[int, Source]:
        """The image whose background is used: the main one if no other will do; if full, it keeps its particles."""
        own = self.index, self.main
        if self.main.backgrounds and self.rng.random() >= self.recipe.foreign_background:
            return own
        return self._alike(self.recipe.pool.open) or own

    def _scale_and_count(self) -> tuple[float, int]:
        """Particles' magnification over that at which the main image fills the output, and how many are wanted."""
        recipe, rng, size = self.recipe, self.rng, self.image_size
        base, area = recipe.base(self.index, size), size[0] * size[1]
        fit = [cutting.whole for cutting in self.main.cuttings]
        low, high = recipe.scaling_factor
        longest = float(np.median([whole.max_feret for whole in fit])) * base
        high = max(min(high, recipe.max_extent * min(size) / longest), low)
        typical = float(np.median([whole.diameter for whole in fit])) * base
        low = min(max(low, recipe.min_diameter_px / typical, 1.0 if self.keeps else 0.0), high)
        mean_area = float(np.mean([whole.area for whole in fit])) * base**2
        wanted = recipe.particles_per_image
        if wanted is not None:
            count = int(rng.integers(int(wanted[0]), int(wanted[1]) + 1))
            high = max(min(high, math.sqrt(recipe.max_coverage * area / (count * mean_area))), low)
            return log_uniform(rng, (low, high)), count
        scale = log_uniform(rng, (low, high))
        density = scale ** (-2.0 * uniform(rng, recipe.crowding))
        room = recipe.max_coverage * area / (mean_area * scale**2)
        return scale, max(1, round(min(len(self.main.particles) * density * rng.uniform(0.7, 1.3), room)))

    def _view(self) -> View:
        rng, flips = self.rng, self.recipe.flips
        mirrored, quarters = flips and rng.random() < 0.5, int(rng.integers(4)) if flips else 0
        index, source = self.ground
        height, width = self.image_size if quarters % 2 == 0 else self.image_size[::-1]
        size = source.pixels.shape
        # never smaller than the output: where particles are scaled down, their background is not (it would need tiles)
        magnification = max(self.recipe.base(index, self.image_size) * self.scale, height / size[0], width / size[1])
        wide, high = (
            min(size[1], max(1, round(width / magnification))),
            min(size[0], max(1, round(height / magnification))),
        )
        x0, y0 = int(rng.integers(size[1] - wide + 1)), int(rng.integers(size[0] - high + 1))
        return View(x0, y0, wide, high, mirrored, quarters, self.image_size)

    # ------------------------------------------------------------------------------------------------- particles

    def _kept(self) -> list[Pasted]:
        """The main image's own particles, where they are."""
        found = []
        for whole, depth in zip(self.main.particles, self.main.depths, strict=True):
            mask = whole.mask
            middle = mask.x0 + mask.values.shape[1] / 2.0, mask.y0 + mask.values.shape[0] / 2.0
            pose = self.view.pose_of(*middle)
            place = paste.footprint((depth.shape[0], depth.shape[1]), pose, self.image_size)
            if place is not None and (inside := place.sample(depth, -paste.FAR_PX) > 0).any():
                found.append(Pasted(Crop(inside, place.x0, place.y0), whole, pose, "real"))
        return found

    def _pasted(self, kept: list[Pasted]) -> list[Pasted]:
        wanted = self.count
        if self.keeps:
            share = self.rng.uniform(0.2, 1.0) if self.recipe.particles_per_image is None else 1.0
            free = wanted - (len(kept) if self.recipe.particles_per_image is not None else 0)
            wanted = max(0, round(share * free))
        chosen = self._chosen(wanted)
        place = self._scattered if self.recipe.overlapping_particles else self._on_grid
        placed = place(kept, chosen)
        textured = self.rng.random(len(placed)) < self.recipe.textured
        found = [paste.laid(cutting, bool(new), self.main.dark, pose, self.image_size)
                 for (cutting, pose), new in zip(placed, textured, strict=True)]  # fmt: skip
        return [one for one in found if one is not None]

    def _chosen(self, count: int) -> list[Choice]:
        rng, recipe = self.rng, self.recipe
        sources = [
            (source.cuttings, recipe.base(index, self.image_size) * self.scale) for index, source in self.sources
        ]
        largest = recipe.max_extent * min(self.image_size)
        spread = np.exp(recipe.scale_spread * rng.standard_normal(count)).tolist()
        turns = np.radians(rng.uniform(*recipe.rotation, count)).tolist()
        found: list[Choice] = []
        for factor, turn, (which, one, mirror) in zip(spread, turns, rng.random((count, 3)).tolist(), strict=True):
            cuttings, magnification = sources[int(which * len(sources))]
            cutting = cuttings[int(one * len(cuttings))]
            limit = largest / cutting.whole.max_feret
            found.append((cutting, min(magnification * factor, limit), turn, recipe.flips and mirror < 0.5))
        return found

    def _scattered(self, kept: list[Pasted], chosen: list[Choice]) -> list[tuple[Cutting, Pose]]:
        rng, recipe = self.rng, self.recipe
        board = Layout(self.image_size, recipe.overlap, uniform(rng, recipe.touching), uniform(rng, recipe.overlapped))
        for one in kept:
            discs = discs_of(one.whole, one.pose.magnification, one.pose.turn, one.pose.mirrored)
            board.add(discs, np.array([one.pose.x, one.pose.y]))
        placed = []
        for cutting, magnification, turn, mirrored in chosen:
            centre = board.settle(discs_of(cutting.whole, magnification, turn, mirrored), rng)
            if centre is not None:
                placed.append((cutting, Pose(float(centre[0]), float(centre[1]), magnification, turn, mirrored)))
        order = rng.permutation(len(placed))  # which one lies on top is chance
        return [placed[i] for i in order]

    def _on_grid(self, kept: list[Pasted], chosen: list[Choice]) -> list[tuple[Cutting, Pose]]:
        """One to a cell, made smaller where a cell is; cells in which something lies already stay as they are."""
        rng = self.rng
        centres, cell = layout.grid(self.image_size, len(chosen), rng)
        taken = np.zeros(self.image_size, bool)
        for one in kept:
            taken[one.mask.window] |= one.mask.values
        placed = []
        for (cutting, magnification, turn, mirrored), centre in zip(chosen, centres, strict=True):
            room = (min(cell) - 1.0) / cutting.whole.max_feret
            magnification = min(magnification, room)
            y, x = (int(v) for v in centre[::-1])
            half = int(min(cell) / 2)
            free = not taken[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1].any()
            if free and magnification > 0:
                slack = (np.array(cell[::-1]) - magnification * cutting.whole.max_feret) / 2.0
                x, y = centre + rng.uniform(-1.0, 1.0, 2) * np.maximum(slack - 0.5, 0.0)
                placed.append((cutting, Pose(float(x), float(y), magnification, turn, mirrored)))
        return placed

    # ----------------------------------------------------------------------------------------- pixels and truth

    def _paint(self, pixels: NDArray[np.float32], level: NDArray[np.float32], found: Sequence[Pasted]) -> None:
        rng, recipe = self.rng, self.recipe
        feather_px, contrast = uniform(rng, recipe.feather_px), log_uniform(rng, recipe.contrast)
        see_through = self.main.dark and rng.random() < recipe.see_through
        gain = 1.0 if self.keeps else contrast
        if not self.main.dark:  # what was as bright as could be stays so
            gain *= (255.0 - float(level.mean())) / max(255.0 - float(self.main.level.mean()), 1.0)
        blend = paste.Blend(self.main.dark, gain, feather_px, see_through)
        covered = recipe.pool.scratch("covered", self.image_size, np.bool_)
        covered[:] = False
        for one in found:
            if one.light is not None:
                paste.composite(pixels, level, covered, one, blend)
            covered[one.mask.window] |= one.mask.values

    def _spoilt(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Whole grey levels, with salt and pepper, then blur, as in the paper."""
        rng, recipe = self.rng, self.recipe
        if not self.main.dark:
            np.maximum(pixels, 0.0, out=pixels)
        levels = recipe.pool.scratch("levels", self.image_size, np.uint8)
        cv2.convertScaleAbs(pixels, dst=levels)  # rounded, at most 255
        if rng.random() < recipe.noisy_images:
            count = int(rng.uniform(0.0, recipe.salt_pepper_noise) * levels.size)
            where = rng.integers(levels.size, size=count)
            levels.reshape(-1)[where[: count // 2]] = 255
            levels.reshape(-1)[where[count // 2 :]] = 0
        sigma = rng.uniform(0.0, recipe.gaussian_blur)
        if sigma > 0.1:  # below that, a pixel's neighbours weigh less than 1e-20
            cv2.GaussianBlur(levels, (0, 0), sigma, dst=levels)
        np.copyto(pixels, levels)
        return pixels

    def _pixel_size_nm(self) -> float | None:
        size = self.main.pixel_size_nm
        return None if size is None else size / (self.recipe.base(self.index, self.image_size) * self.scale)
