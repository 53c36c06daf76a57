from __future__ import annotations

from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data.images import count_frames, read_micrograph

PIXELS = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)


def write_hspy(
    path: Path, data: np.ndarray, scale: float = 0.5, units: object = "nm", names: tuple[str, ...] = ("a",)
) -> None:
    with h5py.File(path, "w") as file:
        for name in names:
            group = file.create_group(f"Experiments/{name}")
            group["data"] = data
            for k, length in enumerate(data.shape):
                group.create_group(f"axis-{k}").attrs.update({"scale": scale, "units": units, "size": length})


# ---------------------------------------------------------------------------------------------------- MRC


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32"])
def test_mrc(tmp_path: Path, dtype: str) -> None:
    pixels = (PIXELS * 30).astype(dtype)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(pixels)
        file.voxel_size = 2.5  # Å
    found = read_micrograph(tmp_path / "a.mrc")
    assert (found.pixels == pixels).all()
    assert found.pixel_size_nm == pytest.approx(0.25, rel=1e-5) and found.pixel_size_source == "MRC header voxel size"


def test_mrc_without_voxel_size(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(PIXELS)
    assert read_micrograph(tmp_path / "a.mrc").pixel_size_nm is None


def test_mrc_stack_of_a_microscope(data_dir: Path) -> None:
    path = data_dir / "vendor_formats" / "openNCEM" / "temp.mrc"
    assert count_frames(path) == 3
    with pytest.raises(UserError, match="holds 3 frames"):
        read_micrograph(path)
    found = [read_micrograph(path, frame=k) for k in range(3)]
    assert {f.pixels.shape for f in found} == {(128, 128)}
    assert all(f.pixel_size_nm == pytest.approx(0.2) for f in found)
    mrc = pytest.importorskip("rsciio.mrc", reason="the optional plug-in rosettasciio is not installed")
    assert (np.stack([f.pixels for f in found]) == mrc.file_reader(str(path))[0]["data"]).all()


@pytest.mark.parametrize("content", [b"no MRC " * 300, b"short"])
def test_foreign_mrc(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mrc").write_bytes(content)
    with pytest.raises(UserError, match=r"a.mrc (is truncated or no MRC file|cannot be read)"):
        read_micrograph(tmp_path / "a.mrc")


@pytest.mark.parametrize("kept", [1024, 1500, 3000])
def test_truncated_mrc(tmp_path: Path, kept: int) -> None:
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(PIXELS)
    (tmp_path / "a.mrc").write_bytes((tmp_path / "a.mrc").read_bytes()[:kept])
    with pytest.raises(UserError, match="a.mrc is truncated or no MRC file"):
        read_micrograph(tmp_path / "a.mrc")


# --------------------------------------------------------------------------------------------------- hspy


def test_hspy_of_a_microscope(data_dir: Path) -> None:
    path = data_dir / "vendor_formats" / "particlespy" / "SiO2 HAADF Image.hspy"
    found = read_micrograph(path)
    assert found.pixels.shape == (128, 128)
    assert found.pixel_size_nm == pytest.approx(8.552, rel=1e-4) and found.pixel_size_source == "hspy metadata"
    hspy = pytest.importorskip("rsciio.hspy", reason="the optional plug-in rosettasciio is not installed")
    assert (found.pixels == hspy.file_reader(str(path))[0]["data"]).all()


@pytest.mark.parametrize("units", ["nm", b"nm"])
def test_hspy_stack(tmp_path: Path, units: object) -> None:
    stack = np.stack([PIXELS, 2 * PIXELS])
    write_hspy(tmp_path / "a.hspy", stack, 0.5, units)
    found = read_micrograph(tmp_path / "a.hspy", frame=1)
    assert (found.pixels == 2 * PIXELS).all() and found.pixel_size_nm == 0.5
    with pytest.raises(UserError, match="holds 2 frames: choose one"):
        read_micrograph(tmp_path / "a.hspy")


def test_hspy_of_two_signals(tmp_path: Path) -> None:
    write_hspy(tmp_path / "a.hspy", PIXELS, names=("BF", "HAADF"))
    with pytest.raises(UserError, match=r"holds 2 frames \(BF, HAADF\)"):
        read_micrograph(tmp_path / "a.hspy")


@pytest.mark.parametrize("units", ["<undefined>", "", "px"])
def test_hspy_without_calibration(tmp_path: Path, units: str) -> None:
    write_hspy(tmp_path / "a.hspy", PIXELS, 1.0, units)
    assert read_micrograph(tmp_path / "a.hspy").pixel_size_nm is None


def test_hspy_that_is_none(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        file["data"] = PIXELS
    with pytest.raises(UserError, match="has no 'Experiments' group"):
        read_micrograph(tmp_path / "a.hspy")
    write_hspy(tmp_path / "b.hspy", PIXELS[0])
    with pytest.raises(UserError, match="b.hspy holds no image"):
        read_micrograph(tmp_path / "b.hspy")
    (tmp_path / "c.hspy").write_bytes(b"no HDF5 at all")
    with pytest.raises(UserError, match="c.hspy cannot be read"):
        read_micrograph(tmp_path / "c.hspy")


def test_empty_array(tmp_path: Path) -> None:
    write_hspy(tmp_path / "a.hspy", PIXELS[:0])
    with pytest.raises(UserError, match="an image of 0 × 30 px: nothing to see"):
        read_micrograph(tmp_path / "a.hspy")
    write_hspy(tmp_path / "b.hspy", np.zeros((0, 4, 5)))
    with pytest.raises(UserError, match="b.hspy holds no image"):
        read_micrograph(tmp_path / "b.hspy")
