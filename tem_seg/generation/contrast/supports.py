"""What particles lie on: carbon-black aggregates, oxide clouds, flakes, plain film. Thickness maps along the beam.

A support is grown from units (spheroids) in three dimensions and cut into slices across the beam, because a convergent
probe has little depth of focus: slices far from the focus are blurred, and so are the particles on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Scene
from tem_seg.generation.microscope import noise

Field = NDArray[np.float32]
GRID = 1024  # cells along the longer side of a thickness map, at most; else one cell is two pixels
MOST_UNITS = 600
SLICES = 4


@dataclass(frozen=True, slots=True)
class Form:
    """How units of a support look and cling together.

    spread: standard deviation of ln(diameter). aspect: largest long over short axis. attach: distance of a unit from
    the one it grew on, over the sum of their radii. edge: chord at which it is cut off flat (1: a spheroid).
    branch: probability that a unit grows on any of the others, not on one of the last few (chains).
    warp: displacement of outlines by smooth waves, over a unit's diameter.
    """

    spread: float
    aspect: float
    attach: float
    edge: float
    branch: float
    warp: float


FORMS: dict[str, Form] = {
    "aggregate": Form(spread=0.25, aspect=1.2, attach=0.75, edge=1.0, branch=0.6, warp=0.08),
    "clouds": Form(spread=0.45, aspect=1.7, attach=0.65, edge=1.0, branch=0.8, warp=0.15),
    "flakes": Form(spread=0.5, aspect=4.0, attach=0.6, edge=0.5, branch=0.7, warp=0.15),
}
"""aggregate: fused spheres, as carbon black and fumed silica; clouds: oxide powder; flakes: lamellae and needles."""


@dataclass(frozen=True, slots=True, eq=False)
class Support:
    """thickness_nm (h, w, L) float32 of L slices on a grid over the whole field; blur_nm: L standard deviations.

    film_nm (h, w) float32: the film below, in focus and without particles, as so much of the support's material.
    signal_per_nm: dark-field signal of 1 nm of it (materials.signal_per_nm). grain: relative standard deviation of its
    texture; grain_nm: size of the texture's coarsest grains; seed: of the texture.
    """

    thickness_nm: Field
    blur_nm: tuple[float, ...]
    film_nm: Field
    signal_per_nm: float
    grain: float
    grain_nm: float
    seed: int

    def signal(self, image_size: tuple[int, int], pixel_size_nm: float) -> Field:
        """Dark-field signal (H, W) float32 >= 0, the slices blurred, added and given their grain."""
        cell_nm = pixel_size_nm * image_size[0] / self.thickness_nm.shape[0]
        total = self.film_nm.copy()
        for index, blur_nm in enumerate(self.blur_nm):
            total += blurred(np.ascontiguousarray(self.thickness_nm[:, :, index]), blur_nm / cell_nm)
        if self.grain > 0:
            rng = np.random.default_rng(self.seed)
            size = (total.shape[0], total.shape[1])
            total *= 1.0 + np.float32(self.grain) * grain(size, self.grain_nm / cell_nm, rng)
        np.maximum(total, 0.0, out=total)
        total *= np.float32(self.signal_per_nm)
        return np.asarray(cv2.resize(total, image_size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


@dataclass(frozen=True, slots=True)
class SupportedScene(Scene):
    """A scene whose particles lie on a support, which the dark-field contrast draws and nobody annotates."""

    support: Support = field(kw_only=True)


def blurred(values: Field, sigma: float) -> Field:
    """Gaussian of standard deviation sigma cells; wide ones at a coarser grid, in a fraction of the time."""
    if sigma < 0.2:
        return values
    step = int(min(sigma / 2.0, min(values.shape) / 8.0))
    if step < 2:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)
    height, width = values.shape
    small = cv2.resize(values, (width // step, height // step), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def grain(size: tuple[int, int], coarsest: float, rng: np.random.Generator) -> Field:
    """(H, W) float32, mean 0, standard deviation 1: noise of octaves up to ``coarsest`` cells, as rough surfaces."""
    total = np.zeros(size, np.float32)
    scale, weight = max(coarsest, 2.0), 1.0
    while scale >= 1.5:
        cells = [max(2, int(side / scale)) for side in size]
        octave = noise.normal((cells[0], cells[1]), rng)
        total += np.float32(weight) * cv2.resize(octave, size[::-1], interpolation=cv2.INTER_LINEAR)
        scale, weight = scale / 2.5, weight * 0.8
    total -= total.mean()
    return np.asarray(total / max(float(total.std()), 1e-6), np.float32)


def grid_of(image_size: tuple[int, int]) -> tuple[int, int]:
    """Cells (h, w) of a thickness map for an image of (H, W) px: half as many, the longer side at most GRID."""
    step = max(2.0, max(image_size) / GRID)
    return max(8, round(image_size[0] / step)), max(8, round(image_size[1] / step))


def film(size: tuple[int, int], thickness_nm: float, holey: bool, rng: np.random.Generator) -> Field:
    """(h, w) float32 nm: an amorphous film of slowly varying thickness; holey: it ends at the arc of a big hole."""
    uneven = 1.0 + np.float32(0.12) * noise.slow_field(size, int(rng.integers(2, 6)), rng)
    layer = np.float32(thickness_nm) * np.maximum(uneven, np.float32(0.2))
    if holey:
        height, width = size
        radius, angle = rng.uniform(0.4, 1.5) * max(size), rng.uniform(0.0, 2.0 * np.pi)
        distance = radius + rng.uniform(-0.35, 0.25) * min(size)  # of the arc from the field's middle, by its sign
        x = np.arange(width, dtype=np.float32) - np.float32(width / 2.0 + distance * np.cos(angle))
        y = np.arange(height, dtype=np.float32) - np.float32(height / 2.0 + distance * np.sin(angle))
        outside = np.sqrt(x[None, :] ** 2 + y[:, None] ** 2) - np.float32(radius)
        rim = np.exp(-np.square(outside / np.float32(0.03 * max(size))) / 2.0) * np.float32(rng.uniform(0.0, 1.5))
        layer = layer * np.clip(outside + 0.5, 0.0, 1.0) * (1.0 + rim)
    return np.asarray(layer, np.float32)


def units(
    form: str, field: tuple[float, float], diameter: float, coverage: float, layers: int, rng: np.random.Generator
) -> NDArray[np.float64]:  # fmt: skip
    """Spheroids (N, 6) x, y, z, half axes a, b and angle (rad), grown until they cover that share of the field.

    field (height, width) in any unit of length, which is also that of the result; z from the first one's. Each unit
    clings to an earlier one; now and then a new aggregate starts. layers: units over the middle of a unit, at most.
    At most 600 units, which cover less where they are small.
    """
    if form not in FORMS:
        raise UserError(f"support form {form!r} does not exist; there are {', '.join(FORMS)}")
    height, width = field
    rows, random = _unit_sizes(FORMS[form], diameter, rng), rng.random((MOST_UNITS, 5))
    side = max(field) / 64.0
    at_x = (np.arange(int(np.ceil(width / side))) + 0.5)[None, :] * side
    at_y = (np.arange(int(np.ceil(height / side))) + 0.5)[:, None] * side
    covered = np.zeros((at_y.size, at_x.size), np.uint8)
    placed: list[int] = []
    for index in range(MOST_UNITS):
        row = rows[index]
        _attach(row, rows, placed, random[index], FORMS[form], field)
        x, y, reach = float(row[0]), float(row[1]), float(row[3])
        if not (-reach < x < width + reach and -reach < y < height + reach):
            continue
        cell = min(max(int(y / side), 0), at_y.size - 1), min(max(int(x / side), 0), at_x.size - 1)
        if covered[cell] >= layers:
            continue
        placed.append(index)
        covered += np.square(at_x - x) + np.square(at_y - y) < reach * row[4]
        if np.count_nonzero(covered) >= coverage * covered.size:
            break
    return rows[placed]


def _unit_sizes(form: Form, diameter: float, rng: np.random.Generator) -> NDArray[np.float64]:
    radius = diameter / 2.0 * np.exp(form.spread * rng.standard_normal(MOST_UNITS))
    stretch = np.sqrt(rng.uniform(1.0, form.aspect, MOST_UNITS))
    angle = rng.uniform(0.0, np.pi) + rng.uniform(-1.2, 1.2, MOST_UNITS)  # powders press flakes into one direction
    nothing = np.zeros(MOST_UNITS)
    return np.stack([nothing, nothing, nothing, radius * stretch, radius / stretch, angle], axis=1)


def _attach(
    row: NDArray[np.float64], rows: NDArray[np.float64], placed: list[int], random: NDArray[np.float64], form: Form,
    field: tuple[float, float],
) -> None:  # fmt: skip
    """Sets x, y, z of the row: on an earlier unit, or alone somewhere in the field or just outside."""
    if not placed or random[0] < 0.03:
        row[:3] = (1.3 * random[1] - 0.15) * field[1], (1.3 * random[2] - 0.15) * field[0], 0.0
        return
    recent = len(placed) if random[3] < form.branch else min(4, len(placed))
    parent = rows[placed[len(placed) - 1 - int(random[4] * recent)]]
    cosine, turn = 2.0 * random[1] - 1.0, 2.0 * np.pi * random[2]
    reach = form.attach * (row[4] + parent[4])
    sine = np.sqrt(1.0 - cosine * cosine)
    row[0] = parent[0] + reach * sine * np.cos(turn)
    row[1] = parent[1] + reach * sine * np.sin(turn)
    row[2] = parent[2] + reach * cosine


def slices(
    found: NDArray[np.float64], form: str, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Field, NDArray[np.float64]]:  # fmt: skip
    """Units (N, 6), lengths in cells → thickness (h, w, SLICES) float32 in cells, and each slice's z in cells."""
    if not len(found):
        return np.zeros((*size, SLICES), np.float32), np.zeros(SLICES)
    borders = np.quantile(found[:, 2], np.linspace(0.0, 1.0, SLICES + 1))
    which = np.clip(np.searchsorted(borders, found[:, 2], side="right") - 1, 0, SLICES - 1)
    layers = [np.zeros(size, np.float32) for _ in range(SLICES)]
    for row, index in zip(found, which, strict=True):
        _add_unit(layers[index], row, FORMS[form].edge)
    amplitude = np.float32(FORMS[form].warp * 2.0 * np.median(found[:, 4]))
    warped = _warped(np.stack(layers, axis=2), amplitude, float(2.0 * np.median(found[:, 4])), rng)
    return warped, (borders[1:] + borders[:-1]) / 2.0


