"""The writers behind exports.py: one function a format, from annotations and micrographs to files."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Rle
from tem_seg.data import polygons, rle
from tem_seg.data.atomic import read_json, replacing, write_json, write_text
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.data.formats.labelme import content_of as labelme_file
from tem_seg.data.images import normalise, read_micrograph, write_png

MOST_LABELS = 2**16 - 1
PICTURES = (".png", ".jpg", ".jpeg")
Annotations = list[dict[str, Any]]
Notes = dict[str, Any]


def _particles(dataset: CocoDataset, image: ImageRecord) -> Annotations:
    """Annotations of single particles; crowd regions are none."""
    return [entry for entry in dataset.annotations[image.id] if not entry.get("iscrowd")]


# ----------------------------------------------------------------------------------------------------- TIFF pairs


def tiff_pairs(dataset: CocoDataset, names: dict[int, str], folder: Path) -> Notes:
    """images/*.tif with the file's grey levels, masks/*.tif uint16 (0 = ground), labels.csv: class of every label."""
    rows = [("image", "label", "category", "annotation_id", "pixels")]
    for image in dataset.images:
        particles = _particles(dataset, image)
        if len(particles) > MOST_LABELS:
            raise UserError(
                f"{image.path} has {len(particles)} particles; a 16-bit label map holds {MOST_LABELS}: leave "
                "tiff_pairs out of generation.exports, or cut the image into tiles"
            )
        name = f"{names[image.id]}.tif"
        labels = label_map([entry["segmentation"] for entry in particles], (image.height, image.width))
        if not (folder / "images" / name).is_file():
            write_tiff(folder / "images" / name, _levels(image.path), image.pixel_size_nm)
        write_tiff(folder / "masks" / name, labels, image.pixel_size_nm)
        seen = np.bincount(labels.ravel(), minlength=len(particles) + 1)
        rows += [(name, str(label), dataset.categories[e["label"]], str(e["id"]), str(seen[label]))
                 for label, e in enumerate(particles, start=1)]  # fmt: skip
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    write_text(folder / "labels.csv", table.getvalue())
    return {"particles": len(rows) - 1, "without_a_pixel": sum(row[4] == "0" for row in rows)}


def label_map(masks: Sequence[Rle], size: tuple[int, int]) -> NDArray[Any]:
    """(H, W) uint16: 0 where there is none, else the place, from 1, of the last mask that covers the pixel.

    uint32 where there are more masks than 16 bit can number.
    """
    labels = np.zeros(size, np.uint16 if len(masks) <= MOST_LABELS else np.uint32)
    for number, mask in enumerate(masks, start=1):
        crop, x0, y0 = rle.decode_crop(mask)
        labels[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]][crop] = number
    return labels


def _levels(path: Path) -> NDArray[Any]:
    """The file's grey levels in the smallest of uint8, uint16 and float32 that holds them."""
    pixels = read_micrograph(path).pixels
    if path.suffix.lower() in PICTURES:  # whole levels, but for the luminance of colours
        pixels = np.rint(pixels)
    whole = bool((pixels == np.rint(pixels)).all()) and float(pixels.min()) >= 0
    if not whole or float(pixels.max()) > np.iinfo(np.uint16).max:
        return pixels
    return pixels.astype(np.uint8 if float(pixels.max()) <= np.iinfo(np.uint8).max else np.uint16)


def write_tiff(path: Path, pixels: NDArray[Any], pixel_size_nm: float | None) -> None:
    """ImageJ's kind of TIFF, whose resolution tags are in pixels per nm."""
    scale: dict[str, Any] = {}
    if pixel_size_nm is not None:
        scale = {"resolution": (1.0 / pixel_size_nm, 1.0 / pixel_size_nm), "metadata": {"unit": "nm"}}
    with replacing(path) as temporary:
        tifffile.imwrite(temporary, pixels, imagej=True, **scale)


# ------------------------------------------------------------------------------------------------ polygon formats


def yolo(dataset: CocoDataset, names: dict[int, str], folder: Path) -> Notes:
    """labels/*.txt: a line a particle, its class and its outline in shares of width and height; images/* beside."""
    count = 0
    for image in dataset.images:
        _put_8_bit(image.path, folder / "images", names[image.id])
        text = folder / "labels" / f"{names[image.id]}.txt"
        lines = [_yolo_line(entry, image) for entry in _particles(dataset, image)] if not text.is_file() else None
        if lines is not None:
            write_text(text, "".join(lines))
        count += len(_particles(dataset, image))
    return {"particles": count}


def _yolo_line(entry: dict[str, Any], image: ImageRecord) -> str:
    # one polygon a line: parts are tied together as holes are
    whole = polygons.joined(polygons.trace(entry["segmentation"])) / [image.width, image.height]
    return " ".join([str(entry["label"]), *(f"{share:.6f}".rstrip("0").rstrip(".") for share in whole.ravel())]) + "\n"


def labelme(dataset: CocoDataset, names: dict[int, str], folder: Path) -> Notes:
    """*.json beside *.png; parts of one particle share a group_id."""
    for image in dataset.images:
        file_name = _put_8_bit(image.path, folder, names[image.id])
        if (folder / f"{names[image.id]}.json").is_file():
            continue
        particles = _particles(dataset, image)
        masks = [entry["segmentation"] for entry in particles]
        labels = [dataset.categories[entry["label"]] for entry in particles]
        content = labelme_file(file_name, (image.height, image.width), masks, labels)
        write_json(folder / f"{names[image.id]}.json", content, indent=1)
    return {"particles": sum(len(_particles(dataset, image)) for image in dataset.images)}


def coco_polygons(dataset: CocoDataset, names: dict[int, str], folder: Path) -> Notes:
    """dataset.json as ours, with lists of polygons; crowd regions stay RLE, as COCO has them. images/* beside."""
    content = read_json(dataset.path)
    entries = {entry["id"]: entry for entry in content["images"]}
    images, annotations = [], []
    for image in dataset.images:
        file_name = f"images/{names[image.id]}{image.path.suffix}"
        _copy(image.path, folder / file_name)
        images.append(entries[image.id] | {"file_name": file_name})
        if sampled := images[-1].get("sampling_mask"):
            images[-1]["sampling_mask"] = f"images/{names[image.id]}_sampled{Path(sampled).suffix}"
            _copy(dataset.path.parent / sampled, folder / images[-1]["sampling_mask"])
        annotations += [_with_polygons(entry) for entry in dataset.annotations[image.id]]
    write_json(folder / "dataset.json", content | {"images": images, "annotations": annotations})
    return {"particles": len(annotations)}


def _with_polygons(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in entry.items() if key != "label"}
    if entry.get("iscrowd"):
        return kept
    masks = {key: kept[key] for key in ("segmentation", "full_segmentation") if kept.get(key)}
    return kept | {key: [polygons.flat(part) for part in polygons.trace(mask)] for key, mask in masks.items()}


def _copy(source: Path, target: Path) -> None:
    """Copied, not linked: who changes an export does not change the dataset."""
    if not target.is_file():
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)


def _put_8_bit(source: Path, folder: Path, name: str) -> str:
    """The micrograph as a file that any program shows: copied if it is one, else its 1-99 percentile as 8-bit PNG."""
    shown = source.suffix.lower() in PICTURES and _levels(source).dtype == np.uint8
    target = folder / f"{name}{source.suffix.lower() if shown else '.png'}"
    if shown:
        _copy(source, target)
    elif not target.is_file():
        write_png(target, np.rint(normalise(read_micrograph(source).pixels) * 255.0).astype(np.uint8))
    return target.name
