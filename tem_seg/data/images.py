"""Micrographs from files of any microscope, and the one intensity normalisation of the package."""

from __future__ import annotations

import math
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Micrograph
from tem_seg.data.atomic import replacing
from tem_seg.data.readers.open_formats import open_hspy, open_mrc, open_raster
from tem_seg.data.readers.stack import Stack
from tem_seg.data.readers.tiff import open_tiff
from tem_seg.data.readers.vendor import READERS, open_vendor

ANISOTROPY_TOLERANCE = 1e-3
PERCENTILES = (1.0, 99.0)
PERCENTILE_PIXELS = 2**22
HEADROOM = 0.75
"""The most that any model sees beyond either percentile (SegmentationModel.headroom)."""
MOST_PIXELS = 2**30
"""Of one image: 4 GiB as float32. Files that claim more are damaged, or were made to fill the memory."""
Opener = Callable[[Path], AbstractContextManager[Stack]]
MAGIC: Mapping[bytes, Opener] = {b"\x89PNG\r\n\x1a\n": open_raster, b"\xff\xd8\xff": open_raster} | dict.fromkeys(
    (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), open_tiff
)
BY_SUFFIX: Mapping[str, Opener] = {".mrc": open_mrc, ".mrcs": open_mrc, ".hspy": open_hspy} | dict.fromkeys(
    READERS, open_vendor
)
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", *BY_SUFFIX)


def read_micrograph(path: Path, *, pixel_size_nm: float | None = None, frame: int | None = None) -> Micrograph:
    """A file → Micrograph: pixels (H, W) float32 with the file's values (colours as Rec. 601 luminance, alpha ignored).

    pixel_size_nm overrides the file's calibration; without either it is None (lengths are then in px).
    frame (from 0) is needed for files that hold several (see :func:`count_frames`).
    Raises UserError for missing, empty, truncated, foreign files; NaN or infinity; pixels that are not square.
    """
    if pixel_size_nm is not None and not (math.isfinite(pixel_size_nm) and pixel_size_nm > 0):
        raise UserError(f"pixel_size_nm must be a positive number of nm, got {pixel_size_nm}")
    before = _state(path)
    with _open(path) as stack:
        index = _choose(path, stack, frame)
        refuse_huge(path, stack.shape(index))
        pixels = _to_float(path, stack.pixels(index))
        size_nm, source = (pixel_size_nm, "override") if pixel_size_nm else _calibrate(path, stack, index)
    if _state(path) != before:
        raise UserError(f"{path} changed while it was read: wait until the program that writes it has finished")
    return Micrograph(pixels, size_nm, source)


def count_frames(path: Path) -> int:
    """Number of images in a file: 1 for most, more for stacks, videos and files of several detectors."""
    with _open(path) as stack:
        return stack.frames


def stored_type(path: Path, frame: int | None = None) -> str:
    """How a file keeps its grey levels: "8-bit unsigned", "32-bit float", with "colour" for several channels."""
    with _open(path) as stack:
        pixels = stack.pixels(_choose(path, stack, frame))
    kinds = {"u": "unsigned", "i": "signed", "f": "float", "b": "binary", "c": "complex"}
    kind = kinds.get(pixels.dtype.kind, str(pixels.dtype))
    return f"{8 * pixels.dtype.itemsize}-bit {kind}{', colour' if pixels.ndim == 3 and pixels.shape[2] > 1 else ''}"


@contextmanager
def _open(path: Path) -> Iterator[Stack]:
    """The file's frames; whatever a format library raises becomes a UserError that names the file."""
    opener = _opener(path)
    try:
        with opener(path) as stack:
            yield stack
    except (UserError, MemoryError):
        raise
    except Exception as error:  # the format libraries share no base class
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error}): it is truncated, damaged or not what its name "
            "says; copy it again from where it came from, or export the micrograph as TIFF"
        ) from error


def _opener(path: Path) -> Opener:
    """Chosen by the first bytes (files are often misnamed), for microscope formats by the name's ending."""
    if _state(path) is None:
        raise UserError(f"no micrograph at {path}")
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise UserError(f"{path} is empty (0 bytes): copy it again from where it came from")
    for magic, opener in MAGIC.items():
        if head.startswith(magic):
            return opener
    if path.suffix.lower() in BY_SUFFIX:
        return BY_SUFFIX[path.suffix.lower()]
    raise UserError(f"{path} is no micrograph that can be read: expected one of {' '.join(SUFFIXES)}")


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change; None where there is no file (or its name is longer than names can be)."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def refuse_huge(path: Path, shape: tuple[int, int]) -> None:
    """UserError where a file claims an image (H, W) that no micrograph is, before anything is allocated."""
    if shape[0] * shape[1] > MOST_PIXELS:
        raise UserError(
            f"{path} claims an image of {shape[1]:,} × {shape[0]:,} px, more than {MOST_PIXELS:,} pixels: it is "
            "damaged, or must be cut into parts before it is read"
        )


