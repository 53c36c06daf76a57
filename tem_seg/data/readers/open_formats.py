"""PNG, JPEG, MRC and HyperSpy files, read with libraries of free licences."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import h5py
import mrcfile
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.data.readers.stack import Calibration, Stack, calibration_of

MRC_MODES = (0, 1, 2, 3, 4, 6, 12, 101)


@contextmanager
def open_raster(path: Path) -> Iterator[Stack]:
    """PNG or JPEG, stored orientation and bit depth. Their dpi entries are for printers and calibrate nothing."""
    content = np.fromfile(path, np.uint8)
    decoded = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if _has_its_chunks(content) else None
    if decoded is None:
        raise UserError(f"{path} is truncated or damaged: copy it again from where it came from")
    pixels = decoded if decoded.ndim == 2 else decoded[..., [2, 1, 0, 3][: decoded.shape[2]]]  # OpenCV: BGR(A)
    yield Stack(1, lambda _: pixels, lambda _: (pixels.shape[0], pixels.shape[1]), lambda _: None)


def _has_its_chunks(content: NDArray[np.uint8]) -> bool:
    """Whether a PNG is as long as its chunks say (True of other files): OpenCV makes room for whatever one claims."""
    if bytes(content[:8]) != b"\x89PNG\r\n\x1a\n":
        return True
    place = 8
    while place + 12 <= len(content):
        length, kind = int.from_bytes(bytes(content[place : place + 4])), bytes(content[place + 4 : place + 8])
        place += 12 + length
        if kind == b"IEND":
            break
    return place <= len(content)


@contextmanager
def open_mrc(path: Path) -> Iterator[Stack]:
    """MRC/CCP4 image or stack (Cheng et al., J. Struct. Biol. 2015, 10.1016/j.jsb.2015.04.002); voxel size in Å."""
    mode = np.fromfile(path, "<i4", 4)[3:]
    if not np.isin([*mode, *mode.byteswap()], MRC_MODES).any():  # mrcfile would follow a foreign header's lengths
        raise UserError(f"{path} is truncated or no MRC file: copy it again from where it came from")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "permissive" takes files without the MAP stamp of 2014, which are many
        file = mrcfile.mmap(path, mode="r", permissive=True)
    with file:
        if file.data is None:
            raise UserError(f"{path} is truncated or no MRC file: copy it again from where it came from")
        data = file.data.reshape(-1, *file.data.shape[-2:])
        x, y = float(file.voxel_size.x), float(file.voxel_size.y)
        yield Stack(
            len(data),
            lambda i: np.array(data[i]),
            lambda _: (data.shape[1], data.shape[2]),
            lambda _: calibration_of(x, y, "Å", "Å", "MRC header voxel size"),
        )


@contextmanager
def open_hspy(path: Path) -> Iterator[Stack]:
    """HyperSpy HDF5: images under /Experiments/<name>, axes described by their attributes."""
    with h5py.File(path, "r") as file:
        if "Experiments" not in file:
            raise UserError(f"{path} has no 'Experiments' group: not a HyperSpy file, save it again with HyperSpy")
        groups = [group for _, group in sorted(file["Experiments"].items())]
        images = [(group, axes) for group in groups if len(axes := _axes(group)) == group["data"].ndim >= 2]
        places = [(group, axes, k) for group, axes in images for k in range(_frames(group))]
        if not places:
            raise UserError(f"{path} holds no image (spectra only?): export the micrograph as TIFF")
        yield Stack(
            len(places),
            lambda i: _hspy_frame(places[i][0], places[i][2]),
            lambda i: places[i][0]["data"].shape[-2:],
            lambda i: _hspy_calibration(places[i][1]),
            tuple(group.name.rsplit("/", 1)[-1] for group, _, _ in places),
        )


def _axes(group: h5py.Group) -> list[dict[str, Any]]:
    """Attributes of axis-0, axis-1, … in the array's order."""
    names = sorted((name for name in group if name.startswith("axis-")), key=lambda name: int(name.split("-")[1]))
    return [dict(group[name].attrs) for name in names]


def _frames(group: h5py.Group) -> int:
    return int(np.prod(group["data"].shape[:-2], dtype=int))


def _hspy_frame(group: h5py.Group, index: int) -> NDArray[Any]:
    data = group["data"]
    return np.asarray(data[tuple(int(k) for k in np.unravel_index(index, data.shape[:-2]))] if data.ndim > 2 else data)


def _hspy_calibration(axes: list[dict[str, Any]]) -> Calibration | None:
    y, x = axes[-2:]
    units = [unit.decode() if isinstance(unit := axis.get("units"), bytes) else unit for axis in (x, y)]
    return calibration_of(x.get("scale"), y.get("scale"), units[0], units[1], "hspy metadata")
