"""Surfaces in pixels: a particle's upper and lower surface, and piles of particles that lie on one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Particle, Scene
from tem_seg.generation.raster import AT_ONCE, Crop, masks, thickness_nm
from tem_seg.generation.scenes.facets import RAYS, Body, Form

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Relief:
    """A particle's surfaces in the pixels (h, w) of its crop, whose top-left pixel is (x0, y0). All lengths in px.

    mask bool: the particle's pixels. coverage float32 0-1: the share of each pixel that it covers, about; soft at the
    outline. upper, lower float32: height of the surfaces over the particle's middle; beyond the outline that of the
    outline. inward float32: how far the pixel lies from the outline, inwards; 0 beyond it. free float32 0-1: 1 where
    the outline next to it is an edge, 0 where the particle has grown together with another.
    """

    mask: NDArray[np.bool_]
    coverage: Floats
    upper: Floats
    lower: Floats
    inward: Floats
    free: Floats
    x0: int
    y0: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the crop lies in the micrograph."""
        return slice(self.y0, self.y0 + self.mask.shape[0]), slice(self.x0, self.x0 + self.mask.shape[1])

    def inside(self, image_size: tuple[int, int]) -> Relief | None:
        """The part that lies in an image of (H, W) px; None if nothing does."""
        rows = slice(max(0, -self.y0), max(0, image_size[0] - self.y0))
        columns = slice(max(0, -self.x0), max(0, image_size[1] - self.x0))
        mask = self.mask[rows, columns]
        if not mask.any():
            return None
        coverage, upper, lower, inward, free = (
            values[rows, columns] for values in (self.coverage, self.upper, self.lower, self.inward, self.free)
        )
        return Relief(mask, coverage, upper, lower, inward, free, self.x0 + columns.start, self.y0 + rows.start)


def relief_of(particle: Particle, pixel_size_nm: float) -> Relief:
    """The surfaces of a Body, or of any other particle as two equal halves of its thickness."""
    return next(reliefs_of([particle], pixel_size_nm))


def reliefs_of(particles: Sequence[Particle], pixel_size_nm: float) -> Iterator[Relief]:
    """As :func:`relief_of` for many particles, one after the other."""
    for begin in range(0, len(particles), AT_ONCE):
        some = particles[begin : begin + AT_ONCE]
        outlines = [particle.outline_nm / pixel_size_nm for particle in some]
        for particle, outline, mask in zip(some, outlines, masks(outlines), strict=True):
            if isinstance(particle, Body):
                yield _of_body(particle.form, outline, mask)
            else:
                yield _of_any(particle, outline, mask.values, pixel_size_nm)


def _of_any(
    particle: Particle, outline: NDArray[np.float64], mask: NDArray[np.bool_], pixel_size_nm: float
) -> Relief:  # fmt: skip
    crop = thickness_nm(particle, outline)
    half = np.asarray(crop.values / np.float32(2.0 * pixel_size_nm), np.float32)
    padded = np.pad(mask, 1).view(np.uint8)
    inward = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1] - 0.5, np.float32)
    return Relief(mask, mask.astype(np.float32), half, -half, inward, np.ones_like(half), crop.x0, crop.y0)


def _of_body(form: Form, outline: NDArray[np.float64], crop: Crop) -> Relief:
    """Pixels are turned into the form's own frame, where its surfaces are planes and an ellipsoid."""
    rows, columns = crop.window
    x, y, scale = _own_frame(form, outline, (columns.start, rows.start, columns.stop, rows.stop))
    radius, angle = cv2.cartToPolar(x, y)
    table = np.stack([form.radii, form.stretch, form.free], axis=1)
    table = np.concatenate([table, table[:1], table[:1]])[None]
    along = angle * np.float32(RAYS / (2.0 * np.pi))
    rim = np.asarray(cv2.remap(table, along, np.zeros_like(along), cv2.INTER_LINEAR), np.float32)
    edge, stretch, free = np.moveaxis(rim, 2, 0)
    # Pixels beyond the outline take the surface of the outline, so that the blur has something to go on; where two have
    # grown together that of the pixel as far inside, for the other one's is nearly its mirror image.
    inward = edge - radius
    seam = free < np.float32(0.5)
    ends = np.where(seam, edge - np.abs(inward), np.minimum(edge, radius))
    shrink = np.maximum(ends, np.float32(0.0)) / np.maximum(radius, np.float32(1e-6)) / stretch
    upper, lower = _surfaces(form, np.asarray(x * shrink, np.float32), np.asarray(y * shrink, np.float32))
    sigma_px = form.rounding * scale
    if sigma_px > 0.4:
        upper = np.asarray(cv2.GaussianBlur(upper, (0, 0), sigma_px), np.float32)
    neck_px = form.neck * scale
    if neck_px > 0.4 and seam.any():
        filled = np.asarray(cv2.GaussianBlur(upper, (0, 0), neck_px), np.float32)
        near = (np.float32(1.0) - free) * np.exp(np.float32(-0.5 / form.neck**2) * inward * inward)
        upper += near * (filled - upper)
    upper = np.maximum(upper, lower)  # rounding lowers edges, but never below the underside
    px = np.float32(scale)
    inward *= px
    # where two have grown together, no substrate is to be seen between the halves of a pixel
    coverage = np.clip(inward + np.float32(1.0) - np.float32(0.5) * free, 0.0, 1.0)
    return Relief(crop.values, coverage, upper * px, lower * px, np.maximum(inward, 0.0), free, crop.x0, crop.y0)


