"""TIFF through tifffile: pixels of any depth, and the pixel sizes that microscopes and ImageJ leave in tags.

Resolution tags alone (dots per inch) calibrate nothing: they are for printers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.data.readers import vendor
from tem_seg.data.readers.stack import Calibration, Stack, calibration_of

TEXT_TYPES = (tifffile.DATATYPE.ASCII, tifffile.DATATYPE.BYTE, tifffile.DATATYPE.UNDEFINED)


@contextmanager
def open_tiff(path: Path) -> Iterator[Stack]:
    """Frames are the planes of every full-size series; thumbnails and pyramid levels are not counted."""
    with tifffile.TiffFile(path) as file:
        _refuse_entities(path, file)
        _refuse_truncated(path, file)
        series = [(k, s) for k, s in enumerate(file.series) if not s.keyframe.is_reduced]
        places = [(k, s, i) for k, s in series for i in range(_planes(s))]
        yield Stack(
            frames=len(places),
            pixels=lambda i: _plane(path, places[i][1], places[i][2]),
            shape=lambda i: _shape(places[i][1]),
            calibration=lambda i: _calibration(path, file, places[i][0]),
        )


def _refuse_entities(path: Path, file: tifffile.TiffFile) -> None:
    """No microscope writes a document type: it is how XML is made to grow without end or to read other files."""
    for tag in file.pages.first.tags:
        if tag.dtype not in TEXT_TYPES:
            continue
        file.filehandle.seek(tag.valueoffset)
        text = file.filehandle.read(tag.valuebytecount)
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise UserError(
                f"{path}: its XML metadata declares entities, which no microscope does: the file may be harmful; "
                "export the micrograph as TIFF with another program"
            )


def _refuse_truncated(path: Path, file: tifffile.TiffFile) -> None:
    """tifffile fills what is missing at the end of a file with zeros in some layouts."""
    for page in file.pages:
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if max(ends, default=0) > file.filehandle.size:
            raise UserError(
                f"{path} is truncated: its pixels end beyond the file; copy it again from where it came from"
            )


def _shape(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    return int(series.shape[series.axes.index("Y")]), int(series.shape[series.axes.index("X")])


def _planes(series: tifffile.TiffPageSeries) -> int:
    lengths = (n for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "YXS")
    return int(np.prod(list(lengths), dtype=int))


def _plane(path: Path, series: tifffile.TiffPageSeries, index: int) -> NDArray[Any]:
    """One plane (H, W) or (H, W, S), with 0 = black."""
    count = _planes(series)
    if count == len(series.pages) > 1:
        page = series.pages[index]
        if page is None:
            raise UserError(
                f"{path} has no data for frame {index}: part of an OME data set whose other files are missing"
            )
        data, axes = page.asarray(), page.axes
    else:
        data, axes = series.asarray(), series.axes
    order = [k for k, axis in enumerate(axes) if axis not in "YXS"] + [axes.index("Y"), axes.index("X")]
    colour = "S" in axes
    data = data.transpose([*order, axes.index("S")] if colour else order)
    planes = data.reshape(-1, *data.shape[-3 if colour else -2 :])
    return _black_is_zero(path, planes[index if len(planes) > 1 else 0], series.keyframe)


def _black_is_zero(path: Path, plane: NDArray[Any], page: tifffile.TiffPage) -> NDArray[Any]:
    photometric = tifffile.PHOTOMETRIC(page.photometric)
    if photometric == tifffile.PHOTOMETRIC.MINISWHITE and plane.dtype.kind in "bu":
        return ~plane if plane.dtype.kind == "b" else ((1 << page.bitspersample) - 1 - plane).astype(plane.dtype)
    if photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        # 16-bit colours; Zeiss draws its overlay in colours of a palette that is otherwise grey: v * 257 for value v
        return np.moveaxis(page.colormap[:, plane] / np.float32(257), 0, -1)
    if photometric in (tifffile.PHOTOMETRIC.SEPARATED, tifffile.PHOTOMETRIC.CIELAB):
        raise UserError(f"{path} holds {photometric.name} colours: save it as a grey or RGB TIFF")
    return plane


# ---------------------------------------------------------------------------------------------- calibration


def _calibration(path: Path, file: tifffile.TiffFile, series: int) -> Calibration | None:
    """The first calibration found, most explicit first."""
    if file.is_ome:
        return _ome(file, series)
    for read in (_imagej, _zeiss, _fei, _tvips, _gatan, _olympus):
        if (found := read(file)) is not None:
            return found
    make = file.pages.first.tags.valueof("Make")
    if isinstance(make, str) and make.startswith("JEOL"):
        return vendor.tiff_calibration(path, "JEOL TIFF metadata")
    return None


def _ome(file: tifffile.TiffFile, series: int) -> Calibration | None:
    """PhysicalSizeX and Y; without a unit they are in µm (OME schema 2016-06)."""
    root = ElementTree.fromstring(file.ome_metadata or "<OME/>")
    pixels = [element.attrib for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"]
    if not pixels:
        return None
    found = pixels[series if series < len(pixels) else 0]
    units = [found.get(f"PhysicalSize{axis}Unit", "µm") for axis in "XY"]
    sizes = [_number(found.get(f"PhysicalSize{axis}")) for axis in "XY"]
    return calibration_of(sizes[0], sizes[1], units[0], units[1], "OME PhysicalSizeX")


def _imagej(file: tifffile.TiffFile) -> Calibration | None:
    """Resolution tags in pixels per ``unit``. Inches and cm come from a printer's dpi, never from a microscope."""
    if not file.is_imagej:
        return None
    # ImageJ writes "µm" as the seven characters \u00B5m
    unit = str((file.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
    if unit.strip().lower() in ("inch", "in", "cm"):
        return None
    x, y = (_pitch(file.pages.first.tags.valueof(tag)) for tag in ("XResolution", "YResolution"))
    return calibration_of(x, y, unit, unit, "ImageJ")


def _pitch(resolution: Any) -> float | None:
    """Rational pixels per unit → units per pixel."""
    if not isinstance(resolution, tuple) or not resolution[0]:
        return None
    return float(resolution[1]) / float(resolution[0])


def _zeiss(file: tifffile.TiffFile) -> Calibration | None:
    """Tag 34118: entries (name, value, unit)."""
    for key in ("ap_image_pixel_size", "ap_pixel_size"):
        entry = (file.sem_metadata or {}).get(key, ())
        if len(entry) == 3 and _number(entry[1]):
            return calibration_of(entry[1], entry[1], entry[2], entry[2], f"TIFF tag 34118 (Zeiss CZ_SEM {key})")
    return None


def _fei(file: tifffile.TiffFile) -> Calibration | None:
    """Tags 34680 and 34682, in metres: the scan's pixel size, else the field of view over the resolution."""
    metadata = file.fei_metadata or {}
    tag = f"TIFF tag {34682 if 34682 in file.pages.first.tags else 34680}"
    beam, image = metadata.get("Beam", {}), metadata.get("Image", {})
    for section in (beam.get("Scan"), "Scan"):
        scan = metadata.get(section, {})
        sizes = [_number(scan.get(key)) for key in ("PixelWidth", "PixelHeight")]
        if all(sizes):
            return calibration_of(sizes[0], sizes[1], "m", "m", f"{tag} (FEI {section} PixelWidth)")
    field = [_number(metadata.get(beam.get("Beam"), {}).get(key)) for key in ("HFW", "VFW")]
    counts = [_number(image.get(key)) for key in ("ResolutionX", "ResolutionY")]
    if field[0] and field[1] and counts[0] and counts[1]:
        return calibration_of(field[0] / counts[0], field[1] / counts[1], "m", "m", f"{tag} (FEI HFW over ResolutionX)")
    return None


def _tvips(file: tifffile.TiffFile) -> Calibration | None:
    """Tag 37706, version 2 of TVIPS' header: nm."""
    metadata = file.tvips_metadata or {}
    if metadata.get("Version") != 2:
        return None
    x, y = metadata.get("PixelSizeX"), metadata.get("PixelSizeY")
    return calibration_of(x, y, "nm", "nm", "TIFF tag 37706 (TVIPS PixelSizeX)")


def _gatan(file: tifffile.TiffFile) -> Calibration | None:
    """Private tags of DigitalMicrograph: 65003, 65004 units and 65009, 65010 scales of x and y."""
    unit_x, unit_y, x, y = (file.pages.first.tags.valueof(code) for code in (65003, 65004, 65009, 65010))
    return calibration_of(_number(x), _number(y), unit_x, unit_y, "TIFF tag 65009 (DigitalMicrograph)")


def _olympus(file: tifffile.TiffFile) -> Calibration | None:
    """Tag 33560 (Olympus SIS cameras): metres."""
    metadata = file.sis_metadata or {}
    x, y = metadata.get("pixelsizex"), metadata.get("pixelsizey")
    return calibration_of(x, y, "m", "m", "TIFF tag 33560 (Olympus SIS)")


def _number(value: Any) -> float | None:
    """What files state where a number should be ("", "notafloat") → None."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
