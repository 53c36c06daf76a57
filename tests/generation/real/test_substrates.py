from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from real_scenes import FILM, PARTICLE, Discs

from tem_seg.core.errors import UserError
from tem_seg.generation.real.images import RealImages, grey_levels
from tem_seg.generation.real.substrates import InpaintedSubstrates, SubstrateFolder, canvas, noise_of


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.5, 2.5])
@pytest.mark.parametrize("sd", [4.0, 20.0])
def test_noise_of_blurred_white_noise_is_found(sigma: float, sd: float) -> None:
    white = np.random.default_rng(0).normal(0, 1, (400, 400)).astype(np.float32)
    field = cv2.GaussianBlur(white, (0, 0), sigma)
    ramp = np.linspace(0, 60, 400, dtype=np.float32)
    found_sd, found_sigma = noise_of(np.asarray(130 + ramp + field * (sd / field.std()), np.float32))
    assert found_sd == pytest.approx(sd, rel=0.1) and found_sigma == pytest.approx(sigma, rel=0.15)


def test_letters_hardly_change_the_noise_and_a_flat_picture_has_none() -> None:
    field = np.random.default_rng(0).normal(150, 6, (300, 300)).astype(np.uint8)
    cv2.putText(field, "100 nm", (20, 200), cv2.FONT_HERSHEY_SIMPLEX, 2, 0, 5)
    assert noise_of(field.astype(np.float32))[0] == pytest.approx(6, rel=0.2)
    assert noise_of(np.full((50, 50), 90, np.float32)) == (0.0, 0.5)


def test_particles_are_gone_and_the_film_is_as_it_was(tmp_path: Path) -> None:
    reader = Discs(tmp_path)
    substrates = InpaintedSubstrates(RealImages(reader))
    for index in range(len(substrates)):
        pixels, pixel_size_nm = substrates.substrate(index)
        assert pixels.shape == reader.size and pixel_size_nm is None
        inside = np.any([reader.mask(centre) for centre in reader.centres(index)], axis=0)
        far = ~cv2.dilate(inside.astype(np.uint8), np.ones((25, 25))).astype(bool)
        assert pixels[inside].mean() == pytest.approx(FILM, abs=4) and pixels[inside].min() > PARTICLE + 30
        assert pixels[inside].std() == pytest.approx(pixels[far].std(), rel=0.35)
        np.testing.assert_array_equal(pixels[far], reader.pixels(index)[far])


def test_full_micrographs_give_no_substrate(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in all 4 micrographs particles cover more than max_covered = 0.01"):
        len(InpaintedSubstrates(RealImages(Discs(tmp_path)), max_covered=0.01))


def test_a_folder_gives_its_files_in_order_with_calibration(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "b.png"), np.full((40, 50), 7, np.uint8))
    counts = np.random.default_rng(0).integers(900, 1100, (40, 50)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", counts)
    folder = SubstrateFolder(tmp_path)
    assert len(folder) == 2
    first, second = folder.substrate(0)[0], folder.substrate(1)[0]
    assert (second == 7).all()
    assert first.max() < 260 and first.min() == pytest.approx(230 * 900 / 1100, rel=0.02)  # black stays black
    assert [name for name, _ in folder.identity()["files"]] == ["a.tif", "b.png"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no micrograph in the substrate folder"):
        len(SubstrateFolder(tmp_path))


def test_grey_levels_keeps_8_bit_and_lifts_negative_floats() -> None:
    picture = np.array([[0, 128, 255]], np.float32)
    np.testing.assert_array_equal(grey_levels(picture), picture)
    lifted = grey_levels(np.linspace(-5, 5, 1000, dtype=np.float32).reshape(20, 50))
    assert lifted.min() == 0 and lifted.max() == pytest.approx(230, rel=0.01)


def test_canvas_is_a_piece_of_the_substrate_or_its_mirror_image() -> None:
    pixels = np.random.default_rng(0).random((60, 80)).astype(np.float32)
    piece = canvas(pixels, (30, 30), 1.0, False, np.random.default_rng(1))
    assert piece.shape == (30, 30) and set(piece.ravel()) <= set(pixels.ravel())
    grown = canvas(pixels, (100, 100), 1.0, True, np.random.default_rng(1))
    assert grown.shape == (100, 100) and set(grown.ravel()) <= set(pixels.ravel())
    assert canvas(pixels, (100, 100), 2.0, False, np.random.default_rng(1)).shape == (100, 100)


def test_a_substrate_smaller_than_the_output_is_refused() -> None:
    pixels = np.zeros((60, 80), np.float32)
    with pytest.raises(UserError, match="px is smaller than the output of 100 × 100 px: give larger ones"):
        canvas(pixels, (100, 100), 1.0, False, np.random.default_rng(0))
