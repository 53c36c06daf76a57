from __future__ import annotations

import math
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from tem_seg.core.errors import UserError
from tem_seg.core.types import Micrograph
from tem_seg.data.pixel_size import GIVEN, PixelSize, check_pixel_size, disagreement, read_with_pixel_size, resolve

TIFF = "vendor_formats/rosettasciio/tiff"
REAL = {  # file: frame, nm per pixel as SOURCE.md tells them, source
    "vendor_formats/particlespy/JEOL HAADF Image.dm4": (None, 1.249, "dm4 metadata"),
    "vendor_formats/particlespy/SiO2 HAADF Image.hspy": (None, 8.552, "hspy metadata"),
    "vendor_formats/openNCEM/After HAADF 130mm_1.ser": (None, 3.270, "ser metadata"),
    "vendor_formats/openNCEM/Camera Ceta Imaging Micro.emd": (None, 3.139, "emd metadata"),
    "vendor_formats/openNCEM/temp.mrc": (1, 0.2, "MRC header voxel size"),
    "vendor_formats/rosettasciio/digitalmicrograph/2D/test_STEM_image.dm3": (None, 0.2485, "dm3 metadata"),
    f"{TIFF}/test_dm_image_um_unit.dm3": (None, 168.7, "dm3 metadata"),
    f"{TIFF}/test_loading_image_saved_with_DM.tif": (None, 168.7, "TIFF tag 65009 (DigitalMicrograph)"),
    f"{TIFF}/test_loading_image_saved_with_imageJ.tif": (None, 168.7, "ImageJ"),
    f"{TIFF}/tiff_FEI_Helios.zip:FEI-Helios-Ebeam-8bits.tif": (None, 3372.4, "TIFF tag 34682 (FEI EScan PixelWidth)"),
    f"{TIFF}/TVIPS_bin4.zip:TVIPS_bin4.tif": (None, 1.4208, "TIFF tag 37706 (TVIPS PixelSizeX)"),
    "vendor_formats/rosettasciio/tia/old/64x64_TEM_images_acquire_1.ser": (None, 6.2818, "ser metadata"),
    "vendor_formats/rosettasciio/tia/old/03_Scanning Preview_1.ser": (2, 0.3844, "ser metadata"),
    "vendor_formats/rosettasciio/emd/fei_example_tem_stack.emd": (0, 8.173e-3, "emd metadata"),
    "bam_tio2/SEM/1908248.tif": (None, 7.344, "TIFF tag 34118 (Zeiss CZ_SEM ap_image_pixel_size)"),
    "bam_tio2/TSEM/1908249.tif": (None, 7.344, "TIFF tag 34118 (Zeiss CZ_SEM ap_image_pixel_size)"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_tell_their_pixel_size_and_its_source(data_dir: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("rsciio", reason="the optional plug-in rosettasciio is not installed")
    frame, nm, source = REAL[name]
    path = data_dir / name
    if ".zip:" in name:
        archive, member = name.split(":")
        with zipfile.ZipFile(data_dir / archive) as opened:
            path = Path(opened.extract(member, tmp_path))
    micrograph, size = read_with_pixel_size(path, frame=frame)
    assert size.value_nm == pytest.approx(nm, rel=5e-4) and size.source == source
    assert size.relative_error is None and size.warnings == ()
    assert (micrograph.pixel_size_nm, micrograph.pixel_size_source) == (size.value_nm, source)


def figure(label: str = "200 nm", bar_px: int = 150) -> np.ndarray:
    """A grey picture with a white bar and its label, as ImageJ would draw them (Pillow's font)."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(np.random.default_rng(0).normal(90, 10, (400, 500)).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    pen.rectangle((300, 370, 300 + bar_px - 1, 377), fill=255)
    pen.text((320, 335), label, fill=255, font=ImageFont.load_default(24))
    return np.asarray(image)


def test_the_scale_bar_of_a_picture_without_metadata(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), figure())
    micrograph, size = read_with_pixel_size(tmp_path / "a.png")
    assert size.value_nm == pytest.approx(200 / 150, rel=1 / 150)
    assert size.source.startswith("scale bar: 200 nm = 1") and size.source.endswith(" px")
    assert size.relative_error == pytest.approx(1 / 150, rel=0.01) and size.warnings == ()
    assert micrograph.pixel_size_nm == size.value_nm and micrograph.pixel_size_source == size.source


def test_nothing_known(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), figure()[:300])
    micrograph, size = read_with_pixel_size(tmp_path / "a.png")
    assert size.value_nm is None and size.relative_error is None
    assert size.source == "no metadata; scale bar: no bar was found; give --pixel-size for lengths in nm"
    assert (micrograph.pixel_size_nm, micrograph.pixel_size_source) == (None, None)
    assert str(size).startswith("unknown (no metadata")


def test_the_bar_is_not_read_where_it_is_not_asked_for(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), figure())
    _, size = read_with_pixel_size(tmp_path / "a.png", read_bar=False)
    assert size.value_nm is None and "the picture was not searched for a scale bar" in size.source


def imagej(path: Path, nm: float, height: float | None = None) -> Path:
    pixels = figure()
    tifffile.imwrite(path, pixels, imagej=True, resolution=(1 / nm, 1 / (height or nm)), metadata={"unit": "nm"})
    return path


@pytest.mark.parametrize("nm", [200 / 150, 1.36, 1.30])
def test_metadata_go_before_the_bar_which_confirms_them(tmp_path: Path, nm: float) -> None:
    _, size = read_with_pixel_size(imagej(tmp_path / "a.tif", nm))
    assert size.value_nm == pytest.approx(nm) and size == PixelSize(size.value_nm, "ImageJ")


def test_metadata_that_the_bar_contradicts(tmp_path: Path) -> None:
    _, size = read_with_pixel_size(imagej(tmp_path / "a.tif", 2.0))
    assert size.value_nm == pytest.approx(2.0) and len(size.warnings) == 1
    assert "two pixel sizes differ by a factor of 0.66" in size.warnings[0]
    assert "2 nm (ImageJ) is used, 1.33" in size.warnings[0] and "scale bar: 200 nm = 1" in size.warnings[0]
    assert "give it as --pixel-size" in size.warnings[0]


def test_what_the_user_states_goes_first_and_is_compared_with_all(tmp_path: Path) -> None:
    micrograph, size = read_with_pixel_size(imagej(tmp_path / "a.tif", 2.0), given_nm=1.34)
    assert (size.value_nm, size.source, size.relative_error) == (1.34, GIVEN, None)
    assert len(size.warnings) == 1
    assert "1.34 nm (given (--pixel-size)) is used, 2 nm (ImageJ) is not" in size.warnings[0]
    assert micrograph.pixel_size_nm == 1.34


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = imagej(tmp_path / "a.tif", 1.0, 2.0)
    with pytest.raises(UserError, match="a.tif: pixels are not square, 1 nm wide and 2 nm high"):
        read_with_pixel_size(path)
    _, size = read_with_pixel_size(path, given_nm=200 / 150)
    assert size.value_nm == pytest.approx(200 / 150) and len(size.warnings) == 1
    assert size.warnings[0].startswith("the file's own calibration is not used: ")
    assert "pixels are not square" in size.warnings[0]


@pytest.mark.parametrize("value", [0.0, -1.5, float("nan"), float("inf"), -0.0, "1"])
def test_impossible_values(tmp_path: Path, value: float) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), figure())
    with pytest.raises(UserError, match=f"a pixel size of {value} nm is impossible: expected a positive number of nm"):
        read_with_pixel_size(tmp_path / "a.png", given_nm=value)
    with pytest.raises(UserError, match="is impossible"):
        check_pixel_size(value)
    with pytest.raises(UserError, match="is impossible"):
        PixelSize(value, "nowhere")


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_impossible_sizes_in_a_file_are_none(tmp_path: Path, value: float) -> None:
    size = {"PhysicalSizeX": value, "PhysicalSizeY": value, "PhysicalSizeXUnit": "nm", "PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", figure()[:300], ome=True, metadata=size)
    assert read_with_pixel_size(tmp_path / "a.ome.tif")[1].value_nm is None


def test_a_file_that_cannot_be_read_stays_one_with_a_given_size(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no micrograph at"):
        read_with_pixel_size(tmp_path / "a.png", given_nm=1.0)


def test_agreement_grows_with_the_errors_that_are_stated() -> None:
    used = PixelSize(1.0, "ImageJ")
    assert disagreement(used, PixelSize(1.029, "scale bar")) is None
    assert disagreement(used, PixelSize(1.05, "scale bar")) is not None
    assert disagreement(used, PixelSize(1.05, "scale bar", 0.03)) is None
    assert disagreement(PixelSize(1.05, "scale bar", 0.03), used) is None


def test_a_micrograph_in_memory() -> None:
    pixels = figure().astype(np.float32)
    assert resolve(Micrograph(pixels)).value_nm == pytest.approx(200 / 150, rel=0.01)
    assert resolve(Micrograph(pixels * 200 + 1000)).value_nm == pytest.approx(200 / 150, rel=0.01)  # 16-bit values
    assert resolve(Micrograph(pixels, 1.0, "somewhere"), read_bar=False) == PixelSize(1.0, "somewhere")
    assert resolve(Micrograph(np.zeros((1, 1), np.float32))).value_nm is None
    assert resolve(Micrograph(np.zeros((7, 900), np.float32))).value_nm is None
