"""Real files of microscope vendors; their true values stand in shared/data/vendor_formats/SOURCE.md."""

from __future__ import annotations

import gzip
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data.images import count_frames, read_micrograph
from tem_seg.data.readers import vendor

TIFF, TIA = "rosettasciio/tiff", "rosettasciio/tia/old"
FILES = {  # file: frames, shape, nm per pixel
    "particlespy/JEOL HAADF Image.dm4": (1, (112, 112), 1.249),
    "rosettasciio/digitalmicrograph/2D/test_STEM_image.dm3": (1, (68, 68), 0.2485),
    f"{TIFF}/test_dm_image_um_unit.dm3": (1, (68, 68), 168.7),
    "openNCEM/After HAADF 130mm_1.ser": (1, (1024, 1024), 3.270),
    "openNCEM/Camera Ceta Imaging Micro.emd": (1, (512, 512), 3.139),
    f"{TIA}/64x64_TEM_images_acquire_1.ser": (1, (64, 64), 6.2818),
    f"{TIA}/64x64_TEM_images_acquire.emi": (1, (64, 64), 6.2818),
    f"{TIA}/03_Scanning Preview_1.ser": (5, (128, 128), 0.3844),
    f"{TIA}/03_Scanning Preview.emi": (5, (128, 128), 0.3844),
    "rosettasciio/emd/fei_example_tem_stack.emd": (2, (3, 3), 8.173e-3),
}
NOT_SQUARE = "openNCEM/dmTest_float32_nonSquare_diffPixelSize"


@pytest.fixture
def folder(data_dir: Path) -> Path:
    pytest.importorskip("rsciio", reason="the optional plug-in rosettasciio is not installed")
    return data_dir / "vendor_formats"


@pytest.mark.parametrize("name", FILES)
def test_true_values(folder: Path, name: str) -> None:
    frames, shape, nm = FILES[name]
    path = folder / name
    assert count_frames(path) == frames
    found = read_micrograph(path, frame=frames - 1)
    assert found.pixels.shape == shape and found.pixels.dtype == np.float32
    assert found.pixel_size_nm == pytest.approx(nm, rel=5e-4)
    assert found.pixel_size_source == f"{path.suffix[1:]} metadata"
    if frames > 1:
        with pytest.raises(UserError, match=f"holds {frames} frames.*: choose one, frame=0 to {frames - 1}"):
            read_micrograph(path)


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_rosettasciios(folder: Path, name: str) -> None:
    path = folder / name
    module = importlib.import_module(f"rsciio.{vendor.READERS[path.suffix]}")
    data = np.asarray(module.file_reader(str(path))[0]["data"])
    frames = data.reshape(-1, *data.shape[-2:])
    assert all(
        (read_micrograph(path, frame=k).pixels == frames[k].astype(np.float32)).all() for k in range(len(frames))
    )


@pytest.mark.parametrize("suffix", [".dm3", ".dm4"])
def test_pixels_that_are_not_square_and_in_two_units(folder: Path, suffix: str) -> None:
    path = folder / f"{NOT_SQUARE}{suffix}"
    with pytest.raises(UserError, match="pixels are not square, 1 nm wide and 0.2 nm high"):
        read_micrograph(path)
    found = read_micrograph(path, pixel_size_nm=0.7)
    assert found.pixels.shape == (64, 128) and found.pixel_size_nm == 0.7


def test_jeol_tiff(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "jeol.tif"
    path.write_bytes(gzip.decompress((folder / TIFF / "JEOL-SightX-TEM-mag-dummy.tif.gz").read_bytes()))
    found = read_micrograph(path)
    assert found.pixels.shape == (556, 556)
    assert found.pixel_size_nm == pytest.approx(1.8208, rel=1e-4) and found.pixel_size_source == "JEOL TIFF metadata"


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".emi")])
@pytest.mark.parametrize("kept", [0.3, 0.97])
def test_truncated(folder: Path, tmp_path: Path, name: str, kept: float) -> None:
    content = (folder / name).read_bytes()
    path = tmp_path / Path(name).name
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError, match="cannot be read .* truncated, damaged or not what its name says"):
        read_micrograph(path, frame=0)


@pytest.mark.parametrize("suffix", sorted(vendor.READERS))
def test_foreign_content(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"this is no micrograph" * 100)
    with pytest.raises(
        UserError, match=f"a{suffix} (cannot be read|needs the optional reader|holds no image .*ser files)"
    ):
        read_micrograph(path)


@pytest.mark.parametrize("suffix", sorted(vendor.READERS))
def test_without_the_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "rsciio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rsciio", None)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"content")
    with pytest.raises(UserError, match=r"rsciio.* is not installed.*: pip install rosettasciio\[hdf5,tiff,image\]"):
        read_micrograph(path)


def signal(data: np.ndarray, units: str = "nm", **options: object) -> dict[str, object]:
    axes = [{"name": n, "scale": 0.5, "units": units, "navigate": n == "z"} for n in ("z", "y", "x")[-data.ndim :]]
    return {"data": data, "axes": axes, "metadata": {"General": {"title": "HAADF"}}} | options


def test_several_detectors_in_one_file_are_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bright = signal(np.ones((4, 5)), metadata={"General": {"title": "BF"}})
    spectrum = signal(np.ones(7))
    monkeypatch.setattr(vendor, "_load", lambda path, reader: [signal(np.zeros((2, 4, 5))), spectrum, bright])
    (tmp_path / "a.emd").write_bytes(b"content")
    with pytest.raises(UserError, match=r"holds 3 frames \(HAADF, BF\): choose one, frame=0 to 2"):
        read_micrograph(tmp_path / "a.emd")
    assert read_micrograph(tmp_path / "a.emd", frame=2).pixels.max() == 1


def test_spectra_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor, "_load", lambda path, reader: [signal(np.ones(7))])
    (tmp_path / "a.dm3").write_bytes(b"content")
    with pytest.raises(UserError, match="a.dm3 holds no image"):
        count_frames(tmp_path / "a.dm3")


def test_colour_records_and_diffraction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = np.zeros((4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = 100
    monkeypatch.setattr(vendor, "_load", lambda path, reader: [signal(rgb, "1/nm")])
    (tmp_path / "a.dm3").write_bytes(b"content")
    with pytest.raises(UserError, match="a.dm3: calibration: unit '1/nm' is a reciprocal length"):
        read_micrograph(tmp_path / "a.dm3")
    assert read_micrograph(tmp_path / "a.dm3", pixel_size_nm=1).pixels == pytest.approx(58.7)
