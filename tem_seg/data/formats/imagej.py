"""ImageJ's regions of interest: one .roi, or a .zip of them as the ROI Manager saves it. roifile knows the bytes.

An archive is looked at before anything in it is unpacked, and nothing is ever unpacked to the disk.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from tem_seg.core.errors import UserError
from tem_seg.core.types import Rle
from tem_seg.data import polygons
from tem_seg.data.atomic import replacing
from tem_seg.data.formats.archive import entries
from tem_seg.data.formats.canvas import Canvas, Part, ellipse, rectangle
from tem_seg.data.formats.model import Annotated, Found, Source

ROI, ZIP = b"Iout", b"PK"
OUTLINES = (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED)
PICTURES = (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE)
MOST_BYTES = 2**24


def recognises(source: Source) -> bool:
    """Whether a file is a ROI, or an archive that may hold some."""
    return source.head.startswith((ROI, ZIP))


def read(source: Source) -> Found:
    """One micrograph, or of a stack one for each slice that has a region. Each region is a particle."""
    rois = [(name, _decoded(source, name, data)) for name, data in _contents(source)]
    about = [roi.properties for _, roi in rois]
    slices = sorted({_slice(roi) for _, roi in rois} - {0})
    if len(slices) > 1 or (slices and slices != [1]):
        images = [_frame(source, rois, about, index) for index in slices]
    else:
        images = [_frame(source, rois, about, None)]
    return Found([one for one, _ in images], [note for _, notes in images for note in notes])


def _contents(source: Source) -> list[tuple[str, bytes]]:
    if source.head.startswith(ZIP):
        return entries(source.path, ".roi")
    if (size := source.path.stat().st_size) > MOST_BYTES:
        raise UserError(f"{source.path} has {size:,} bytes: no region of interest is that long")
    return [(source.path.name, source.path.read_bytes())]


def _decoded(source: Source, name: str, data: bytes) -> ImagejRoi:
    try:
        return ImagejRoi.frombytes(data)
    except Exception as error:  # struct, numpy and codecs raise what they like on damaged bytes
        raise UserError(
            f"{source.path}: {name[:200]} is no ImageJ region of interest ({error}): save it again from ImageJ"
        ) from error


def _slice(roi: ImagejRoi) -> int:
    """Place in a stack, from 1; 0 for a region of no particular slice."""
    return int(max(roi.position, roi.t_position, roi.z_position, 0))


def _frame(
    source: Source, rois: list[tuple[str, ImagejRoi]], about: list[dict[str, Any]], index: int | None
) -> tuple[Annotated, list[str]]:
    """The particles of one slice; regions of no particular slice lie in all of them."""
    stated = next((p for p in about if "image_width" in p and "image_height" in p), {})
    size = (stated.get("image_height"), stated.get("image_width"))
    canvas = Canvas(source, source.path.name, source.needed_size(source.path.name) if None in size else size)  # type: ignore[arg-type]
    for (name, roi), props in zip(rois, about, strict=True):
        if index is not None and _slice(roi) not in (0, index):
            continue
        try:
            part = _part(roi)
        except (ValueError, RuntimeError, IndexError, NotImplementedError) as error:
            canvas.fault(f"{name[:200]}: its path is damaged ({error})")
            continue
        if part is None:
            canvas.skip(f"{roi.subtype.name if roi.subtype in PICTURES else roi.roitype.name} region".lower())
        else:
            canvas.add([part], name[:200], props.get("class"), props.get("score"))
    size_nm = next((p["pixel_size_nm"] for p in about if "pixel_size_nm" in p), None)
    frame = None if index is None else index - 1
    return canvas.annotated(pixel_size_nm=size_nm, frame=frame), canvas.notes


def _part(roi: ImagejRoi) -> Part | None:
    """Rings of the region's area; None for points, lines, texts, pictures."""
    if roi.subtype in PICTURES:
        return None
    if roi.multi_coordinates is not None:
        return [ring.astype(float).ravel().tolist() for ring in map(_open, roi.coordinates(multi=True)) if len(ring)]
    if roi.roitype in OUTLINES:
        return [_open(np.asarray(roi.coordinates())).astype(float).ravel().tolist()]
    if roi.roitype not in (ROI_TYPE.RECT, ROI_TYPE.OVAL):
        return None
    x, y, width, height = (
        (roi.xd, roi.yd, roi.widthd, roi.heightd) if roi.subpixelrect
        else (roi.left, roi.top, roi.right - roi.left, roi.bottom - roi.top)
    )  # fmt: skip
    if roi.roitype == ROI_TYPE.OVAL:
        return [ellipse(x + width / 2, y + height / 2, width / 2, height / 2)]
    if roi.rounded_rect_arc_size > 0:
        return [_rounded(x, y, width, height, roi.rounded_rect_arc_size / 2)]
    return [rectangle(x, y, width, height)]


def _open(ring: np.ndarray) -> np.ndarray:
    """Without a last point that is the first again."""
    return ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring


def _rounded(x: float, y: float, width: float, height: float, radius: float) -> list[float]:
    radius = min(radius, width / 2, height / 2)
    inner = shapely.box(x + radius, y + radius, x + width - radius, y + height - radius)
    rounded = shapely.buffer(inner, radius, quad_segs=32)
    return [float(value) for value in np.asarray(rounded.exterior.coords)[:-1].ravel()]


# ------------------------------------------------------------------------------------------------------- writing


def write(found: Sequence[Annotated], path: Path) -> list[str]:
    """A .zip with a region for each particle, whose properties hold class, score, pixel size and frame size."""
    (one,) = found
    common: dict[str, Any] = {"image_height": one.size[0], "image_width": one.size[1]}
    if one.pixel_size_nm is not None:
        common["pixel_size_nm"] = one.pixel_size_nm
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (mask, category, score) in enumerate(zip(one.masks, one.categories, one.scores, strict=True), 1):
            roi = region_of(mask)
            roi.name = f"{number:05d}"
            line = " ".join(category.split())  # a property is one line
            roi.properties = common | {"class": line} | ({} if score is None else {"score": score})
            archive.writestr(f"{roi.name}.roi", roi.tobytes())
    return []


def region_of(mask: Rle) -> ImagejRoi:
    """A freehand region, or a composite one of a mask with holes or of several parts."""
    rings = [ring for rings in polygons.trace_parts(mask) for ring in rings]
    if len(rings) == 1:
        return ImagejRoi.frompoints(rings[0], name="")
    points = np.concatenate(rings)
    left, top = np.floor(points.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(points.max(axis=0)).astype(int).tolist()
    path = np.concatenate([_path(ring) for ring in rings]).astype(np.float32)
    return ImagejRoi(roitype=ROI_TYPE.RECT, options=ROI_OPTIONS.NONE, left=left, top=top, right=right, bottom=bottom,
                     shape_roi_size=len(path), multi_coordinates=path)  # fmt: skip


def _path(ring: polygons.Ring) -> np.ndarray:
    """Java's path: 0 x y moves, 1 x y draws, 4 closes."""
    steps = np.column_stack([np.r_[0, np.ones(len(ring) - 1)], ring])
    return np.append(steps.ravel(), 4.0)
