"""Diffraction contrast inside crystalline particles, as factors on the scattering of every pixel of a crop.

Pictures of the effect rather than its simulation: a dynamical calculation needs orientation and strain of every
crystal, the network only has to learn that a particle may be dark, striped or mottled inside and is still one particle.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
MIN_PX = 10
"""Particles narrower than this show no texture."""


def texture(contrast: dict[str, float], thickness: Field, rng: np.random.Generator) -> Field | None:
    """Factor (h, w) on the scattering of a particle with this thickness (nm); None if it has no texture.

    Keys of contrast, each a strength 0-1 and 0 if absent: sectors_gain (with sectors, their number), twins, contours,
    mottle; fringe_nm is the depth period of thickness fringes (extinction length), 0 for none.
    """
    height, width = thickness.shape
    if min(height, width) < MIN_PX:
        return None
    half = max(height, width) / 2.0
    x = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2.0) / half)[None, :]
    y = ((np.arange(height, dtype=np.float32) + 0.5 - height / 2.0) / half)[:, None]
    factor: Field | None = None
    for part in (
        sectors(x, y, int(contrast.get("sectors", 0)), contrast.get("sectors_gain", 0.0), rng),
        twin_bands(x, y, contrast.get("twins", 0.0), rng),
        bend_contours(x, y, contrast.get("contours", 0.0), rng),
        mottle((height, width), contrast.get("mottle", 0.0), rng),
        thickness_fringes(thickness, contrast.get("fringe_nm", 0.0), contrast.get("fringes", 0.0)),
    ):
        if part is not None:
            factor = part if factor is None else factor * part
    return factor


def sectors(x: Field, y: Field, count: int, gain: float, rng: np.random.Generator) -> Field | None:
    """Grains that meet in the middle, each scattering differently."""
    if count < 2 or gain == 0.0:
        return None
    turn = rng.uniform(0.0, 2.0 * np.pi)
    grain = np.floor((np.arctan2(y, x) + turn) / (2.0 * np.pi) * count).astype(np.int64) % count
    return rng.uniform(1.0 - 0.5 * gain, 1.0 + gain, count).astype(np.float32)[grain]


def twin_bands(x: Field, y: Field, strength: float, rng: np.random.Generator) -> Field | None:
    """One to three parallel lamellae across the particle, darker or lighter than the rest."""
    if strength == 0.0:
        return None
    angle = rng.uniform(0.0, np.pi)
    across = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    field = np.ones(across.shape, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        centre, width = rng.uniform(-0.6, 0.6), rng.uniform(0.04, 0.3)
        field[np.abs(across - centre) < width] *= 1.0 + strength * rng.uniform(-0.5, 1.0)
    return field


def bend_contours(x: Field, y: Field, strength: float, rng: np.random.Generator) -> Field | None:
    """Dark curved lines where a bent lattice meets the Bragg condition: zero sets of a random quadratic form."""
    if strength == 0.0:
        return None
    dark = np.zeros((1, 1), np.float32)
    for _ in range(int(rng.integers(1, 3))):
        a, b, c, d, e = (np.float32(v) for v in rng.normal(0.0, 1.0, 5))
        tilt = c + a * x + b * y + d * x * y + e * (x * x - y * y)
        dark = dark + np.exp(-((tilt / np.float32(rng.uniform(0.1, 0.3))) ** 2))
    return np.asarray(1.0 + strength * dark, np.float32)


def mottle(size: tuple[int, int], strength: float, rng: np.random.Generator) -> Field | None:
    """Smooth random patches: polycrystalline grains, rough surface."""
    if strength == 0.0:
        return None
    cells = int(rng.integers(3, 9))
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    field = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.exp(np.float32(0.5 * strength) * field), np.float32)


def thickness_fringes(thickness: Field, period_nm: float, strength: float) -> Field | None:
    """Two-beam fringes along lines of equal thickness, period = extinction length (Au 200: 18 nm at 100 kV)."""
    if period_nm == 0.0 or strength == 0.0:
        return None
    return np.asarray(1.0 + np.float32(strength) * np.cos(thickness * np.float32(2.0 * np.pi / period_nm)), np.float32)
