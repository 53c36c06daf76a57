"""QuPath's GeoJSON, a file a micrograph: polygons and multipolygons with holes, in px of the full image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tem_seg.core.types import Rle
from tem_seg.data import polygons
from tem_seg.data.atomic import write_json
from tem_seg.data.formats.canvas import Canvas, Part, flattened
from tem_seg.data.formats.model import Annotated, Found, Source
from tem_seg.data.formats.names import base_name

OURS = "tem_seg"
"""A member of the file that GeoJSON allows and QuPath ignores: name, size and pixel size of the micrograph."""


def recognises(source: Source) -> bool:
    """Whether a file is GeoJSON: a collection, a feature, or a list of features."""
    content = source.json
    first = content[0] if isinstance(content, list) and content else content
    return isinstance(first, dict) and first.get("type") in ("FeatureCollection", "Feature")


def read(source: Source) -> Found:
    """One micrograph; each feature is a particle."""
    content = source.json
    features = content if isinstance(content, list) else content.get("features", [content])
    said = content.get(OURS) if isinstance(content, dict) else None
    about: dict[str, Any] = said if isinstance(said, dict) else {}
    name = base_name(about.get("image", "")) or source.path.name
    size = (about.get("height"), about.get("width"))
    canvas = Canvas(source, name, source.needed_size(name) if None in size else size)  # type: ignore[arg-type]
    for number, feature in enumerate(features if isinstance(features, list) else [], start=1):
        _add(canvas, feature, f"feature {number}")
    return Found([canvas.annotated(pixel_size_nm=about.get("pixel_size_nm"))], canvas.notes)


def _add(canvas: Canvas, feature: Any, what: str) -> None:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict):
        return canvas.fault(f"{what} has no geometry")
    kind, found = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon"):
        return canvas.skip(str(kind)[:40])
    parts = [found] if kind == "Polygon" else found
    if not isinstance(parts, list) or not all(isinstance(part, list) for part in parts):
        return canvas.fault(f"{what}: coordinates are no lists of rings")
    said = feature.get("properties")
    properties: dict[str, Any] = said if isinstance(said, dict) else {}
    return canvas.add([[_ring(ring) for ring in part] for part in parts], what, _class(properties), _score(properties))


def _ring(points: Any) -> list[Any]:
    """GeoJSON repeats the first point at the end."""
    closed = isinstance(points, list) and len(points) > 1 and points[0] == points[-1]
    return flattened(points[:-1] if closed else points)


def _class(properties: dict[str, Any]) -> Any:
    found = properties.get("classification")
    return found.get("name") if isinstance(found, dict) else found


def _score(properties: dict[str, Any]) -> Any:
    """Of QuPath's measurements: an object, in older versions a list of {name, value}."""
    found = properties.get("measurements")
    if isinstance(found, list):
        found = {entry.get("name"): entry.get("value") for entry in found if isinstance(entry, dict)}
    return found.get("score") if isinstance(found, dict) else None


# ------------------------------------------------------------------------------------------------------- writing


def write(found: Sequence[Annotated], path: Path) -> list[str]:
    """Writes one micrograph; QuPath opens the file when it is dropped on the image."""
    (one,) = found
    about: dict[str, Any] = {"image": one.name, "height": one.size[0], "width": one.size[1]}
    if one.pixel_size_nm is not None:
        about["pixel_size_nm"] = one.pixel_size_nm
    features = [_feature(*each) for each in zip(one.masks, one.categories, one.scores, strict=True)]
    write_json(path, {"type": "FeatureCollection", "features": features, OURS: about})
    return []


def _feature(mask: Rle, category: str, score: float | None) -> dict[str, Any]:
    parts: list[Part] = [[polygons.flat(ring) for ring in rings] for rings in polygons.trace_parts(mask)]
    rings = [[_closed(ring) for ring in part] for part in parts]
    geometry = {"type": "Polygon", "coordinates": rings[0]} if len(rings) == 1 else {"type": "MultiPolygon",
                                                                                     "coordinates": rings}  # fmt: skip
    properties: dict[str, Any] = {"objectType": "annotation", "classification": {"name": category}}
    if score is not None:
        properties["measurements"] = {"score": score}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _closed(ring: Sequence[float]) -> list[list[float]]:
    points = [[ring[k], ring[k + 1]] for k in range(0, len(ring), 2)]
    return [*points, points[0]]
