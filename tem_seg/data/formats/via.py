"""VGG Image Annotator 1 and 2: a JSON project, its annotations alone, or CSV; all micrographs in one file.

VIA knows neither holes nor parts: a hole is tied to its outline, and regions of one ``particle`` number are one.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tem_seg.core.errors import UserError
from tem_seg.data import polygons
from tem_seg.data.atomic import write_json, write_text
from tem_seg.data.formats.canvas import Canvas, ellipse, numbers, rectangle, zipped
from tem_seg.data.formats.model import Annotated, Found, Source
from tem_seg.data.formats.names import base_name

CLASS_KEYS = ("class", "label", "category", "type", "name")
COLUMNS = ("filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
           "region_attributes")  # fmt: skip
Entry = dict[str, Any]


def recognises(source: Source) -> bool:
    """Whether a file is a project, or annotations, of VIA 1 or 2."""
    content = source.json
    if not isinstance(content, dict):
        return False
    return "_via_img_metadata" in content or (
        bool(content) and all(isinstance(entry, dict) and {"filename", "regions"} <= entry.keys()
                              for entry in content.values()))  # fmt: skip


def recognises_csv(source: Source) -> bool:
    """Whether a file is VIA 2's CSV."""
    return b"region_shape_attributes" in source.head.split(b"\n", 1)[0]


def read(source: Source) -> Found:
    """All micrographs of a JSON file."""
    content = source.json.get("_via_img_metadata", source.json)
    return together([_read_entry(source, entry) for entry in (content.values() if isinstance(content, dict) else [])])


def read_csv(source: Source) -> Found:
    """All micrographs of a CSV file."""
    by_name: dict[str, Entry] = {}
    for row in rows_of(source, source.text.splitlines(keepends=True)):
        name, attributes = row.get("filename") or "", json_of(source, row.get("file_attributes"))
        entry = by_name.setdefault(name, {"filename": name, "regions": [], "file_attributes": attributes})
        shape = json_of(source, row.get("region_shape_attributes"))
        if shape:  # micrographs without a region have a row with an empty one
            about = json_of(source, row.get("region_attributes"))
            entry["regions"].append({"shape_attributes": shape, "region_attributes": about})
    return together([_read_entry(source, entry) for entry in by_name.values()])


def rows_of(source: Source, lines: Sequence[str], columns: Sequence[str] | None = None) -> Iterator[dict[str, str]]:
    """Rows of a CSV file whose fields may be as long as the file."""
    before = csv.field_size_limit(max(len(source.text), 131072))
    try:
        yield from csv.DictReader(lines, fieldnames=columns, restkey="", restval="")
    except csv.Error as error:
        raise UserError(f"{source.path} is damaged CSV ({error}): export it again") from error
    finally:
        csv.field_size_limit(before)


def json_of(source: Source, text: Any) -> Any:
    """JSON in a field of a CSV file; {} for an empty one."""
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source.path}: {str(text)[:60]!r} is not valid JSON ({error}): export it again") from error


def together(found: Sequence[tuple[Annotated, list[str]]]) -> Found:
    """Micrographs with their notes as one file's content."""
    return Found([one for one, _ in found], [note for _, notes in found for note in notes])


def _read_entry(source: Source, entry: Any) -> tuple[Annotated, list[str]]:
    if not isinstance(entry, dict):
        raise UserError(f"{source.path}: an entry is not a JSON object: it is damaged, export it again")
    name = base_name(entry.get("filename", "")) or "unnamed"
    said = entry.get("file_attributes")
    about: dict[str, Any] = said if isinstance(said, dict) else {}
    canvas = Canvas(source, name, size_of(source, name, about))
    regions = entry.get("regions") or []
    listed = list(regions.values()) if isinstance(regions, dict) else regions  # VIA 1 numbers them
    add_regions(canvas, [_region(region) for region in listed])
    return canvas.annotated(pixel_size_nm=about.get("pixel_size_nm")), canvas.notes


def size_of(source: Source, name: str, about: dict[str, Any]) -> tuple[int, int]:
    """Of our attributes of a file, else of the micrograph."""
    sides = [str(about.get(key, "")) for key in ("height", "width")]
    return (
        (int(sides[0]), int(sides[1])) if all(s.isdecimal() and len(s) < 9 for s in sides) else source.needed_size(name)
    )


def _region(region: Any) -> tuple[str, list[Any] | None, dict[str, Any]]:
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    about = region.get("region_attributes") if isinstance(region, dict) else None
    kind = str(shape.get("name")) if isinstance(shape, dict) else "damaged"
    return kind, _outline(kind, shape) if isinstance(shape, dict) else [], about if isinstance(about, dict) else {}


