"""Holey carbon with an ultra-thin continuous film: a thick web with bright holes, in which only the thin film lies."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Scene
from tem_seg.generation.contrast.mass_thickness import interior, transmission
from tem_seg.generation.microscope import noise
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check, log_uniform, uniform

Field = NDArray[np.float32]
MOST_HOLES = 600
"""Holes drawn at most: more, at a magnification that low, are a few pixels each."""
NARROWEST = 1.1
"""Distance of two holes' centres over the sum of their radii, at least."""
SUBPIXEL_BITS = 4
SHRINK = 2
"""The support is drawn at half the resolution: nothing on it is measured, and its edges are no sharper than that."""


@dataclass(frozen=True)
class HoleyCarbon:
    """Contrast: transmission exp(−Σ μ t) of particles on holey carbon. Its holes are no particles.

    Particles scatter as in mass_thickness.MassThickness.
    Holes lie anywhere without touching (perforated by droplets), or on a square lattice (lithography). The web
    rises from their edge to its thickness and may be thicker right at it, where surface tension drew it together.
    """

    hole_nm: Range
    """Median diameter of the holes."""
    spread: Range
    """Standard deviation of ln(hole diameter); lattices have equal holes."""
    open_share: Range
    """Share of the support that is holes; thrown down by chance, no more than about 0.4 find room."""
    aspect: Range
    """Longest over shortest diameter of a hole."""
    lattice: float
    """Share 0-1 of supports whose holes lie on a lattice."""
    web_density: Range
    """−ln(transmission) of the web."""
    film_density: Range
    """−ln(transmission) of the ultra-thin film, which lies everywhere."""
    edge_nm: Range
    """Length over which the web rises to its thickness."""
    rim: Range
    """Relative extra thickness at a hole's edge."""
    unevenness: Range
    """Relative standard deviation of the web's slow thickness changes."""

    def __post_init__(self) -> None:
        limits = {"hole_nm": POSITIVE, "spread": (0.0, 1.0), "open_share": (0.0, 0.75), "aspect": (1.0, 3.0)}
        limits |= {"web_density": NOT_NEGATIVE, "film_density": NOT_NEGATIVE, "edge_nm": POSITIVE, "rim": (0.0, 5.0)}
        check(self, limits | {"unevenness": (0.0, 1.0)}, {"lattice": SHARE})

    def __call__(self, scene: Scene, image_size: tuple[int, int], rng: np.random.Generator) -> Field:
        """Transmission (H, W) float32 in (0, 1]."""
        support = self.support(image_size, scene.field_of_view_nm[0] / image_size[0], rng)
        return transmission(support, scene, interior(scene, image_size, rng))

    def support(self, image_size: tuple[int, int], pixel_nm: float, rng: np.random.Generator) -> Field:
        """−ln(transmission) (H, W) float32 of web and film."""
        web, film = uniform(rng, self.web_density), uniform(rng, self.film_density)
        edge_nm, rim, unevenness = log_uniform(rng, self.edge_nm), uniform(rng, self.rim), uniform(rng, self.unevenness)
        outlines = self.holes((image_size[0] * pixel_nm, image_size[1] * pixel_nm), rng)
        size = (-(-image_size[0] // SHRINK), -(-image_size[1] // SHRINK))
        per_nm = np.array([size[1] / image_size[1], size[0] / image_size[0]]) / pixel_nm
        solid = np.ones(size, np.uint8)
        unit = 1 << SUBPIXEL_BITS  # cv2 counts from pixel centres, we from corners: hence the half
        corners = [np.rint(outline * per_nm * unit - unit / 2).astype(np.int32) for outline in outlines]
        cv2.fillPoly(solid, corners, 0, shift=SUBPIXEL_BITS)
        density = 1.0 + np.float32(unevenness) * noise.slow_field(size, 3, rng)
        density = np.maximum(density, np.float32(0.0)) * np.float32(web)
        if not solid.all():
            density *= _rise(solid, edge_nm * float(per_nm[1]), rim)
            density = np.asarray(cv2.GaussianBlur(density, (0, 0), 0.7), np.float32)  # no stairs along the edges
        full = cv2.resize(density, (image_size[1], image_size[0]), interpolation=cv2.INTER_LINEAR)
        return np.asarray(np.add(full, np.float32(film), out=full), np.float32)

    def holes(self, field_nm: tuple[float, float], rng: np.random.Generator) -> list[NDArray[np.float64]]:
        """Outlines (48, 2) x, y nm of the holes in and around a field (height, width) nm; none touches another."""
        median, share = log_uniform(rng, self.hole_nm), uniform(rng, self.open_share)
        aspect = uniform(rng, self.aspect)
        if share == 0.0:
            return []
        if rng.random() < self.lattice:
            centres = _lattice(field_nm, median, share, rng)
            radii = np.full(len(centres), median / 2.0)
            aspect = 1.0 + 0.1 * (aspect - 1.0)
        else:
            centres, radii = _scattered(field_nm, median, uniform(rng, self.spread), share, rng)
        return list(_ovals(centres, radii, aspect, rng))


def _rise(solid: NDArray[np.uint8], edge_px: float, rim: float) -> Field:
    """Relative thickness (H, W) of the web: 1 − exp(−3 x) + rim · x exp(1 − x), x = distance to a hole / edge_px."""
    distance = cv2.distanceTransform(solid, cv2.DIST_L2, 5) * np.float32(1.0 / edge_px)
    fall = np.exp(-distance)
    distance *= np.float32(rim * np.e)
    distance *= fall
    distance -= fall * fall * fall
    distance += np.float32(1.0)
    return np.asarray(distance, np.float32)


def _lattice(
    field_nm: tuple[float, float], hole_nm: float, share: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Centres (N, 2) of a square lattice, turned and shifted by chance, that cover the field and its surroundings."""
    pitch = max(hole_nm * np.sqrt(np.pi / 4.0 / share), 1.08 * hole_nm)
    pitch = max(pitch, np.hypot(*field_nm) / np.sqrt(MOST_HOLES))
    reach = int(np.ceil((np.hypot(*field_nm) / 2.0 + hole_nm) / pitch)) + 1
    steps = np.arange(-reach, reach + 1)
    grid = (np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) + rng.random(2)) * pitch
    angle = rng.uniform(0.0, 2.0 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(grid @ turn + [field_nm[1] / 2.0, field_nm[0] / 2.0])


def _scattered(
    field_nm: tuple[float, float], median: float, spread: float, share: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Centres (N, 2) and radii (N,) of holes thrown down one by one, each where it touches none before it."""
    size = np.array([field_nm[1], field_nm[0]])
    margin = median * np.exp(spread)
    ground = float(np.prod(size + 2.0 * margin))
    wanted = min(max(1, round(share * ground / (np.pi / 4.0 * median**2))), MOST_HOLES)
    tries = 12 * wanted
    diameters = np.sort(median * np.exp(spread * np.clip(rng.standard_normal(wanted), -2.5, 2.5)))[::-1]
    places = rng.uniform(-margin, size + margin, (tries, 2))
    centres, radii, count, tried = np.zeros((wanted, 2)), diameters / 2.0, 0, 0
    while count < wanted and tried < tries:
        between = np.hypot(*(centres[:count] - places[tried]).T)
        if not (between < NARROWEST * (radii[:count] + radii[count])).any():
            centres[count] = places[tried]
            count += 1
        tried += 1
    return centres[:count], radii[:count]


def _ovals(
    centres: NDArray[np.float64], radii: NDArray[np.float64], aspect: float, rng: np.random.Generator
) -> NDArray[np.float64]:  # fmt: skip
    """Smooth outlines (N, 48, 2): ellipses with a wave or two."""
    angle = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
    each = (len(radii), 1)
    stretch = np.sqrt(1.0 + (aspect - 1.0) * rng.random(each))
    wave = np.ones((len(radii), len(angle)))
    for k in (2, 3):
        phase = rng.uniform(0.0, 2.0 * np.pi, each)
        wave += 0.04 * (aspect > 1.0) / k * rng.standard_normal(each) * np.cos(k * angle + phase)
    turn = rng.uniform(0.0, np.pi, each)
    wave *= radii[:, None]
    x, y = stretch * wave * np.cos(angle), wave * np.sin(angle) / stretch
    cosine, sine = np.cos(turn), np.sin(turn)
    return np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=2) + centres[:, None]
