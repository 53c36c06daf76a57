from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tem_seg.core.errors import UserError
from tem_seg.data.images import count_frames, read_micrograph


def picture(shape: tuple[int, ...] = (20, 30), top: int = 256, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, top, shape).astype(dtype)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.tif"


# -------------------------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_every_depth(path: Path, dtype: str, compression: str | None) -> None:
    pixels = picture(top=120, dtype=dtype)
    tifffile.imwrite(path, pixels, compression=compression)
    found = read_micrograph(path)
    assert found.pixels.dtype == np.float32 and (found.pixels == pixels).all() and found.pixel_size_nm is None


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour(path: Path, planar: str) -> None:
    rgb = picture((20, 30, 3))
    stored = rgb if planar == "contig" else np.moveaxis(rgb, 2, 0)
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planar)
    assert read_micrograph(path).pixels == pytest.approx(rgb @ np.array([0.299, 0.587, 0.114]), abs=1e-3)


def test_rgba_and_grey_with_alpha(path: Path) -> None:
    rgba = np.concatenate([np.repeat(picture()[..., None], 3, 2), np.full((20, 30, 1), 9, np.uint8)], 2)
    tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=["unassalpha"])
    assert (read_micrograph(path).pixels == picture()).all()
    tifffile.imwrite(path, rgba[..., 2:], photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"])
    assert (read_micrograph(path).pixels == picture()).all()


def test_white_is_zero_is_turned(path: Path) -> None:
    """Bright-field particles must stay dark, whatever way the file counts."""
    tifffile.imwrite(path, 255 - picture(), photometric="miniswhite")
    assert (read_micrograph(path).pixels == picture()).all()


def test_a_grey_palette_gives_its_greys(path: Path) -> None:
    ramp = np.repeat((np.arange(255, -1, -1) * 257).astype(np.uint16)[None], 3, axis=0)
    tifffile.imwrite(path, picture(), photometric="palette", colormap=ramp)
    assert (read_micrograph(path).pixels == 255 - picture().astype(int)).all()


def test_one_bit(path: Path) -> None:
    tifffile.imwrite(path, picture(top=2, dtype="bool"), photometric="minisblack")
    assert (read_micrograph(path).pixels == picture(top=2)).all()


def test_cmyk_is_refused(path: Path) -> None:
    tifffile.imwrite(path, picture((20, 30, 4)), photometric="separated")
    with pytest.raises(UserError, match="holds SEPARATED colours: save it as a grey or RGB TIFF"):
        read_micrograph(path)


def test_complex_values_are_refused(path: Path) -> None:
    tifffile.imwrite(path, picture().astype(np.complex64))
    with pytest.raises(UserError, match="complex64 values .* save the real-space image"):
        read_micrograph(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity(path: Path, bad: float) -> None:
    pixels = picture(dtype="float32")
    pixels[3, 4:6] = bad
    tifffile.imwrite(path, pixels)
    with pytest.raises(UserError, match=r"a.tif holds 2 pixels of NaN or infinity: replace them"):
        read_micrograph(path)


def test_a_number_too_large_for_float32_is_no_number(path: Path) -> None:
    tifffile.imwrite(path, np.array([[1e300, 0.0]]))
    with pytest.raises(UserError, match="holds 1 pixels of NaN or infinity"):
        read_micrograph(path)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_truncated(path: Path, kept: float, compression: str | None) -> None:
    tifffile.imwrite(path, picture((100, 120)), compression=compression, rowsperstrip=10)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError, match="a.tif (is truncated|cannot be read)"):
        read_micrograph(path)


# -------------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"ome": True},
                                     {"truncate": True, "metadata": {"axes": "TYX"}},
                                     {"compression": "deflate"}], ids=str)  # fmt: skip
def test_a_stack_needs_a_frame(path: Path, options: dict[str, Any]) -> None:
    target = path.with_suffix(".ome.tif") if options.get("ome") else path
    stack = picture((5, 20, 30))
    tifffile.imwrite(target, stack, photometric="minisblack", **options)
    assert count_frames(target) == 5
    with pytest.raises(UserError, match="holds 5 frames: choose one, frame=0 to 4"):
        read_micrograph(target)
    assert all((read_micrograph(target, frame=k).pixels == stack[k]).all() for k in range(5))
    with pytest.raises(UserError, match="has no frame 5: it holds 5"):
        read_micrograph(target, frame=5)


def test_a_stack_of_colour_frames(path: Path) -> None:
    stack = np.repeat(picture((3, 20, 30))[..., None], 3, axis=3)
    tifffile.imwrite(path, stack, photometric="rgb")
    assert count_frames(path) == 3 and (read_micrograph(path, frame=1).pixels == stack[1, ..., 0]).all()


