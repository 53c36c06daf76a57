"""Many small compact particles at once: where they lie on a support, and their outlines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tem_seg.generation.contrast.supports import Support

ROUNDS = 12
CORNERS = 24
APART = 1.15  # distance of two that are not of one agglomerate, over the sum of their radii, at least
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sites:
    """Where particles may lie.

    min_contrast: signal of a particle's middle, as blurred, over that of the support around it, at least, or over half
    of the typical support's where there is less: what is bright for its dark surroundings must not be black in the
    picture. probe_nm is the blur, standard deviation, that even a particle in focus is taken to have. max_blur: of a
    particle out of focus, standard deviation over its diameter. agglomerated: share 0-1 set against another one, with
    at most that overlap, over the sum of their radii.
    """

    support: Support
    field_nm: tuple[float, float]
    min_contrast: float
    probe_nm: float
    max_blur: float
    agglomerated: float
    overlap: float

    @cached_property
    def typical_nm(self) -> float:
        """Mean thickness of the support where there is any."""
        total = self.support.thickness_nm.sum(axis=2)
        return float(total[total > 0].mean())


def scatter(
    diameters: Floats, signals: Floats, sites: Sites, rng: np.random.Generator
) -> tuple[Floats, Floats]:  # fmt: skip
    """Centres (N, 2) x, y nm and blurs (N,) nm, standard deviation; NaN for a particle that finds no place.

    diameters (N,) nm; signals (N,) of each particle's middle. First come those that lie alone, then the others.
    """
    count = len(diameters)
    centres, blurs = np.full((count, 2), np.nan), np.full(count, np.nan)
    alone = round((1.0 - sites.agglomerated) * count)
    if not count or not sites.support.thickness_nm.any():
        return centres, blurs
    surface = np.cumsum(np.sqrt(sites.support.thickness_nm.sum(axis=2, dtype=np.float64)).ravel())
    for _ in range(ROUNDS):
        new = np.flatnonzero(np.isnan(blurs[:alone]))
        _settle(new, _anywhere(len(new), surface, sites, rng), APART, diameters, signals, sites, centres, blurs, rng)
    hosts = np.flatnonzero(~np.isnan(blurs[:alone]))
    hosts = rng.permutation(hosts)[: max(1, len(hosts) // 6)]
    for _ in range(ROUNDS if len(hosts) else 0):
        new = alone + np.flatnonzero(np.isnan(blurs[alone:]))
        host = hosts[rng.integers(0, len(hosts), len(new))]
        proposed = _against(centres[host], (diameters[host] + diameters[new]) / 2.0, sites.overlap, rng)
        placed = _settle(new, proposed, 1.0 - sites.overlap, diameters, signals, sites, centres, blurs, rng)
        hosts = np.concatenate((hosts, placed))
    return centres, blurs


def _anywhere(count: int, surface: Floats, sites: Sites, rng: np.random.Generator) -> Floats:
    """Points (count, 2) nm, as likely as the support's surface there, which goes with the root of its thickness."""
    height, width = sites.support.thickness_nm.shape[:2]
    cells = np.minimum(np.searchsorted(surface, rng.random(count) * surface[-1], side="right"), surface.size - 1)
    rows, columns = np.divmod(cells, width)
    x = (columns + rng.random(count)) * sites.field_nm[1] / width
    y = (rows + rng.random(count)) * sites.field_nm[0] / height
    return np.stack([x, y], axis=1)


def _against(centres: Floats, reach: Floats, overlap: float, rng: np.random.Generator) -> Floats:
    angle = rng.uniform(0.0, 2.0 * np.pi, len(centres))
    reach = reach * (1.0 - overlap * rng.random(len(centres)))
    return np.asarray(centres + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1))


