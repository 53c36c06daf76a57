"""LabelMe's JSON, a file a micrograph: polygons, rectangles, circles, masks; shapes of one group are one particle."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tem_seg.core.types import Rle
from tem_seg.data import polygons, rle
from tem_seg.data.atomic import write_json
from tem_seg.data.formats.canvas import Canvas, Part, ellipse, flattened, numbers, rectangle
from tem_seg.data.formats.model import Annotated, Found, Size, Source
from tem_seg.data.formats.names import base_name

WITHOUT_AREA = ("point", "points", "line", "linestrip")


def recognises(source: Source) -> bool:
    """Whether a file is LabelMe's."""
    content = source.json
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def read(source: Source) -> Found:
    """One micrograph."""
    content = source.json
    name = base_name(content["imagePath"]) or source.path.name
    size = (content.get("imageHeight"), content.get("imageWidth"))
    canvas = Canvas(source, name, source.needed_size(name) if None in size else size)  # type: ignore[arg-type]
    groups: dict[Any, list[tuple[str, dict[str, Any]]]] = {}
    for number, shape in enumerate(content["shapes"], start=1):
        what = f"shape {number}"
        if not isinstance(shape, dict):
            canvas.fault(f"{what} is not a JSON object")
        elif shape.get("shape_type", "polygon") in WITHOUT_AREA:
            canvas.skip(str(shape["shape_type"]))
        else:
            group = shape.get("group_id")
            key = what if group is None else f"{shape.get('label')} in group {group}"
            groups.setdefault(key, []).append((what, shape))
    for shapes in groups.values():
        _add(canvas, shapes)
    return Found([canvas.annotated(pixel_size_nm=content.get("pixel_size_nm"))], canvas.notes)


def _add(canvas: Canvas, shapes: list[tuple[str, dict[str, Any]]]) -> None:
    """The shapes of one particle."""
    what, first = shapes[0]
    masks = [shape for _, shape in shapes if shape.get("shape_type") == "mask"]
    if masks:
        if len(shapes) > 1:
            return canvas.fault(f"{what}: a mask in a group of several shapes: draw the particle in one shape")
        mask = _mask(first, canvas.size)
        if mask is None:
            return canvas.fault(f"{what}: its mask is damaged, or lies outside the micrograph")
        return canvas.put(mask, what, first.get("label"), first.get("score"))
    return canvas.add([_part(shape) for _, shape in shapes], what, first.get("label"), first.get("score"))


def _part(shape: dict[str, Any]) -> Part:
    kind, points = shape.get("shape_type", "polygon"), flattened(shape.get("points"))
    if kind not in ("rectangle", "circle") or len(points) != 4:  # a turned rectangle has its four corners
        return [points]
    found = numbers(*points)
    if found is None:
        return [points]
    x, y, right, low = found
    if kind == "rectangle":
        return [rectangle(min(x, right), min(y, low), abs(right - x), abs(low - y))]
    radius = float(np.hypot(right - x, low - y))  # the second point lies on the circle
    return [ellipse(x, y, radius, radius)]


def _mask(shape: dict[str, Any], size: Size) -> Rle | None:
    """A PNG of the shape's box in base64; points are the box's first and last pixel."""
    found = numbers(*flattened(shape.get("points")))
    if found is None or len(found) != 4 or not isinstance(shape.get("mask"), str):
        return None
    try:
        encoded = np.frombuffer(base64.b64decode(shape["mask"], validate=True), np.uint8)
        crop = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE) if encoded.size else None
    except (binascii.Error, ValueError, cv2.error):
        return None
    x, y = round(found[0]), round(found[1])
    inside = crop is not None and 0 <= x <= size[1] - crop.shape[1] and 0 <= y <= size[0] - crop.shape[0]
    return rle.encode_crop(np.asarray(crop, bool), x, y, size) if inside else None


# ------------------------------------------------------------------------------------------------------- writing


def content_of(
    image: str, size: Size, masks: Sequence[Rle], labels: Sequence[str], scores: Sequence[float | None] = (),
    pixel_size_nm: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The JSON of one micrograph. Parts of one particle share a group_id; LabelMe keeps keys that it does not know."""
    known = scores or [None] * len(masks)
    shapes = [shape for number, (mask, label, score) in enumerate(zip(masks, labels, known, strict=True), start=1)
              for shape in _shapes(mask, label, number, score)]  # fmt: skip
    content: dict[str, Any] = {
        "version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None,
        "imageHeight": size[0], "imageWidth": size[1],
    }  # fmt: skip
    return content | ({} if pixel_size_nm is None else {"pixel_size_nm": pixel_size_nm})


def _shapes(mask: Rle, label: str, number: int, score: float | None) -> list[dict[str, Any]]:
    parts = polygons.trace(mask)
    extra = {} if score is None else {"score": score}
    return [
        {"label": label, "points": [[round(float(x), 2), round(float(y), 2)] for x, y in part],
         "group_id": number if len(parts) > 1 else None, "description": "", "shape_type": "polygon", "flags": {}}
        | extra
        for part in parts
    ]  # fmt: skip


def write(found: Sequence[Annotated], path: Path) -> list[str]:
    """Writes one micrograph."""
    (one,) = found
    content = content_of(one.name, one.size, one.masks, one.categories, one.scores, one.pixel_size_nm)
    write_json(path, content, indent=1)
    return []