def test_pages_of_different_size_are_frames_too(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(picture((20, 30)))
        writer.write(picture((8, 9)))
        writer.write(picture((4, 5)), subfiletype=1)  # a thumbnail
    assert count_frames(path) == 2 and read_micrograph(path, frame=1).pixels.shape == (8, 9)


# --------------------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize(
    ("unit", "pitch", "nm"),
    [
        ("nm", 0.25, 0.25),
        ("um", 0.25, 250.0),
        ("micron", 0.25, 250.0),
        ("\\u00B5m", 0.5, 500.0),
        ("pm", 50, 0.05),
        ("A", 2, 0.2),
    ],
)
def test_imagej(path: Path, unit: str, pitch: float, nm: float) -> None:
    tifffile.imwrite(path, picture(), imagej=True, resolution=(1 / pitch, 1 / pitch), metadata={"unit": unit})
    found = read_micrograph(path)
    assert found.pixel_size_nm == pytest.approx(nm, rel=1e-6) and found.pixel_size_source == "ImageJ"


@pytest.mark.parametrize("unit", ["pixel", "pixels", "", "inch", "cm", None])
def test_imagej_without_calibration(path: Path, unit: str | None) -> None:
    """ImageJ keeps a printer's 72 dpi as 72 pixels an inch: no microscope has such pixels."""
    metadata = {} if unit is None else {"unit": unit}
    tifffile.imwrite(path, picture(), imagej=True, resolution=(72.0, 72.0), metadata=metadata)
    assert read_micrograph(path).pixel_size_nm is None


def test_imagej_with_a_unit_that_is_no_length(path: Path) -> None:
    tifffile.imwrite(path, picture(), imagej=True, resolution=(4.0, 4.0), metadata={"unit": "1/nm"})
    with pytest.raises(UserError, match=r"a.tif: calibration: .*diffraction pattern.*give pixel_size_nm="):
        read_micrograph(path)
    assert read_micrograph(path, pixel_size_nm=2.0).pixel_size_nm == 2.0


@pytest.mark.parametrize(
    ("size", "unit", "nm"), [(0.5, "nm", 0.5), (0.5, "µm", 500), (0.5, None, 500), (2, "Å", 0.2), (0.5, "pixel", None)]
)
def test_ome(tmp_path: Path, size: float, unit: str | None, nm: float | None) -> None:
    metadata: dict[str, Any] = {"PhysicalSizeX": size, "PhysicalSizeY": size}
    if unit:
        metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", picture(), ome=True, metadata=metadata)
    found = read_micrograph(tmp_path / "a.ome.tif")
    assert found.pixel_size_nm == (pytest.approx(nm) if nm else None)
    assert found.pixel_size_source == ("OME PhysicalSizeX" if nm else None)


def test_ome_without_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", picture(), ome=True)
    assert read_micrograph(tmp_path / "a.ome.tif").pixel_size_nm is None


@pytest.mark.parametrize(("ratio", "refused"), [(1.0005, False), (1.002, True), (2.0, True)])
def test_pixels_that_are_not_square(path: Path, ratio: float, refused: bool) -> None:
    tifffile.imwrite(path, picture(), imagej=True, resolution=(1.0, 1 / ratio), metadata={"unit": "nm"})
    if refused:
        with pytest.raises(
            UserError, match=r"a.tif: pixels are not square, 1 nm wide and .* high \(ImageJ\): resample"
        ):
            read_micrograph(path)
        assert read_micrograph(path, pixel_size_nm=1.0).pixel_size_source == "override"
    else:
        assert read_micrograph(path).pixel_size_nm == pytest.approx(ratio**0.5, rel=1e-4)


@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER", "NONE"])
def test_dots_per_inch_are_no_calibration(path: Path, unit: str) -> None:
    tifffile.imwrite(path, picture(), resolution=(300.0, 300.0), resolutionunit=unit)
    assert read_micrograph(path).pixel_size_nm is None


FEI = "[Beam]\r\nBeam=EBeam\r\nScan=EScan\r\n[EScan]\r\nPixelWidth={}\r\nPixelHeight={}\r\n"


@pytest.mark.parametrize("code", [34680, 34682])
@pytest.mark.parametrize(("size", "nm"), [("3.5e-009", 3.5), ("", None), ("notafloat", None), ("0", None)])
def test_fei(path: Path, code: int, size: str, nm: float | None) -> None:
    tifffile.imwrite(path, picture(), extratags=[(code, "s", 0, FEI.format(size, size), True)])
    found = read_micrograph(path)
    assert found.pixel_size_nm == (pytest.approx(nm) if nm else None)
    assert found.pixel_size_source == (f"TIFF tag {code} (FEI EScan PixelWidth)" if nm else None)


