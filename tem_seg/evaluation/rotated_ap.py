"""Rotated boxes in COCO's protocol: exact IoU of rectangles, and COCOeval on it."""

from __future__ import annotations

import numpy as np
import shapely
from faster_coco_eval import COCOeval_faster
from numpy.typing import NDArray

from tem_seg.core.geometry import rotated_boxes_corners

FloatArray = NDArray[np.float64]


def rotated_iou(found: FloatArray, wanted: FloatArray, crowd: NDArray[np.bool_] | None = None) -> FloatArray:
    """IoU (D, G) float64 in [0, 1] of rotated boxes (D, 5) and (G, 5) [cx, cy, w, h, angle_deg ccw] px.

    Exact: areas of the polygons' intersection, clipped by GEOS, of pairs whose upright boxes overlap. A box without
    area has IoU 0 with everything. crowd (G,): with these it is the share of the found box inside, as in COCO.
    """
    iou = np.zeros((len(found), len(wanted)))
    if not iou.size:
        return iou
    ours, theirs = shapely.polygons(rotated_boxes_corners(found)), shapely.polygons(rotated_boxes_corners(wanted))
    our_area, their_area = found[:, 2] * found[:, 3], wanted[:, 2] * wanted[:, 3]
    one, other = shapely.STRtree(theirs).query(ours)
    solid = (our_area[one] > 0) & (their_area[other] > 0)
    one, other = one[solid], other[solid]
    shared = shapely.area(shapely.intersection(ours[one], theirs[other]))
    whole = our_area[one] + their_area[other] - shared
    if crowd is not None:
        whole = np.where(crowd[other], our_area[one], whole)
    iou[one, other] = np.clip(shared / whole, 0.0, 1.0)
    return iou


class RotatedCOCOeval(COCOeval_faster):  # type: ignore[misc]
    """COCOeval for entries whose ``bbox`` is upright, of the same sides, and whose ``rotated_box`` counts."""

    def computeIoU(self, imgId: int, catId: int) -> FloatArray | list[float]:  # noqa: N802, N803 (COCO's names)
        """IoU of an image's detections, by descending score (stable) and cut at the cap, and its truths."""
        categories = [catId] if self.params.useCats else self.params.catIds
        entries = (data.get_instances([imgId], categories, bool(self.params.useCats))[0][0]
                   for data in (self.dt_dataset, self.gt_dataset))  # fmt: skip
        found, wanted = entries
        if not found or not wanted:
            return []
        order = np.argsort([-row["score"] for row in found], kind="stable")[: self.params.maxDets[-1]]
        boxes = np.asarray([found[place]["rotated_box"] for place in order], np.float64)
        truths = np.asarray([entry["rotated_box"] for entry in wanted], np.float64)
        return rotated_iou(boxes, truths, np.array([bool(entry["iscrowd"]) for entry in wanted]))
