"""All formats: told by content, read, written. Add one: a file here, a row below, a row in docs/formats.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tem_seg.core.errors import UserError
from tem_seg.data.formats import coco_json, geojson, imagej, label_images, labelme, via, via3
from tem_seg.data.formats.model import Annotated, Found, Source
from tem_seg.data.images import refuse_huge


@dataclass(frozen=True, slots=True)
class Format:
    """title: for people. recognises: by content. write: to one file; None for formats that are read only.

    holds_many: a file holds many micrographs, otherwise there is one file for each.
    """

    title: str
    suffix: str
    recognises: Callable[[Source], bool] | None
    read: Callable[[Source], Found]
    write: Callable[[Sequence[Annotated], Path], list[str]] | None
    holds_many: bool = False


FORMATS: dict[str, Format] = {
    "coco": Format("COCO JSON", ".json", coco_json.recognises, coco_json.read, coco_json.write, True),
    "labelme": Format("LabelMe JSON", ".json", labelme.recognises, labelme.read, labelme.write),
    "via": Format("VIA 2 JSON", ".json", via.recognises, via.read, via.write, True),
    "via_csv": Format("VIA 2 CSV", ".csv", via.recognises_csv, via.read_csv, via.write_csv, True),
    "via3": Format("VIA 3 JSON", ".json", via3.recognises, via3.read, via3.write, True),
    "via3_csv": Format("VIA 3 CSV", ".csv", via3.recognises_csv, via3.read_csv, None, True),
    "qupath": Format("QuPath GeoJSON", ".geojson", geojson.recognises, geojson.read, geojson.write),
    "imagej": Format("ImageJ ROIs", ".zip", imagej.recognises, imagej.read, imagej.write),
    "labels": Format("label picture", ".tif", label_images.recognises, label_images.read, label_images.write_labels),
    "binary": Format("binary mask", ".png", None, label_images.read, label_images.write_binary),
}
WRITABLE = tuple(name for name, each in FORMATS.items() if each.write is not None)


def format_of(source: Source) -> str | None:
    """The name of a file's format; None for what is none of them. UserError where JSON is damaged."""
    for name, each in FORMATS.items():
        if each.recognises is not None and each.recognises(source):
            return name
    return None


def read(source: Source) -> Found:
    """What a file of any of the formats holds. Raises UserError for what is not understood."""
    name = format_of(source)
    if name is None:
        raise UserError(f"{source.path} holds no outlines that can be read: {_why(source)}")
    return FORMATS[name].read(source)


def _why(source: Source) -> str:
    known = ", ".join(each.title for each in FORMATS.values())
    if (
        isinstance(source.json, list)
        and source.json
        and isinstance(source.json[0], dict)
        and "image_id" in source.json[0]
    ):
        return "it is a list of COCO results, which do not know their images; give a COCO dataset"
    if source.json is not None:
        return f"it is JSON of an unknown kind; known are {known}"
    return f"it is none of {known}"


def write(name: str, found: Sequence[Annotated], path: Path) -> list[str]:
    """Writes ``found`` to one file; sentences on what was lost. Raises UserError for an unknown format."""
    chosen = FORMATS.get(name)
    if chosen is None or chosen.write is None:
        raise UserError(f"no format {name!r} to write: there are {', '.join(WRITABLE)}")
    for one in found:
        refuse_huge(path, one.size)
    return chosen.write(found, path)
