"""Microscope vendors' formats through rosettasciio: an optional plug-in (GPL-3.0-or-later), imported only here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.data.readers.stack import Calibration, Stack, calibration_of

READERS = {".dm3": "digitalmicrograph", ".dm4": "digitalmicrograph", ".emd": "emd", ".ser": "tia", ".emi": "tia"}
INSTALL = "pip install rosettasciio[hdf5,tiff,image]"


@contextmanager
def open_vendor(path: Path) -> Iterator[Stack]:
    """Every image in a .dm3, .dm4, .emd, .ser or .emi file as one run of frames; spectra are passed over.

    Raises UserError without the plug-in, or where the file holds no image.
    """
    signals = [signal for signal in _load(path, READERS[path.suffix.lower()]) if _is_image(signal)]
    if not signals:
        where = "its .ser files must lie beside it" if path.suffix.lower() == ".emi" else "spectra only?"
        raise UserError(f"{path} holds no image ({where}): export the micrograph as TIFF")
    places = [(signal, k) for signal in signals for k in range(int(np.prod(signal["data"].shape[:-2], dtype=int)))]
    source = f"{path.suffix.lower()[1:]} metadata"
    yield Stack(
        frames=len(places),
        pixels=lambda i: _frame(*places[i]),
        shape=lambda i: places[i][0]["data"].shape[-2:],
        calibration=lambda i: _calibration(places[i][0], source),
        names=tuple(str(signal["metadata"]["General"].get("title", "")) for signal, _ in places),
    )


def tiff_calibration(path: Path, source: str) -> Calibration | None:
    """Pixel size of a vendor's TIFF whose private metadata only the plug-in reads (JEOL SightX)."""
    signals = _load(path, "tiff")
    return _calibration(signals[0], source) if signals else None


def _load(path: Path, reader: str) -> list[dict[str, Any]]:
    try:
        module = importlib.import_module(f"rsciio.{reader}")
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path} needs the optional reader for microscope formats ({error.name} is not installed): "
            f"{INSTALL} (GPL-3.0), or export the micrograph as TIFF"
        ) from error
    options = {"select_type": "images"} if reader == "emd" else {}  # Velox: skips spectrum streams of gigabytes
    signals: list[dict[str, Any]] = module.file_reader(str(path), lazy=True, **options)
    return signals


def _is_image(signal: dict[str, Any]) -> bool:
    """The last two axes are an image's: named x and y, or the signal axes."""
    axes = signal["axes"]
    return len(axes) >= 2 and signal["data"].ndim == len(axes) and not any(a.get("navigate") for a in axes[-2:])


def _frame(signal: dict[str, Any], index: int) -> NDArray[Any]:
    data = signal["data"]
    frame = np.asarray(data[np.unravel_index(index, data.shape[:-2])] if data.ndim > 2 else data)
    if frame.dtype.names:  # colour as a record of R, G, B(, A)
        return np.stack([frame[channel] for channel in "RGB"], axis=-1)
    return frame


def _calibration(signal: dict[str, Any], source: str) -> Calibration | None:
    y, x = signal["axes"][-2:]
    return calibration_of(x.get("scale"), y.get("scale"), x.get("units"), y.get("units"), source)