def _add_unit(layer: Field, row: NDArray[np.float64], edge: float) -> None:
    """Adds a spheroid's chord lengths (edge 1), or those of a plate with a rim, to the layer."""
    height, width = layer.shape
    x, y, _, a, b, angle = (float(v) for v in row)
    x0, x1 = max(0, int(x - a)), min(width, int(x + a) + 2)
    y0, y1 = max(0, int(y - a)), min(height, int(y + a) + 2)
    if x0 >= x1 or y0 >= y1:
        return
    dx = (np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - x))[None, :]
    dy = (np.arange(y0, y1, dtype=np.float32) + np.float32(0.5 - y))[:, None]
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    square = np.square((dx * cosine + dy * sine) / np.float32(a)) + np.square((dy * cosine - dx * sine) / np.float32(b))
    chord = np.sqrt(np.maximum(np.float32(1.0) - square, np.float32(0.0)))
    if edge < 1.0:
        chord = np.minimum(chord, np.float32(edge))
    layer[y0:y1, x0:x1] += np.float32(2.0 * b) * chord


def _warped(layers: Field, amplitude: np.float32, wavelength: float, rng: np.random.Generator) -> Field:
    """Every slice moved by the same smooth waves: units of real supports are no ideal spheroids."""
    height, width = layers.shape[:2]
    cells = int(np.clip(max(height, width) / max(wavelength, 1.0), 2, 64))
    grid_x, grid_y = np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]
    move_x, move_y = (noise.slow_field((height, width), cells, rng) for _ in range(2))
    warped = cv2.remap(
        layers, grid_x + amplitude * move_x, grid_y + amplitude * move_y, cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(warped, np.float32)