def _own_frame(
    form: Form, outline: NDArray[np.float64], box: tuple[int, int, int, int]
) -> tuple[Floats, Floats, float]:  # fmt: skip
    """Pixel centres x, y (h, w) in the form's frame and unit, and that unit in px: from the outline's two ends of x."""
    first, opposite = outline[0], outline[RAYS // 2]
    length = float(form.radii[0] + form.radii[RAYS // 2])
    axis = (first - opposite) / length
    centre = opposite + axis * float(form.radii[RAYS // 2])
    square = float(axis @ axis)
    turn = (np.array([[axis[0], axis[1]], [-axis[1], axis[0]]]) / square)[:, :, None]
    across = (turn[:, 0] * (np.arange(box[0], box[2]) + 0.5 - centre[0])).astype(np.float32)
    down = (turn[:, 1] * (np.arange(box[1], box[3]) + 0.5 - centre[1])).astype(np.float32)
    return across[0] + down[0, :, None], across[1] + down[1, :, None], float(np.sqrt(square))


def _surfaces(form: Form, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Upper and lower surface at x, y in the form's frame."""
    e = form.ellipsoid
    half = np.sqrt(np.maximum(e[2] + x * (e[3] * x + e[4] * y) + e[5] * y * y, np.float32(0.0)))
    middle = -(e[0] * x + e[1] * y)
    upper, lower = middle + half, middle - half
    plane = np.empty_like(x)
    for faces, surface, meet in ((form.upper, upper, np.minimum), (form.lower, lower, np.maximum)):
        for a, b, c in faces.tolist():
            meet(surface, cv2.addWeighted(x, b, y, c, a, dst=plane), out=surface)
    return upper, lower


def piled(scene: Scene, height: Floats) -> Iterator[tuple[Particle, Relief]]:
    """Lays the particles down one after the other, each as low as what lies there already lets it.

    Beside what it has grown together with it lies on one level, so that their surfaces meet without a step, unless it
    reaches further down and stands on the substrate.

    Yields each particle that is in the image, and its surfaces cut to the image. height (H, W) px over the substrate is
    changed in place: zeros to begin with, in the end the height of everything. So a later particle is nowhere under an
    earlier one, and what a z-buffer would show is what the order shows (truth.py's opaque rule).
    """
    size = (height.shape[0], height.shape[1])
    pixel_size_nm = scene.field_of_view_nm[0] / size[0]
    for particle, relief in zip(scene.particles, reliefs_of(scene.particles, pixel_size_nm), strict=True):
        crop = relief.inside(size)
        if crop is None:
            continue
        under = height[crop.window]
        # what it has grown together with it stands beside, not on
        below = np.where(crop.free > np.float32(0.5), under, np.float32(0.0))
        base = max(cv2.minMaxLoc(below - crop.lower, crop.mask.view(np.uint8))[1], _beside(height, crop))
        np.copyto(under, crop.upper + np.float32(base), where=crop.mask)
        yield particle, crop


def _beside(height: Floats, crop: Relief) -> float:
    """How high over the substrate the crop's middle is, if its surface goes on from what it has grown together with;
    0 where nothing lies there yet. Compared are the last pixels before the seam and the mean of what is next to them.
    """
    seam = crop.mask & (crop.free < np.float32(0.5)) & (crop.inward < np.float32(1.0))
    if not seam.any():
        return 0.0
    rows, columns = crop.window
    top, left = min(rows.start, 1), min(columns.start, 1)
    around = height[rows.start - top : rows.stop + 1, columns.start - left : columns.stop + 1]
    sums, shares = (cv2.blur(each, (3, 3)) for each in (around, (around > 0).astype(np.float32)))
    here = slice(top, top + seam.shape[0]), slice(left, left + seam.shape[1])
    lies = seam & (shares[here] > np.float32(0.1))
    return float(np.median(sums[here][lies] / shares[here][lies] - crop.upper[lies])) if lies.any() else 0.0
