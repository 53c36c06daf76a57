"""Vesicles and holes in a thin film, as in a stained section or in ice: how each changes the film's density."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Particle, Scene
from tem_seg.generation import raster
from tem_seg.generation.microscope import noise
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, Range, check, log_uniform, uniform

Field = NDArray[np.float32]
SLOW = 8
"""Slow changes of the film are drawn at an eighth of the resolution."""

THINNEST_PX = 1.2
"""A membrane thinner than this is drawn that thick and as much fainter."""


def chord_nm(depth_nm: Field, radius_nm: float, slab_nm: float) -> Field:
    """Length (h, w) in nm of the beam's path inside a sphere, of which a slab holds a part.

    depth_nm: distance to the sphere's edge, seen along the beam, inwards; 0 and less: outside. The sphere's
    equator lies in the middle of the slab: min(2 √(d (2R − d)), slab).
    """
    inside = np.clip(depth_nm, 0.0, radius_nm)
    return np.minimum(2.0 * np.sqrt(inside * (np.float32(2.0 * radius_nm) - inside)), np.float32(slab_nm))


def shell_nm(depth_nm: Field, radius_nm: float, start_nm: float, width_nm: float, slab_nm: float) -> Field:
    """Path (h, w) in nm through a spherical shell that begins start_nm below the surface and is width_nm thick.

    The difference of two chords: it rises to its peak at d = start + width and then falls (a sphere in a thick slab),
    or drops to 0 where the slab cuts the shell out (a section).
    """
    outer = chord_nm(depth_nm - np.float32(start_nm), radius_nm - start_nm, slab_nm)
    reach = radius_nm - start_nm - width_nm
    if reach <= 0.0:
        return outer
    return np.asarray(outer - chord_nm(depth_nm - np.float32(start_nm + width_nm), reach, slab_nm), np.float32)


@dataclass(frozen=True)
class VesicleFilm:
    """Contrast: transmission of a stained film, exp(−density · relative), with vesicles and holes in it.

    Every particle's contrast says how it changes the relative density, which is 1 in the bare film (stain that makes
    the film darker makes membranes darker as well): ``open`` (0-1) takes that share of all density away,
    rising over ``soft_nm`` from the edge (a hole); ``lumen`` (0-1) is the share of the film missing where something
    else fills it, ``core_per_nm`` what is added there (1 / nm; both along the chord of a sphere cut by the slab
    ``film_nm``); ``membrane_per_nm`` (1 / nm) is added along the path through ``leaflets`` shells (0, 1 or 2), each
    ``membrane_nm`` thick and beginning ``leaflet_step_nm`` further in. Absent keys are 0.
    """

    density: Range
    """−ln(transmission) of the film."""
    texture: Range
    """Relative standard deviation of the film's density at the scale texture_nm: stain, proteins."""
    texture_nm: Range
    """Full width at half maximum of its lumps."""
    unevenness: Range
    """Relative standard deviation of the film's slow thickness changes."""
    halo: Range
    """Relative extra density around vesicles that lie lighter than the film, where stain has pooled."""
    halo_nm: Range
    """How far it reaches."""

    def __post_init__(self) -> None:
        limits = {"density": NOT_NEGATIVE, "texture": (0.0, 1.0), "texture_nm": POSITIVE, "unevenness": (0.0, 1.0)}
        check(self, limits | {"halo": NOT_NEGATIVE, "halo_nm": POSITIVE})

    def __call__(self, scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> Field:
        """Transmission (H, W) float32 in (0, 1]."""
        pixel_nm = scene.field_of_view_nm[0] / image_size[0]
        base = np.float32(uniform(rng, self.density))
        film = self._film(scene, image_size, pixel_nm, rng)
        extra = np.zeros(image_size, np.float32)
        for particle, depth in zip(scene.particles, _depths_nm(scene.particles, pixel_nm), strict=True):
            inside = raster.cut(depth, image_size)
            if inside is not None:
                radius = max(float(depth.values.max()), 0.5 * pixel_nm)
                _change(film[inside.window], extra[inside.window], inside.values, radius, pixel_nm, particle.contrast)
        extra += film
        extra *= -base
        return np.exp(extra, out=extra)

    def _film(self, scene: Scene, image_size: tuple[int, int], pixel_nm: float, rng: np.random.Generator) -> Field:
        """Relative density (H, W) >= 0 of the film before anything is in it."""
        strength, size_nm = uniform(rng, self.texture), log_uniform(rng, self.texture_nm)
        coarse = (max(1, image_size[0] // SLOW), max(1, image_size[1] // SLOW))
        slow = 1.0 + np.float32(uniform(rng, self.unevenness)) * noise.slow_field(coarse, 4, rng)
        slow += self._halo(scene, coarse, pixel_nm * image_size[0] / coarse[0], rng)
        film = np.asarray(cv2.resize(slow, (image_size[1], image_size[0]), interpolation=cv2.INTER_LINEAR), np.float32)
        if strength > 0.0:
            lumpy = lumps(image_size, size_nm / pixel_nm, rng)
            lumpy *= np.float32(strength)
            film += lumpy
        return np.maximum(film, np.float32(0.0), out=film)

    def _halo(self, scene: Scene, size: tuple[int, int], pixel_nm: float, rng: np.random.Generator) -> Field:
        """Blurred area (h, w) of the light vesicles; inside of them, ``lumen`` takes its share of it away again."""
        strength, reach_nm = uniform(rng, self.halo), log_uniform(rng, self.halo_nm)
        area = np.zeros(size, np.float32)
        for particle in scene.particles:
            if particle.contrast.get("lumen", 0.0) > 0.0:
                cv2.fillPoly(area, [np.rint(particle.outline_nm / pixel_nm - 0.5).astype(np.int32)], 1.0)
        blurred = cv2.GaussianBlur(area, (0, 0), max(0.5, reach_nm / pixel_nm))
        return np.asarray(np.float32(strength) * blurred, np.float32)


def depth_nm(particle: Particle, pixel_nm: float) -> raster.Crop:
    """Distance (h, w) in nm to the particle's edge, inwards; 0 outside. The crop may reach out of the image."""
    return next(_depths_nm([particle], pixel_nm))


def _depths_nm(particles: Sequence[Particle], pixel_nm: float) -> Iterator[raster.Crop]:
    for crop in raster.depths_px([particle.outline_nm / pixel_nm for particle in particles]):
        yield raster.Crop(crop.values * np.float32(pixel_nm), crop.x0, crop.y0)


def lumps(size: tuple[int, int], width_px: float, rng: np.random.Generator) -> Field:
    """(H, W) float32, mean 0, standard deviation 1: random lumps of that full width at half maximum.

    Drawn on pixels as coarse as their size allows, so that wide ones cost no more than fine ones.
    """
    shrink = max(1, int(width_px / 3.0))
    coarse = (-(-size[0] // shrink) + 2, -(-size[1] // shrink) + 2)
    field = cv2.GaussianBlur(noise.normal(coarse, rng), (0, 0), max(0.3, width_px / shrink / 2.355))
    if shrink > 1:
        field = cv2.resize(field, (coarse[1] * shrink, coarse[0] * shrink), interpolation=cv2.INTER_CUBIC)
    field = np.asarray(field, np.float32)[: size[0], : size[1]]
    mean, spread = cv2.meanStdDev(field)
    field -= np.float32(mean[0, 0])
    field *= np.float32(1.0 / max(float(spread[0, 0]), 1e-12))
    return field


def _change(
    film: Field, extra: Field, depth: Field, radius: float, pixel_nm: float, contrast: dict[str, float]
) -> None:  # fmt: skip
    """What one particle does to the density of the film and to what lies in it, in place."""
    if contrast.get("open", 0.0) > 0.0:
        left = 1.0 - np.float32(contrast["open"]) * np.clip(depth / np.float32(contrast["soft_nm"]), 0.0, 1.0)
        film *= left
        extra *= left
        return
    slab = contrast["film_nm"]
    chord = chord_nm(depth, radius, slab)
    film *= 1.0 - np.float32(contrast.get("lumen", 0.0) / min(slab, 2.0 * radius)) * chord
    extra += np.float32(contrast.get("core_per_nm", 0.0)) * chord
    for leaflet in range(int(contrast.get("leaflets", 0))):
        start, width = leaflet * contrast["leaflet_step_nm"], contrast["membrane_nm"]
        shown = max(width, THINNEST_PX * pixel_nm)  # a thinner one would fall between the pixels' centres
        if start < radius:
            shell = shell_nm(depth, radius, start, shown, slab)
            extra += np.float32(contrast["membrane_per_nm"] * width / shown) * shell
