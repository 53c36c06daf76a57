"""DOTA's label files (Xia et al. 2018, https://captain-whu.github.io/DOTA): quadrilaterals in px.

    imagesource:GoogleEarth
    gsd:0.15
    x1 y1 x2 y2 x3 y3 x4 y4 category difficult

Corners in px, in order around the object; both headers and difficult may be missing. gsd is the size of a pixel in
metres. The box is the minimum-area rectangle of the corners. difficult objects (1) are particles as others are; their
annotation keeps ``difficult``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.geometry import rotated_box_of_points
from tem_seg.data.readers.box_files import CLASSES, Box, BoxFiles, Faults, Labels, numbered, numbers
from tem_seg.data.validation import crosses_itself

HEADERS = ("imagesource:", "gsd:")
NM_IN_A_METRE = 1e9


class Dota(BoxFiles):
    """Reader of these files (see the module). Class names: categories, classes.txt beside the labels, else all that
    occur in the label files, sorted.
    """

    name = "dota"

    def known_categories(self) -> tuple[str, ...]:
        """As the class says. UserError where there is none."""
        if any((folder / CLASSES).is_file() for folder in self._folders("labels").values()):
            return super().known_categories()
        files = (label for pairs in self._pairs.values() for _, label in pairs if label is not None)
        lines = (fields for path in files for _, fields in numbered(path.read_text(encoding="utf-8-sig")))
        return tuple(sorted({fields[8] for fields in lines if len(fields) >= 9})) or super().known_categories()

    def parse(self, text: str, size: tuple[int, int]) -> Labels:
        """See the module."""
        boxes: list[Box] = []
        faults: list[str] = []
        metres: float | None = None
        for number, fields in numbered(text):
            try:
                if fields[0].lower().startswith(HEADERS):
                    metres = _gsd(" ".join(fields)) or metres
                else:
                    boxes.append(_box(number, fields))
            except ValueError as error:
                faults.append(f"line {number}: {error}")
        if faults:
            raise Faults(faults)
        return Labels(boxes, None if metres is None else metres * NM_IN_A_METRE)


def _gsd(line: str) -> float | None:
    """Metres a pixel of a header line; None where it says none (``gsd:None``, ``gsd:null``, imagesource)."""
    key, _, value = line.partition(":")
    if key.lower() != "gsd" or value.strip().lower() in ("", "none", "null", "nan"):
        return None
    metres = numbers([value.strip()])
    if metres is None or metres[0] <= 0:
        raise ValueError(f"gsd must be the metres of a pixel, or None, got {value.strip()!r}")
    return metres[0]


def _box(line: int, fields: list[str]) -> Box:
    if len(fields) not in (9, 10):
        raise ValueError(f"{len(fields)} fields: expected 'x1 y1 x2 y2 x3 y3 x4 y4 category difficult'")
    difficult = numbers(fields[9:])
    if difficult is None or any(value not in (0, 1, 2) for value in difficult):
        raise ValueError(f"difficult must be 0, 1 or 2, got {fields[9]!r}")
    extra: dict[str, Any] = {"difficult": int(difficult[0])} if difficult and difficult[0] else {}
    return Box(line, fields[8], box_of_corners(fields[:8], (1, 1)), extra)


def box_of_corners(fields: list[str], size: tuple[float, float]) -> tuple[float, ...]:
    """Texts of x1 y1 … x4 y4, times size (H, W) → (cx, cy, w, h, angle_deg ccw), the minimum-area rectangle.

    ValueError where they are no numbers, fewer than three different points, or cross over.
    """
    values = numbers(fields)
    if values is None:
        raise ValueError(f"the corners must be finite numbers, got {' '.join(fields)}")
    points: NDArray[np.float64] = np.reshape(values, (4, 2)) * [size[1], size[0]]
    if len(np.unique(points, axis=0)) < 3:
        raise ValueError("the polygon has fewer than three different corners")
    if crosses_itself(points):
        raise ValueError("the polygon crosses itself: its corners are in no order around the object")
    # float32 in OpenCV: about the first corner, so that no digit is lost far from the origin
    cx, cy, w, h, angle_deg = rotated_box_of_points(points - points[0])
    return (cx + float(points[0, 0]), cy + float(points[0, 1]), w, h, angle_deg)
