"""Rotated boxes of labelImg-kitti, with which the nanorods of paper 001 were annotated, and KITTI's own object lines.

labelImg-kitti (https://github.com/zexihan/labelImg-kitti, README and libs/kitti_io.py) writes ``classes.txt`` and, for
a.png, a.txt of lines

    class x y w h rotation [note]

class: number from 0, the line of classes.txt; x, y: centre, w, h: sides, px; rotation: radians in [0, 2π), clockwise as
displayed, of the box with w along x. Trap: the tool works w and h out of the upright box around the rotated one, whose
corners it has rounded to whole px; near 45° that has no solution, and nonsense or negative sides are in the file. What
cannot be is refused here with its line; look at boxes near 45°.

KITTI (https://www.cvlibs.net/datasets/kitti/eval_object.php) has 15 fields, or 16 with a score:

    type truncated occluded alpha x1 y1 x2 y2 height width length X Y Z rotation_y

of which type (a name), the unrotated box x1 … y2 and rotation_y (radians, clockwise) are used: the same box turned
about its centre.
"""

from __future__ import annotations

import math

from tem_seg.data.readers.box_files import Box, BoxFiles, Faults, Labels, numbered, numbers

TOOL_FIELDS, KITTI_FIELDS = (6, 7), (15, 16)


class LabelImgKitti(BoxFiles):
    """Reader of these files (see the module). Class names: ``classes.txt`` beside the labels, or categories."""

    name = "labelimg_kitti"

    def parse(self, text: str, size: tuple[int, int]) -> Labels:
        """See the module. A mixture of both kinds of lines is taken."""
        boxes: list[Box] = []
        faults: list[str] = []
        for number, fields in numbered(text):
            try:
                boxes.append(self._kitti(number, fields) if len(fields) in KITTI_FIELDS else self._tool(number, fields))
            except ValueError as error:
                faults.append(f"line {number}: {error}")
        if faults:
            raise Faults(faults)
        return Labels(boxes)

    def _tool(self, line: int, fields: list[str]) -> Box:
        if len(fields) not in TOOL_FIELDS:
            raise ValueError(
                f"{len(fields)} fields: expected 'class x y w h rotation' (labelImg-kitti) or the 15 of KITTI"
            )
        values = numbers(fields[1:6])
        if values is None:
            raise ValueError(f"x y w h rotation must be finite numbers, got {' '.join(fields[1:6])}")
        x, y, w, h, clockwise = values
        return Box(line, self.class_of(fields[0]), (x, y, w, h, -math.degrees(clockwise)))

    def _kitti(self, line: int, fields: list[str]) -> Box:
        values = numbers([*fields[4:8], fields[14]])
        if values is None:
            raise ValueError(f"box and rotation must be finite numbers, got {' '.join(fields[4:8])} and {fields[14]}")
        x1, y1, x2, y2, clockwise = values
        return Box(line, fields[0], ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, -math.degrees(clockwise)))