@pytest.mark.parametrize(("x", "unit", "nm"), [(0.2, "nm", 0.2), (0.2, "µm", 200.0), (1.0, "", None)])
def test_digital_micrograph(path: Path, x: float, unit: str, nm: float | None) -> None:
    tags = [(65003, "s", 0, unit.encode("latin-1"), True), (65004, "s", 0, unit.encode("latin-1"), True),
            (65009, "d", 1, x, True), (65010, "d", 1, x, True)]  # fmt: skip
    tifffile.imwrite(path, picture(), extratags=tags)
    assert read_micrograph(path).pixel_size_nm == (pytest.approx(nm) if nm else None)


def test_olympus(path: Path) -> None:
    """Tag 33560: a header whose first entry points to 10^exponent and the calibrations of x and y."""
    header = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 0, 0, 1, 0, 120, b"camera", 1) + struct.pack("<hhI", 1, 1, 0xABCD)
    tifffile.imwrite(path, picture(), byteorder="<", extratags=[(33560, "B", len(header), header, True)])
    content = path.read_bytes()
    content = content.replace(struct.pack("<I", 0xABCD), struct.pack("<I", len(content)))
    path.write_bytes(content + struct.pack("<10xhdd8xd2x34s32s", -9, 0.7, 0.7, 1.0, b"c", b"p"))
    found = read_micrograph(path)
    assert found.pixel_size_nm == pytest.approx(0.7) and found.pixel_size_source == "TIFF tag 33560 (Olympus SIS)"


# --------------------------------------------------------------------------------------------- real files

HELIOS = "TIFF tag 34682 (FEI"


@pytest.mark.parametrize("name", [f"SEM/{n}.tif" for n in (1908248, 1908252, 1908254, 1908256, 1908258)]
                         + ["TSEM/1908249.tif", "TSEM/1908253.tif"])  # fmt: skip
def test_zeiss(data_dir: Path, name: str) -> None:
    found = read_micrograph(data_dir / "bam_tio2" / name)
    assert found.pixels.shape == (768, 1024) and found.pixels.max() <= 255
    assert (found.pixel_size_nm, found.pixel_size_source) == (
        7.344,
        "TIFF tag 34118 (Zeiss CZ_SEM ap_image_pixel_size)",
    )


def test_the_masks_of_the_zeiss_files_have_no_calibration(data_dir: Path) -> None:
    found = read_micrograph(data_dir / "bam_tio2" / "masks_manual" / "1908248_m.tif")
    assert set(np.unique(found.pixels)) == {0, 255} and found.pixel_size_nm is None


@pytest.mark.parametrize(
    ("member", "shape", "nm", "source"),
    [
        ("tiff_FEI_Helios.zip:FEI-Helios-Ebeam-8bits.tif", (471, 512), 3372.4, f"{HELIOS} EScan PixelWidth)"),
        (
            "tiff_FEI_Helios.zip:FEI-Helios-Ebeam-16bits.tif",
            (471, 512),
            3372.4,
            f"{HELIOS} EScan PixelWidth)",
        ),
        (
            "tiff_FEI_Helios.zip:FEI-Helios-navcam.tif",
            (551, 768),
            0.202732 / 768 * 1e9,
            f"{HELIOS} HFW over ResolutionX)",
        ),
        ("tiff_FEI_Helios.zip:FEI-Helios-navcam-with-no-IRBeam.tif", (551, 768), None, None),
        ("tiff_FEI_Helios.zip:FEI-Helios-navcam-with-no-IRBeam-bad-floats.tif", (551, 768), None, None),
        ("TVIPS_bin4.zip:TVIPS_bin4.tif", (1024, 1024), 1.4208, "TIFF tag 37706 (TVIPS PixelSizeX)"),
    ],
)
def test_fei_and_tvips(
    data_dir: Path, tmp_path: Path, member: str, shape: tuple[int, int], nm: float | None, source: str | None
) -> None:
    archive, name = member.split(":")
    with zipfile.ZipFile(data_dir / "vendor_formats" / "rosettasciio" / "tiff" / archive) as opened:
        opened.extract(name, tmp_path)
    found = read_micrograph(tmp_path / name)
    assert found.pixels.shape == shape and found.pixel_size_source == source
    assert found.pixel_size_nm == (pytest.approx(nm, rel=1e-5) if nm else None)


@pytest.mark.parametrize(("saved_with", "source"), [("DM", "TIFF tag 65009 (DigitalMicrograph)"), ("imageJ", "ImageJ")])
def test_one_image_saved_by_two_programs(data_dir: Path, saved_with: str, source: str) -> None:
    folder = data_dir / "vendor_formats" / "rosettasciio" / "tiff"
    found = read_micrograph(folder / f"test_loading_image_saved_with_{saved_with}.tif")
    original = read_micrograph(folder / "test_dm_image_um_unit.dm3") if _has_plugin() else found
    assert found.pixel_size_nm == pytest.approx(168.6747, rel=1e-6) and found.pixel_size_source == source
    assert (found.pixels == original.pixels).all()


def _has_plugin() -> bool:
    try:
        import rsciio  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True
