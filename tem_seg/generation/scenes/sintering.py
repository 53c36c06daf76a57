"""Grains that have grown together: neighbours at one height that meet in a crease, with no edge between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from tem_seg.generation.scenes.facets import RAYS, Form

LEAST = 0.25
"""Of its own extent towards the other that each of two grains keeps: less, and one lies on the other instead."""

Points = NDArray[np.float64]
_ANGLES = 2.0 * np.pi * np.arange(RAYS) / RAYS


def grown_together(
    forms: Sequence[Form], diameters: Points, centres: Points, share: float, rng: np.random.Generator
) -> list[Form]:
    """Forms of an agglomerate's grains, of which chosen pairs are cut where they meet.

    diameters (N,), centres (N, 2) in one unit; share 0-1 of the pairs that overlap as seen from above. Of each chosen
    pair both are cut at the radical line of their extents towards one another, which is where two spheres on one level
    meet; an outline that ends nowhere in the other stays as it is. All that hang together are of one composition.
    """
    whole = np.stack([form.radii for form in forms]).astype(np.float64) * diameters[:, None]
    radii, free = whole.copy(), np.ones_like(whole)
    joined = np.zeros((len(forms), len(forms)), bool)
    for first, second in _near(whole, centres):
        if rng.random() >= share:
            continue
        axis = centres[second] - centres[first]
        distance, angle = float(np.hypot(*axis)), float(np.arctan2(axis[1], axis[0]))
        near, far = float(_extent(whole[first], angle)), float(_extent(whole[second], angle + np.pi))
        place = (distance**2 + near**2 - far**2) / (2.0 * distance)
        if place < LEAST * near or distance - place < LEAST * far:
            continue
        joined[first, second] = True
        for one, other, way, at in ((first, second, angle, place), (second, first, angle + np.pi, distance - place)):
            line = _line(way, at)
            met = (line < radii[one]) & _ends_in(whole[one], whole[other], centres[one] - centres[other])
            radii[one][met], free[one][met] = line[met], 0.0
    together = connected_components(joined, directed=False)[1]
    alike = [forms[int(np.argmax(together == cluster))].composition for cluster in together]
    return [
        replace(form, radii=(own / diameter).astype(np.float32), free=edge.astype(np.float32), composition=composition)
        for form, own, diameter, edge, composition in zip(forms, radii, diameters, free, alike, strict=True)
    ]


def _line(angle: float, distance: float) -> Points:
    """Distances (RAYS,) at which rays meet the line that far away and square to the angle; infinite where never."""
    along = np.cos(_ANGLES - angle)
    return np.where(along > 1e-6, distance / np.maximum(along, 1e-6), np.inf)


def _ends_in(radii: Points, others: Points, offset: Points) -> NDArray[np.bool_]:
    """Which rays (RAYS,) of an outline end in another one; offset (2,): of their centres, from the other's."""
    x, y = (offset[:, None] + radii * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])).tolist()
    inside: NDArray[np.bool_] = np.hypot(x, y) < _extent(others, np.arctan2(y, x))
    return inside


def _near(radii: Points, centres: Points) -> list[tuple[int, int]]:
    """Pairs whose outlines, as rays from centre to centre meet them, overlap."""
    offsets = centres[None] - centres[:, None]
    distance, angle = np.hypot(offsets[..., 0], offsets[..., 1]), np.arctan2(offsets[..., 1], offsets[..., 0])
    reach = np.stack([_extent(own, ways) for own, ways in zip(radii, angle, strict=True)])
    first, second = np.nonzero(np.triu((distance < reach + reach.T) & (distance > 0), 1))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _extent(radii: Points, angle: Points | float) -> Points:
    """Distance of an outline from its centre in these directions; radii (RAYS,)."""
    found: Points = np.interp(np.mod(angle, 2.0 * np.pi), np.append(_ANGLES, 2.0 * np.pi), np.append(radii, radii[0]))
    return found