def _settle(
    new: NDArray[np.intp], proposed: Floats, apart: float, diameters: Floats, signals: Floats, sites: Sites,
    centres: Floats, blurs: Floats, rng: np.random.Generator,
) -> NDArray[np.intp]:  # fmt: skip
    """Puts those of the new ones down that can be seen and are far enough from all others; their indices."""
    if not len(new):
        return new
    blur, seen = _seen(proposed, diameters[new], signals[new], sites, rng)
    new, proposed, blur = new[seen], proposed[seen], blur[seen]
    settled = np.flatnonzero(~np.isnan(blurs))
    both, points = np.concatenate((settled, new)), np.concatenate((centres[settled], proposed))
    refused = np.zeros(len(both), bool)
    if len(both) > 1:
        pairs = cKDTree(points).query_pairs(apart * float(diameters[both].max()), output_type="ndarray")
        distance = np.hypot(*(points[pairs[:, 0]] - points[pairs[:, 1]]).T)
        # a hair below 1: a pair set at exactly this distance stays
        least = (1.0 - 1e-9) * apart * diameters[both][pairs].mean(axis=1)
        close = pairs[distance < least]
        for first, second in close[np.argsort(close[:, 1])] if len(close) else ():
            refused[second] |= not refused[first] and second >= len(settled)
    kept = ~refused[len(settled) :]
    centres[new[kept]], blurs[new[kept]] = proposed[kept], blur[kept]
    return new[kept]


def _seen(
    points: Floats, diameters: Floats, signals: Floats, sites: Sites, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:  # fmt: skip
    """Blur (N,) nm of particles at these points, on a slice that holds support there, and whether each can be seen."""
    support = sites.support
    height, width = support.thickness_nm.shape[:2]
    columns = np.floor(points[:, 0] / sites.field_nm[1] * width).astype(np.int64)
    rows = np.floor(points[:, 1] / sites.field_nm[0] * height).astype(np.int64)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    there = support.thickness_nm[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)].astype(np.float64)
    upto = np.cumsum(there, axis=1)
    slices = (rng.random(len(points))[:, None] * upto[:, -1:] >= upto).sum(axis=1)
    blur = np.asarray(support.blur_nm)[np.minimum(slices, there.shape[1] - 1)]
    spread = np.square(diameters / 2.35)  # of a Gaussian as wide at half its height as the particle
    below = support.film_nm[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)] + upto[:, -1]
    left = spread / (spread + np.square(blur) + sites.probe_nm**2)
    contrast = signals * left / (np.maximum(below, 0.5 * sites.typical_nm) * support.signal_per_nm)
    return blur, inside & (upto[:, -1] > 0) & (contrast >= sites.min_contrast) & (blur <= sites.max_blur * diameters)


def compact_outlines(
    faceted: NDArray[np.bool_], elongation: float, irregularity: float, rng: np.random.Generator
) -> Floats:  # fmt: skip
    """(N, CORNERS, 2) outlines around (0, 0) with the area of a disc of diameter 1, turned at random.

    faceted (N,): rounded polygons of 5 to 8 sides, else round; elongation: largest long over short axis; irregularity:
    relative standard deviation of the radius.
    """
    count = len(faceted)
    angle = 2.0 * np.pi * np.arange(CORNERS) / CORNERS
    order = np.arange(2, 6)
    amplitude = irregularity * rng.standard_normal((count, 4)) * 2.0 / order
    waves = np.cos(order[:, None] * angle + rng.uniform(0.0, 2.0 * np.pi, (count, 4, 1)))
    radius = 1.0 + np.einsum("nm,nmk->nk", amplitude, waves)
    side = 2.0 * np.pi / rng.integers(5, 9, count)[:, None]
    polygon = np.cos(side / 2.0) / np.cos((angle + rng.uniform(0.0, 1.0, (count, 1)) * side) % side - side / 2.0)
    radius *= np.where(faceted[:, None], 0.2 + 0.8 * polygon, 1.0)
    stretch = np.sqrt(rng.uniform(1.0, elongation, count))[:, None]
    x, y = radius * np.cos(angle) * stretch, radius * np.sin(angle) / stretch
    turn = rng.uniform(0.0, 2.0 * np.pi, (count, 1))
    outline = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=2)
    following = np.roll(outline, -1, axis=1)
    cross = outline[..., 0] * following[..., 1] - following[..., 0] * outline[..., 1]
    area = cross.sum(axis=1) / 2.0
    centroid = ((outline + following) * cross[..., None]).sum(axis=1) / (6.0 * area)[:, None]
    return np.asarray((outline - centroid[:, None, :]) * np.sqrt(np.pi / 4.0 / area)[:, None, None])
