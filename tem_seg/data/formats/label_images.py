"""Pictures that are masks: label maps of 8, 16 or 32 bit with any number of pages, binary and colour-coded ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.data import rle
from tem_seg.data.atomic import replacing
from tem_seg.data.export_formats import label_map, write_tiff
from tem_seg.data.formats.model import PARTICLE, Annotated, Found, Source
from tem_seg.data.images import MAGIC, read_micrograph, write_png
from tem_seg.data.readers.emps import instances_of
from tem_seg.data.readers.mask_pairs import labels_of, mask_frames


def recognises(source: Source) -> bool:
    """Whether a file is a PNG, JPEG or TIFF. (Whether it is a mask is known when it is read.)"""
    return source.head.startswith(tuple(MAGIC))


def read(source: Source) -> Found:
    """One micrograph a page. One value or colour is a particle; of a binary mask one connected region."""
    if source.connectivity not in (4, 8):
        raise UserError(f"connectivity must be 4 or 8, got {source.connectivity}")
    frames = mask_frames(source.path)
    pixel_size, origin = _pixel_size(source)
    images, notes = [], []
    for index, values in enumerate(frames):
        found = instances_of(labels_of(source.path, values, source.connectivity))
        if values.ndim == 2 and len(np.unique(values[values > 0])) == 1:
            notes.append(f"{source.path}{f', page {index + 1}' if len(frames) > 1 else ''}: a binary mask: each "
                         f"{source.connectivity}-connected region is a particle")  # fmt: skip
        count = len(found)
        images.append(Annotated(source.path.name, found.size, found.segmentations, [PARTICLE] * count, [None] * count,
                                pixel_size, origin, index if len(frames) > 1 else None, source.path))  # fmt: skip
    return Found(images, notes)


def _pixel_size(source: Source) -> tuple[float | None, str | None]:
    if source.head[:2] not in (b"II", b"MM"):
        return None, None
    found = read_micrograph(source.path, frame=0)
    return found.pixel_size_nm, found.pixel_size_source and f"{source.path.name}: {found.pixel_size_source}"


# ------------------------------------------------------------------------------------------------------- writing


def write_labels(found: Sequence[Annotated], path: Path) -> list[str]:
    """TIFF as ImageJ writes it, 16 bit; with more than 65535 particles OME-TIFF, 32 bit. Later particles lie on top."""
    (one,) = found
    labels = label_map(one.masks, one.size)
    if labels.dtype == np.uint16:
        write_tiff(path, labels, one.pixel_size_nm)
    else:
        _write_ome(path, labels, one.pixel_size_nm)
    return _lost(one, labels)


def _write_ome(path: Path, labels: np.ndarray, pixel_size_nm: float | None) -> None:
    import tifffile

    sides = {f"PhysicalSize{axis}{key}": value for axis in "XY" for key, value in (("", pixel_size_nm), ("Unit", "nm"))}
    about = {"axes": "YX"} | (sides if pixel_size_nm is not None else {})
    with replacing(path) as temporary, temporary.open("wb") as file:
        tifffile.imwrite(file, labels, ome=True, metadata=about)


def write_binary(found: Sequence[Annotated], path: Path) -> list[str]:
    """PNG, 8 bit: 255 where there is a particle. Particles that touch are one region then."""
    (one,) = found
    labels = label_map(one.masks, one.size)
    seen = np.asarray(labels > 0)
    write_png(path, seen.astype(np.uint8) * np.uint8(255))
    regions = len(instances_of(labels_of(path, seen.astype(np.int64)))) if not seen.all() else 1
    grown = [f"{path}: {len(one)} particles are {regions} separate regions in a binary mask: those that touch grow "
             "together there"] if regions != len(one) else []  # fmt: skip
    return grown + _lost(one, labels)


def _lost(one: Annotated, labels: np.ndarray) -> list[str]:
    """What a flat picture does not keep."""
    areas = np.array([rle.area_px(mask) for mask in one.masks], np.int64)
    left = np.bincount(labels.ravel(), minlength=len(one) + 1)[1:]
    if not (cut := int(np.count_nonzero(left < areas))):
        return []
    gone = int(np.count_nonzero(left == 0))
    return [f"{one.title}: {int((areas - left).sum())} px of {cut} particles lie under other particles and are lost, "
            f"{gone} of them wholly: a picture holds one particle a pixel (COCO keeps overlap)"]  # fmt: skip
