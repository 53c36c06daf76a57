"""Datasets in the formats of other programs: label maps in TIFF, YOLO, LabelMe, COCO with polygons.

A split is written to <folder>/<format>/<split>, whole or not at all; a second call goes on where the first was
interrupted and leaves alone what is there. What each format holds: docs/results-format.md.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tem_seg.core.errors import UserError
from tem_seg.data import export_formats as formats
from tem_seg.data import store
from tem_seg.data.atomic import read_json, write_json, write_text
from tem_seg.data.coco import CocoDataset, require_masks
from tem_seg.data.export_formats import Notes

DONE = "export.json"
Writer = Callable[[CocoDataset, dict[int, str], Path], Notes]
"""Takes a split, the name of each image id's files and an unfinished folder; skips what is whole there."""


def export(dataset: CocoDataset, split: str, names: list[str], folder: Path) -> dict[str, Notes]:
    """Writes one split in each of the formats ``names`` (see FORMATS); what is to be known of each.

    Raises UserError for an unknown format, where the folder cannot be written, and what a format cannot hold.
    """
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise UserError(f"no export format {', '.join(map(repr, unknown))}: there are {', '.join(FORMATS)}")
    require_masks(dataset, f"export as {', '.join(names)}")
    notes = {name: _export(dataset, split, name, folder / name) for name in names}
    if "yolo" in names:
        with _trouble_explained(folder / "yolo"):
            _write_data_yaml(dataset, folder / "yolo")
    return notes


def _export(dataset: CocoDataset, split: str, name: str, folder: Path) -> Notes:
    final, partial = folder / split, folder / f".{split}.partial"
    about = {"dataset": str(dataset.path), "digest": _digest(dataset), "images": len(dataset)}
    with _trouble_explained(folder):
        if (final / DONE).is_file() and (found := read_json(final / DONE)).items() >= about.items():
            return dict(found)
        partial.mkdir(parents=True, exist_ok=True)
        if not (partial / "of.json").is_file() or read_json(partial / "of.json") != about:  # begun for another dataset
            shutil.rmtree(partial)
            partial.mkdir()
            write_json(partial / "of.json", about)
        notes = about | FORMATS[name](dataset, _names(dataset), partial)
        write_json(partial / DONE, notes)
        (partial / "of.json").unlink()
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    return notes


def _digest(dataset: CocoDataset) -> str:
    """Of the annotations that are written, so that an export of another dataset is not taken for this one."""
    images = [[image.id, str(image.path), dataset.annotations[image.id]] for image in dataset.images]
    return hashlib.sha256(json.dumps([dataset.categories, images], sort_keys=True).encode()).hexdigest()[:12]


def _names(dataset: CocoDataset) -> dict[int, str]:
    """A file name without ending for each image: its own, with its id where two are called the same."""
    counts = Counter(image.path.stem.lower() for image in dataset.images)
    return {image.id: image.path.stem if counts[image.path.stem.lower()] == 1 else f"{image.path.stem}_{image.id}"
            for image in dataset.images}  # fmt: skip


@contextmanager
def _trouble_explained(folder: Path) -> Iterator[None]:
    with store.disk_full_explained(folder.parent, f"export {folder.name}"):
        try:
            yield
        except OSError as error:
            if error.errno in store.FULL:
                raise
            raise UserError(
                f"the export {folder} cannot be written ({error.strerror or error}: {error.filename}): make the place "
                "writable, or choose another with paths.outputs=<folder> or run_dir=<folder>"
            ) from error


def _write_data_yaml(dataset: CocoDataset, folder: Path) -> None:
    splits = [split for split in ("train", "val", "test") if (folder / split / DONE).is_file()]
    content: dict[str, object] = {"path": str(folder.resolve())}
    content |= {split: f"{split}/images" for split in splits}
    content["names"] = dict(enumerate(dataset.categories))
    write_text(folder / "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


FORMATS: dict[str, Writer] = {
    "tiff_pairs": formats.tiff_pairs,
    "yolo": formats.yolo,
    "labelme": formats.labelme,
    "coco_polygons": formats.coco_polygons,
}
"""Add a format: one function in export_formats.py, its row in docs/results-format.md."""
