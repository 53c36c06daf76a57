"""VGG Image Annotator 3: a JSON project, or CSV; all micrographs in one file. As via.py otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tem_seg.core.errors import UserError
from tem_seg.data.atomic import write_json
from tem_seg.data.formats.canvas import Canvas
from tem_seg.data.formats.model import Annotated, Found, Source
from tem_seg.data.formats.names import base_name
from tem_seg.data.formats.via import (
    about_file,
    add_regions,
    json_of,
    outline_of,
    regions_of,
    rows_of,
    size_of,
    together,
)

RECTANGLE, CIRCLE, ELLIPSE, POLYGON = 2, 3, 4, 7
KINDS = {RECTANGLE: "rect", CIRCLE: "circle", ELLIPSE: "ellipse"}
HEADER = ("metadata_id", "file_list", "flags", "temporal_coordinates", "spatial_coordinates", "metadata")
REGION_ATTRIBUTES = ("class", "particle", "score")
FILE_ATTRIBUTES = ("height", "width", "pixel_size_nm")
Regions = list[tuple[str, list[Any] | None, dict[str, Any]]]


def recognises(source: Source) -> bool:
    """Whether a file is a project of VIA 3."""
    return isinstance(source.json, dict) and {"project", "view", "metadata", "file"} <= source.json.keys()


def recognises_csv(source: Source) -> bool:
    """Whether a file is VIA 3's CSV."""
    return b"CSV_HEADER = metadata_id" in source.head


def read(source: Source) -> Found:
    """All micrographs of a project; each is a view."""
    attributes, files, listed, metadata = (_section(source, key) for key in ("attribute", "file", "view", "metadata"))
    names = {key: str(entry.get("aname")) for key, entry in attributes.items()}
    regions: dict[str, Regions] = {}
    about: dict[str, dict[str, Any]] = {}
    for entry in metadata.values():
        _sort_in(str(entry.get("vid")), entry.get("xy"), _named(entry.get("av"), names), regions, about)
    views = {key: _file_name(view, files) for key, view in listed.items()}
    return together([_annotated(source, name, regions.get(key, []), about.get(key, {})) for key, name in views.items()])


def _section(source: Source, key: str) -> dict[str, dict[str, Any]]:
    found = source.json.get(key)
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise UserError(f"{source.path} is a damaged project of VIA 3 ('{key}'): save it again there")
    return found


def read_csv(source: Source) -> Found:
    """All micrographs of a CSV file that have an annotation: it lists no others."""
    lines = source.text.splitlines(keepends=True)
    said = next((line.partition("=")[2] for line in lines if line.startswith(("# ATTRIBUTE =", "# ATTRIBUTES ="))), "")
    attributes = json_of(source, said.strip())
    names = {str(key): str(entry.get("aname")) for key, entry in attributes.items() if isinstance(entry, dict)}
    regions: dict[str, Regions] = {}
    about: dict[str, dict[str, Any]] = {}
    for row in rows_of(source, [line for line in lines if not line.startswith("#")], HEADER):
        files = json_of(source, row["file_list"])
        name = str(files[0]) if isinstance(files, list) and files else ""
        values = _named(json_of(source, row["metadata"]), names)
        _sort_in(name, json_of(source, row["spatial_coordinates"] or "[]"), values, regions, about)
    return together([_annotated(source, base_name(key), regions.get(key, []), about.get(key, {}))
                     for key in dict.fromkeys([*regions, *about])])  # fmt: skip


def _sort_in(
    key: str, xy: Any, values: dict[str, Any], regions: dict[str, Regions], about: dict[str, dict[str, Any]]
) -> None:
    """An entry with a shape is a region; one without says something of its file."""
    if isinstance(xy, list) and xy:
        regions.setdefault(key, []).append(_region(xy, values))
    else:
        about.setdefault(key, {}).update(values)


def _named(values: Any, names: dict[str, str]) -> dict[str, Any]:
    return {names.get(str(key), str(key)): value for key, value in values.items()} if isinstance(values, dict) else {}


def _file_name(view: dict[str, Any], files: Any) -> str:
    ids = view.get("fid_list")
    entry = files.get(str(ids[0]), {}) if isinstance(ids, list) and ids else {}
    return base_name(entry.get("fname", "")) or "unnamed"


def _region(xy: list[Any], values: dict[str, Any]) -> tuple[str, list[Any] | None, dict[str, Any]]:
    kind = xy[0]
    if kind == POLYGON:
        return "polygon", xy[1:], values
    if kind in KINDS:
        return KINDS[kind], list(outline_of(KINDS[kind], xy[1:])), values
    return f"shape {kind!r}", None, values


def _annotated(source: Source, name: str, regions: Regions, about: dict[str, Any]) -> tuple[Annotated, list[str]]:
    canvas = Canvas(source, name, size_of(source, name, about))
    add_regions(canvas, regions)
    return canvas.annotated(pixel_size_nm=about.get("pixel_size_nm")), canvas.notes


# ------------------------------------------------------------------------------------------------------- writing


def write(found: Sequence[Annotated], path: Path) -> list[str]:
    """A project that VIA 3 opens."""
    anchors = dict.fromkeys(REGION_ATTRIBUTES, "FILE1_Z0_XY1") | dict.fromkeys(FILE_ATTRIBUTES, "FILE1_Z0_XY0")
    plain = {"type": 1, "desc": "", "options": {}, "default_option_id": ""}
    attributes = {str(number): {"aname": name, "anchor_id": anchor, **plain}
                  for number, (name, anchor) in enumerate(anchors.items(), 1)}  # fmt: skip
    ids = {entry["aname"]: key for key, entry in attributes.items()}
    files = {str(k): {"fid": k, "fname": one.name, "type": 2, "loc": 1, "src": ""} for k, one in enumerate(found, 1)}
    metadata: dict[str, Any] = {}
    for k, one in enumerate(found, 1):
        shapes: list[tuple[list[float], dict[str, str]]] = [([], about_file(one))]
        shapes += [([POLYGON, *ring], about) for ring, about in regions_of(one)]
        for xy, about in shapes:
            values = {ids[name]: value for name, value in about.items()}
            metadata[f"{k}_{len(metadata)}"] = {"vid": str(k), "flg": 0, "z": [], "xy": xy, "av": values}
    order = [str(k) for k in range(1, len(found) + 1)]
    project = {"pid": "__VIA_PROJECT_ID__", "rev": "__VIA_PROJECT_REV_ID__", "rev_timestamp": "", "pname": path.stem,
               "creator": "tem_seg", "created": 0, "data_format_version": "3.1.1", "vid_list": order}  # fmt: skip
    views = {key: {"fid_list": [key]} for key in order}
    config = {"file": {"loc_prefix": {str(place): "" for place in range(1, 5)}},
              "ui": {"file_content_align": "center", "file_metadata_editor_visible": True}}  # fmt: skip
    write_json(path, {"project": project, "config": config, "attribute": attributes, "file": files,
                      "metadata": metadata, "view": views})  # fmt: skip
    return []
