"""The types that flow between rooms. Conventions (axes, angles, boxes, units): docs/conventions.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray


class Rle(TypedDict):
    """COCO run-length encoding: ``size`` is [H, W], ``counts`` the compressed string."""

    size: list[int]
    counts: str


class Modality(StrEnum):
    """How the contrast of a micrograph arises."""

    BRIGHT_FIELD = "bright_field"
    HAADF = "haadf"
    SEM = "sem"
    TSEM = "tsem"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Particle:
    """One particle before imaging.

    outline_nm (K, 2) float64: x, y in nm from the field's top-left corner, K >= 3, not closed.
    height_nm: thickness along the beam at its thickest point. shape: name of the drawing rule ("rod").
    category: name of the class in the dataset. contrast: what the recipe's renderer needs beyond the outline.
    notes: further keys of its annotation, JSON-able (``track_id``).
    """

    outline_nm: NDArray[np.float64]
    height_nm: float
    shape: str
    category: str
    contrast: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.outline_nm.ndim != 2 or self.outline_nm.shape[1] != 2 or len(self.outline_nm) < 3:
            raise ValueError(f"outline_nm must be (K >= 3, 2), got {self.outline_nm.shape}")
        if not np.isfinite(self.outline_nm).all():
            raise ValueError("outline_nm holds NaN or infinity")
        if not self.height_nm > 0:
            raise ValueError(f"height_nm must be positive, got {self.height_nm}")


@dataclass(frozen=True, slots=True)
class Scene:
    """What lies under the beam: particles (later ones on top) in a field of view (height, width) in nm.

    notes: further keys of its image's entry in a dataset, JSON-able (``time_s``).
    """

    particles: tuple[Particle, ...]
    field_of_view_nm: tuple[float, float]
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (len(self.field_of_view_nm) == 2 and min(self.field_of_view_nm) > 0):
            raise ValueError(
                f"field_of_view_nm must be two positive lengths (height, width), got {self.field_of_view_nm}"
            )


@dataclass(frozen=True, slots=True)
class Micrograph:
    """pixels (H, W) float32, any finite range; pixel_size_nm None where no calibration is known."""

    pixels: NDArray[np.float32]
    pixel_size_nm: float | None = None
    pixel_size_source: str | None = None
    modality: Modality = Modality.UNKNOWN
    group_id: str | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or 0 in self.pixels.shape:
            raise ValueError(f"pixels must be (H, W) with at least one pixel, got shape {self.pixels.shape}")
        if self.pixels.dtype != np.float32:
            raise ValueError(f"pixels must be float32, got {self.pixels.dtype}")
        if self.pixel_size_nm is not None and not (np.isfinite(self.pixel_size_nm) and self.pixel_size_nm > 0):
            raise ValueError(f"pixel_size_nm must be positive and finite, got {self.pixel_size_nm}")


@dataclass(frozen=True, slots=True)
class Instances:
    """Particles of one micrograph: RLEs, never a dense (N, H, W) stack; overlaps keep their own masks.

    size: (H, W) px. labels (N,) int64 in 0..C-1. segmentations: N visible outlines.
    full_segmentations: N outlines with the hidden part, or empty where unknown.
    truths: N dicts of extra annotation keys (true sizes in nm, ...), or empty.
    Where only boxes were drawn segmentations is empty, and boxes (N, 4) float64 xyxy px, or rotated_boxes (N, 5)
    float64 [cx, cy, w, h, angle_deg], or both are given.
    """

    size: tuple[int, int]
    labels: NDArray[np.int64]
    segmentations: list[Rle]
    full_segmentations: list[Rle] = field(default_factory=list)
    truths: list[dict[str, Any]] = field(default_factory=list)
    boxes: NDArray[np.float64] | None = None
    rotated_boxes: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        count = len(self.labels) if self.has_boxes_only else len(self.segmentations)
        if self.labels.shape != (count,):
            raise ValueError(f"labels must be ({count},) for {count} segmentations, got {self.labels.shape}")
        if self.has_boxes_only and self.segmentations:
            raise ValueError(f"{len(self.segmentations)} segmentations beside boxes: boxes are made from masks")
        for name, width in (("boxes", 4), ("rotated_boxes", 5)):
            found = getattr(self, name)
            if found is not None and found.shape != (count, width):
                raise ValueError(f"{name} must be ({count}, {width}) for {count} labels, got {found.shape}")
        for name, extra in (("full_segmentations", self.full_segmentations), ("truths", self.truths)):
            if len(extra) not in (0, count):
                raise ValueError(f"{name} must be empty or hold {count} entries, got {len(extra)}")
        for index, rle in enumerate([*self.segmentations, *self.full_segmentations]):
            if tuple(rle["size"]) != tuple(self.size):
                raise ValueError(f"mask {index} has size {rle['size']}, the micrograph {list(self.size)}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def has_boxes_only(self) -> bool:
        """Nothing is known of the outlines."""
        return self.boxes is not None or self.rotated_boxes is not None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model found in one micrograph, in that micrograph's frame; N = 0 is legal.

    boxes (N, 4) float32 xyxy px. labels (N,) int64 in 0..C-1. scores (N,) float32 in [0, 1], descending.
    masks: N RLEs, or None for a model without masks. rotated_boxes (N, 5) float32 [cx, cy, w, h, angle_deg], or None.
    contours: N outlines (K, 2) float32 x, y px between pixels, not closed, K = 0 where a mask is empty; or None.
    edge_sd_px (N,) float32: how far the outline may lie from the true edge, standard deviation, NaN where unknown; or
    None. agreement (N,) float32 in (0, 1]: share of the looks (mirrored, turned), or of an ensemble's members, that see
    the particle; None for one look of one model. agreement_iou (N,) float32 in [0, 1]: of an ensemble, the mean IoU
    between those members, NaN where it is one alone; else None. capped: the model returned as many as it may
    (max_instances), so some may be missing.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    masks: list[Rle] | None = None
    rotated_boxes: NDArray[np.float32] | None = None
    contours: list[NDArray[np.float32]] | None = None
    edge_sd_px: NDArray[np.float32] | None = None
    agreement: NDArray[np.float32] | None = None
    agreement_iou: NDArray[np.float32] | None = None
    capped: bool = False

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.labels.shape != (count,):
            raise ValueError(f"{count} scores, but boxes {self.boxes.shape} and labels {self.labels.shape}")
        if self.masks is not None and len(self.masks) != count:
            raise ValueError(f"{count} scores, but {len(self.masks)} masks")
        if self.rotated_boxes is not None and self.rotated_boxes.shape != (count, 5):
            raise ValueError(f"{count} scores, but rotated_boxes {self.rotated_boxes.shape}")
        if self.contours is not None and len(self.contours) != count:
            raise ValueError(f"{count} scores, but {len(self.contours)} contours")
        for name in ("edge_sd_px", "agreement", "agreement_iou"):
            values = getattr(self, name)
            if values is not None and values.shape != (count,):
                raise ValueError(f"{count} scores, but {name} {values.shape}")

    def __len__(self) -> int:
        return len(self.scores)