def _choose(path: Path, stack: Stack, frame: int | None) -> int:
    if stack.frames == 0:
        raise UserError(f"{path} holds no image")
    if frame is None and stack.frames > 1:
        names = f" ({', '.join(dict.fromkeys(stack.names))})" if len(set(stack.names)) > 1 else ""
        raise UserError(f"{path} holds {stack.frames} frames{names}: choose one, frame=0 to {stack.frames - 1}")
    if frame is not None and not 0 <= frame < stack.frames:
        raise UserError(f"{path} has no frame {frame}: it holds {stack.frames}, counted from 0")
    return frame or 0


def _to_float(path: Path, pixels: NDArray[Any]) -> NDArray[np.float32]:
    if 0 in pixels.shape:
        raise UserError(f"{path} holds an image of {' × '.join(map(str, pixels.shape))} px: nothing to see")
    if pixels.dtype.kind not in "biuf":
        raise UserError(f"{path} holds {pixels.dtype} values (a Fourier transform?): save the real-space image")
    with np.errstate(over="ignore"):
        grey = _luminance(path, pixels.astype(np.float32))
    bad = grey.size - int(np.count_nonzero(np.isfinite(grey)))
    if bad:
        raise UserError(
            f"{path} holds {bad} pixels of NaN or infinity: replace them (ImageJ: Remove NaNs) and save again"
        )
    return grey


def _luminance(path: Path, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rec. 601 luminance, written so that grey stored as R = G = B keeps its exact values."""
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3 or pixels.shape[2] > 4:
        raise UserError(f"{path} holds an array of shape {pixels.shape}: expected grey, RGB or RGBA")
    if pixels.shape[2] < 3:
        return np.ascontiguousarray(pixels[..., 0])
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    luminance: NDArray[np.float32] = green + np.float32(0.299) * (red - green) + np.float32(0.114) * (blue - green)
    return luminance


def _calibrate(path: Path, stack: Stack, index: int) -> tuple[float | None, str | None]:
    try:
        found = stack.calibration(index)
    except UserError as error:
        raise UserError(f"{path}: calibration: {error}; if you know the pixel size, give pixel_size_nm=") from error
    if found is None:
        return None, None
    if abs(found.x_nm - found.y_nm) > ANISOTROPY_TOLERANCE * max(found.x_nm, found.y_nm):
        raise UserError(
            f"{path}: pixels are not square, {found.x_nm:.6g} nm wide and {found.y_nm:.6g} nm high ({found.source}): "
            "resample the micrograph to square pixels, or give pixel_size_nm= if the file is wrong"
        )
    return (found.x_nm if found.x_nm == found.y_nm else math.sqrt(found.x_nm * found.y_nm)), found.source


# -------------------------------------------------------------------------------------------------- intensity


def normalise(pixels: NDArray[np.float32], headroom: float = 0.0) -> NDArray[np.float32]:
    """pixels (H, W), a whole micrograph → (H, W) float32: its 1–99 percentile stretched to [0, 1], clipped to
    [-headroom, 1 + headroom].

    Where bright particles cover a tenth of the field, the brightest hundredth is up to a tenth of their pixels, and
    without headroom the creases there are clipped.
    Where both percentiles coincide (particles on less than 1 % of a flat ground), minimum and maximum take their
    place; a constant image becomes zeros. Above 2^22 px the percentiles are taken on a regular grid of every k-th
    row and column (k = 2 for 4096²: 0.09 s instead of 0.25 s, same percentiles within the noise).
    """
    step = max(1, math.ceil(math.sqrt(pixels.size / PERCENTILE_PIXELS)))
    with np.errstate(invalid="ignore"):  # infinity is reported below
        low, high = (float(v) for v in _percentiles(pixels[::step, ::step]))
    if low == high:
        low, high = float(pixels.min()), float(pixels.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("normalise: pixels hold NaN or infinity")
    if low == high:
        return np.zeros(pixels.shape, np.float32)
    stretched = pixels.astype(np.float32)
    stretched -= np.float32(low)
    stretched /= np.float32(high - low)
    return np.clip(stretched, -headroom, 1.0 + headroom, out=stretched)


def _percentiles(pixels: NDArray[np.float32]) -> NDArray[np.floating]:
    """``np.percentile(pixels, PERCENTILES)``; 8-bit levels are counted instead of sorted, 5 times faster."""
    levels = pixels.astype(np.uint8)
    if not np.array_equal(levels, pixels):
        return np.percentile(pixels, PERCENTILES)
    up_to = np.cumsum(np.bincount(levels.ravel(), minlength=256))  # pixels of a level or darker
    place = (pixels.size - 1) * np.array(PERCENTILES) / 100
    below, above = (np.searchsorted(up_to, rank, side="right") for rank in (np.floor(place), np.ceil(place)))
    return below + (above - below) * (place % 1)


def write_png(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Writes pixels (H, W) uint8 or uint16 as a grey PNG, whole or not at all. Read back they are equal."""
    if pixels.ndim != 2 or 0 in pixels.shape or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: pixels must be (H, W) uint8 or uint16, got {pixels.shape} {pixels.dtype}")
    encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))[1]
    with replacing(path) as temporary:
        encoded.tofile(temporary)