def _outline(kind: str, shape: dict[str, Any]) -> list[Any] | None:
    """[x, y, …] of a shape, None where it has no area; [] for damaged numbers, which is a fault."""
    keys = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"), "ellipse": ("cx", "cy", "rx", "ry")}
    if kind == "polygon":
        return zipped(shape.get("all_points_x"), shape.get("all_points_y"))
    if kind not in keys:
        return None
    return outline_of(kind, [shape.get(key) for key in keys[kind]], shape.get("theta", 0))


def outline_of(kind: str, values: Sequence[Any], theta: Any = 0) -> list[float]:
    """[x, y, …] of a rect, circle or ellipse given by its numbers; [] for damaged ones."""
    found = numbers(*values, theta)
    if found is None or len(found) != {"rect": 5, "circle": 4, "ellipse": 5}[kind]:
        return []
    if kind == "rect":
        return rectangle(*found[:4])
    return ellipse(found[0], found[1], found[2], found[-2], found[-1])


def add_regions(canvas: Canvas, regions: Sequence[tuple[str, list[Any] | None, dict[str, Any]]]) -> None:
    """Shapes with their attributes; those of one ``particle`` number are parts of one."""
    groups: dict[str, list[tuple[list[Any], dict[str, Any]]]] = {}
    for number, (kind, outline, about) in enumerate(regions, start=1):
        if outline is None:
            canvas.skip(kind[:40])
        else:
            group = about.get("particle")
            key = f"region {number}" if group in (None, "") else f"particle {group}"
            groups.setdefault(key, []).append((outline, about))
    for what, shapes in groups.items():
        about = shapes[0][1]
        category = next((about[key] for key in CLASS_KEYS if isinstance(about.get(key), str) and about[key]), None)
        canvas.add([[outline] for outline, _ in shapes], what, category, about.get("score"))


# ------------------------------------------------------------------------------------------------------- writing


def write(found: Sequence[Annotated], path: Path) -> list[str]:
    """A project that VIA 2 opens."""
    metadata = {f"{one.name}-1" if one.frame is None else f"{one.name}-{one.frame}": _entry(one) for one in found}
    if len(metadata) < len(found):
        raise UserError("two micrographs have the same name, by which VIA knows them: convert them apart")
    text = {key: {"type": "text", "description": "", "default_value": ""} for key in ("class", "particle", "score")}
    numbers_of = dict.fromkeys(("height", "width", "pixel_size_nm"), text["class"])
    write_json(path, {
        "_via_settings": {"core": {"default_filepath": ""}, "project": {"name": path.stem}},
        "_via_img_metadata": metadata, "_via_attributes": {"region": text, "file": numbers_of},
        "_via_data_format_version": "2.0.10", "_via_image_id_list": list(metadata),
    })  # fmt: skip
    return []


def write_csv(found: Sequence[Annotated], path: Path) -> list[str]:
    """Annotations that VIA 2 imports."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    if len({one.name for one in found}) < len(found):
        raise UserError("two micrographs have the same name, by which VIA knows them: convert them apart")
    for one in found:
        entry = _entry(one)
        regions = entry["regions"] or [{"shape_attributes": {}, "region_attributes": {}}]
        for number, region in enumerate(regions):
            texts = [json.dumps(region[key]) for key in ("shape_attributes", "region_attributes")]
            about = json.dumps(entry["file_attributes"])
            writer.writerow([one.name, -1, about, len(entry["regions"]), number, *texts])
    write_text(path, table.getvalue())
    return []


def about_file(one: Annotated) -> dict[str, str]:
    """Attributes of a micrograph; VIA holds text."""
    sides = {"height": str(one.size[0]), "width": str(one.size[1])}
    return sides | ({} if one.pixel_size_nm is None else {"pixel_size_nm": repr(one.pixel_size_nm)})


def regions_of(one: Annotated) -> Iterator[tuple[list[float], dict[str, str]]]:
    """Outline and attributes of each part of each particle."""
    for number, (mask, category, score) in enumerate(zip(one.masks, one.categories, one.scores, strict=True), start=1):
        parts = polygons.trace(mask)
        about = {"class": category} | ({"particle": str(number)} if len(parts) > 1 else {})
        about |= {} if score is None else {"score": repr(score)}
        for part in parts:
            yield polygons.flat(part), about


def _entry(one: Annotated) -> Entry:
    regions = [{"shape_attributes": {"name": "polygon", "all_points_x": ring[::2], "all_points_y": ring[1::2]},
                "region_attributes": about} for ring, about in regions_of(one)]  # fmt: skip
    return {"filename": one.name, "size": -1, "regions": regions, "file_attributes": about_file(one)}
