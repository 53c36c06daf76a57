from __future__ import annotations

import numpy as np
import pytest

from tem_seg.generation.contrast import diffraction

KEYS = [
    {"twins": 0.8},
    {"contours": 1.0},
    {"mottle": 0.5},
    {"sectors": 5.0, "sectors_gain": 0.6},
    {"fringes": 0.3, "fringe_nm": 18.0},
]


@pytest.mark.parametrize("contrast", KEYS)
def test_every_texture_changes_scattering_and_keeps_it_positive(contrast: dict[str, float]) -> None:
    thickness = np.tile(np.linspace(0, 60, 40, dtype=np.float32), (30, 1))
    for seed in range(20):
        factor = diffraction.texture(contrast, thickness, np.random.default_rng(seed))
        assert factor is not None and factor.shape == (30, 40) and factor.dtype == np.float32
        assert (factor > 0).all() and factor.std() > 1e-3


def test_amorphous_and_tiny_particles_have_none() -> None:
    rng = np.random.default_rng(0)
    assert diffraction.texture({}, np.ones((30, 30), np.float32), rng) is None
    assert diffraction.texture({"twins": 1.0}, np.ones((9, 30), np.float32), rng) is None


def test_fringes_repeat_every_extinction_length() -> None:
    thickness = np.array([[0.0, 9.0, 18.0, 36.0]], np.float32)
    factor = diffraction.thickness_fringes(thickness, 18.0, 0.3)
    np.testing.assert_allclose(factor, [[1.3, 0.7, 1.3, 1.3]], atol=1e-5)


def test_five_sectors_have_five_levels() -> None:
    axis = np.linspace(-1, 1, 60, dtype=np.float32)
    factor = diffraction.sectors(axis[None], axis[:, None], 5, 0.6, np.random.default_rng(0))
    assert factor is not None and len(np.unique(factor)) == 5
