"""What a report is made of, checked once, and the counts that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.data.annotations import has_masks, has_rotated_boxes, rotated_boxes_of
from tem_seg.data.coco import CocoDataset
from tem_seg.data.rle import area_px

Matches = Mapping[int, Sequence[int]]
"""Which annotation each prediction found: image id → one entry per prediction of that image.

Predictions stand in the order of ``data.results.by_image`` (descending score); an entry is the position of the matched
annotation in ``test.annotations[image_id]``, or -1 for a false positive. Matched greedily in that order at IoU >= 0.5
over all predictions, whatever their score: then it holds at every score threshold.
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, false positives and missed annotations at one score threshold."""

    tp: int
    fp: int
    fn: int

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN) in [0, 1]; NaN where there is nothing to find and nothing was found."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else float("nan")


@dataclass(frozen=True, slots=True)
class Material:
    """Content of a run's files. rows: predictions by image id in descending score; matches: None without annotation."""

    test: CocoDataset
    rows: dict[int, list[dict[str, Any]]]
    matches: Matches | None
    particles: pd.DataFrame
    truth_particles: pd.DataFrame | None
    metrics: dict[str, Any]
    curves: pd.DataFrame
    run: dict[str, Any]
    score: float
    measurement: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score must lie in [0, 1], got {self.score}")
        for image in self.test.images if self.matches is not None else []:
            self._check_matches(image.id)

    def _check_matches(self, image_id: int) -> None:
        assert self.matches is not None
        if image_id not in self.matches:
            raise ValueError(f"matches hold no entry for image {image_id}")
        matched, truths = self.matches[image_id], len(self.test.annotations[image_id])
        if len(matched) != len(self.rows[image_id]):
            raise ValueError(f"image {image_id} has {len(self.rows[image_id])} predictions, but {len(matched)} matches")
        found = [index for index in matched if index != -1]
        if len(set(found)) != len(found) or any(not 0 <= index < truths for index in found):
            raise ValueError(
                f"matches of image {image_id} name an annotation twice, or one that is not among its {truths}"
            )

    def kept(self, image_id: int) -> list[dict[str, Any]]:
        """The image's predictions that reach the score threshold."""
        return [row for row in self.rows[image_id] if row["score"] >= self.score]

    def found(self, image_id: int) -> list[int]:
        """Position of the matched annotation (or -1) of each prediction in :meth:`kept`; all -1 without annotation."""
        count = len(self.kept(image_id))
        return list(self.matches[image_id][:count]) if self.matches is not None else [-1] * count

    def counts(self, image_id: int) -> Counts:
        """TP, FP and FN of one image at the score threshold; crowd regions count as nothing."""
        found = self.found(image_id)
        tp = sum(index >= 0 for index in found)
        truths = sum(not truth.get("iscrowd", 0) for truth in self.test.annotations[image_id])
        return Counts(tp, len(found) - tp, truths - tp)

    def total(self) -> Counts:
        """TP, FP and FN over all images at the score threshold."""
        counts = [self.counts(image.id) for image in self.test.images]
        return Counts(sum(c.tp for c in counts), sum(c.fp for c in counts), sum(c.fn for c in counts))


def choose_images(material: Material, count: int) -> list[tuple[int, str]]:
    """Images to show as (id, why): worst, median and best by F1 at the threshold, then the first ones of the dataset.

    Without annotation, the first ones. Images where F1 is undefined (nothing there, nothing found) are not ranked.
    """
    if count < 0:
        raise ValueError(f"number of overlays must not be negative, got {count}")
    chosen: dict[int, str] = {}
    if material.matches is not None:
        f1 = {image.id: material.counts(image.id).f1 for image in material.test.images}
        ranked = sorted((i for i in f1 if np.isfinite(f1[i])), key=lambda i: f1[i])
        for name, place in (("worst", 0), ("median", len(ranked) // 2), ("best", len(ranked) - 1)):
            if ranked:
                chosen.setdefault(ranked[place], f"{name} F1 of {len(ranked)}")
    for place, image in enumerate(material.test.images, start=1):
        chosen.setdefault(image.id, f"no. {place} of the dataset")
    return list(chosen.items())[:count]


def equivalent_diameter(segmentation: Any, pixel_size_nm: float | None) -> float:
    """Diameter of the circle with the mask's area, in nm, or in px where no calibration is known."""
    return float(2.0 * np.sqrt(area_px(segmentation) / np.pi)) * (pixel_size_nm or 1.0)


def matched_sizes(material: Material, calibrated: bool) -> NDArray[np.float64]:
    """(N, 2) float64: annotated and predicted size (nm; px if not calibrated) of each matched pair.

    The equivalent diameter from mask areas where both have masks, else the long side of their rotated boxes, at the
    score threshold, of micrographs with (or without) a calibration. Particles that reach the border are left out, as is
    all that upright boxes are known of.
    """
    pairs: list[tuple[float, float]] = []
    for image in material.test.images:
        if (image.pixel_size_nm is not None) != calibrated or material.matches is None:
            continue
        for row, index in zip(material.kept(image.id), material.found(image.id), strict=True):
            truth = material.test.annotations[image.id][index] if index >= 0 else {"truncated": True}
            if not truth.get("truncated", False):
                pairs += _sizes(truth, row, image.pixel_size_nm)
    return np.asarray(pairs, np.float64).reshape(-1, 2)


def _sizes(truth: dict[str, Any], row: dict[str, Any], pixel_size_nm: float | None) -> list[tuple[float, float]]:
    """The pair of sizes, or [] where they cannot be compared."""
    both = (truth, row)
    if has_masks(both):
        one, other = (equivalent_diameter(entry["segmentation"], pixel_size_nm) for entry in both)
    elif has_rotated_boxes(both):
        one, other = rotated_boxes_of(both)[:, 3] * (pixel_size_nm or 1.0)
    else:
        return []
    return [(float(one), float(other))]
