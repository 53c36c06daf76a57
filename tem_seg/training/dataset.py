"""Training samples. Sample k depends on (seed, k) alone: not on workers, order, or what was resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.data.annotations import has_masks
from tem_seg.data.coco import CocoDataset
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.models.contract import Target
from tem_seg.training.augment import Tone, boxes_of_masks, change_tone, crop_image, crop_masks, draw_window
from tem_seg.training.turning import corners_of, crop_boxes, rotated_boxes_of_masks
from tem_seg.training.window import Window

Pixels = NDArray[np.float16]
PADDING = 0.45
"""Grey beyond the micrograph's edge: what the models' mean makes zero."""


@dataclass(frozen=True, slots=True)
class CropPolicy:
    """How training crops are cut. crop_px: side. scale_range: magnification of the micrograph, log-uniform.

    particle_px_range: the median particle's size (square root of area) is kept within it in the crop.
    stretch: the sides' magnifications differ by up to this share. rotate_deg: turned by up to this angle either way,
    beside quarter turns; what would come from beyond the micrograph is grey.
    """

    crop_px: int = 320
    scale_range: tuple[float, float] = (0.35, 1.6)
    particle_px_range: tuple[float, float] = (8.0, 160.0)
    stretch: float = 0.0
    rotate_deg: float = 0.0

    def __post_init__(self) -> None:
        for name in ("scale_range", "particle_px_range"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"train.crop.{name} must be 0 < min <= max, got [{low}, {high}]")
        if not 0 <= self.rotate_deg <= 180:
            raise ValueError(f"train.crop.rotate_deg must be between 0 and 180, got {self.rotate_deg}")
        if self.crop_px < 32:
            raise ValueError(f"train.crop.crop_px must be at least 32, got {self.crop_px}")


@dataclass
class PixelCache:
    """Normalised micrographs in memory, up to a budget; what does not fit is read again each time."""

    budget_bytes: int
    read: Callable[[Path], Pixels]
    _held: dict[Path, Pixels] = field(default_factory=dict)
    _bytes: int = 0

    def __call__(self, path: Path) -> Pixels:
        if path in self._held:
            return self._held[path]
        pixels = self.read(path)
        if self._bytes + pixels.nbytes <= self.budget_bytes:
            self._held[path] = pixels
            self._bytes += pixels.nbytes
        return pixels


def read_normalised(path: Path, headroom: float = 0.0) -> Pixels:
    """The micrograph as float16 (H, W), normalised: 11 bits of precision at half the memory of float32."""
    return normalise(read_micrograph(path).pixels, headroom).astype(np.float16)


class Source(Protocol):
    """Where annotated micrographs come from. Values only, so that loader processes can be handed one."""

    def __call__(self, k: int) -> tuple[Pixels | NDArray[np.float32], list[dict[str, Any]]]:
        """Sample k's micrograph: pixels (H, W) as the model sees them, and annotations as CocoDataset has them.

        Depends on k alone.
        """
        ...


@dataclass(frozen=True)
class Files:
    """The micrographs of a dataset, each once in a round, in an order drawn for that round."""

    dataset: CocoDataset
    seed: int
    cache: PixelCache

    def image_index(self, k: int) -> int:
        """Which image of the dataset sample k shows."""
        count = len(self.dataset.images)
        order = child_rng(self.seed, "order", k // count).permutation(count)
        return int(order[k % count])

    def __call__(self, k: int) -> tuple[Pixels, list[dict[str, Any]]]:
        """As Source."""
        image = self.dataset.images[self.image_index(k)]
        return self.cache(image.path), self.dataset.annotations[image.id]


class TrainingSet(Dataset[tuple[Tensor, Target]]):
    """Crops of a source's micrographs: item k → (image (1, h, w) float32 in [-headroom, 1 + headroom], Target).

    source: a dataset, whose files are read and kept in memory up to cache_bytes, or what makes micrographs. Where it
    knows boxes alone, targets have no masks. rotated: targets have rotated boxes, which the annotations must allow
    (else UserError). encode: what the model makes of each target (SegmentationModel.encoder). headroom: the model's;
    of a source that makes micrographs, what it makes them with.
    """

    def __init__(
        self,
        source: CocoDataset | Source,
        *,
        samples: int,
        seed: int,
        crop: CropPolicy,
        tone: Tone,
        cache_bytes: int = 4 * 10**9,
        rotated: bool = False,
        encode: Callable[[Target], Target] | None = None,
        headroom: float = 0.0,
    ) -> None:
        self.encode, self.headroom = encode, headroom
        self.samples, self.seed, self.crop, self.tone, self.rotated = samples, seed, crop, tone, rotated
        self.source: Source
        if isinstance(source, CocoDataset):
            if rotated and not source.has_rotated_boxes:
                raise UserError(
                    f"a rotated model needs masks or rotated boxes to train on, but the annotations of {source.path} "
                    "are upright boxes alone: use model=faster_rcnn, or annotate with rotated boxes"
                )
            self.source = Files(source, seed, PixelCache(cache_bytes, partial(read_normalised, headroom=headroom)))
        else:
            self.source = source

    def __len__(self) -> int:
        return self.samples

    @cached_property
    def _pipeline(self) -> Any:  # built in the worker that uses it
        return self.tone.build(self.headroom)

    def __getitem__(self, k: int) -> tuple[Tensor, Target]:
        micrograph, annotations = self.source(k)
        rng = child_rng(self.seed, "sample", k)
        window = draw_window(
            (micrograph.shape[0], micrograph.shape[1]), _median_size_px(annotations), self.crop.crop_px,
            self.crop.scale_range, self.crop.particle_px_range, rng, self.crop.stretch,
            self.crop.rotate_deg,
        )  # fmt: skip
        # as precise as the cache of files: the same sample from either source
        crop = crop_image(micrograph.astype(np.float16, copy=False), window)
        unknown = np.isnan(crop) if window.turn_deg else None
        if unknown is not None:
            crop[unknown] = PADDING
        pixels = change_tone(self._pipeline, crop, rng, self.headroom)
        if unknown is not None:
            pixels[unknown] = PADDING
        # a crowd region is no particle: nothing is learned from it
        near = [a for a in annotations if not a.get("iscrowd") and _touches(a["bbox"], *window.reach())]
        target = self._target(near, window)
        image = torch.from_numpy(self._squared(pixels[None], PADDING))
        return image, target if self.encode is None else self.encode(target)

    def _target(self, near: list[dict[str, Any]], window: Window) -> Target:
        if has_masks(near):
            masks, chosen = crop_masks((a["segmentation"] for a in near), window)
            upright = boxes_of_masks(masks)
            rotated = rotated_boxes_of_masks(masks, upright) if self.rotated else None
        else:
            masks = None
            upright, rotated, chosen = crop_boxes(corners_of(near), window)
        target: Target = {
            "boxes": torch.from_numpy(upright),
            "labels": torch.tensor([near[i]["label"] for i in chosen], dtype=torch.int64),
        }
        if masks is not None:
            target["masks"] = torch.from_numpy(self._squared(masks, 0))
        if self.rotated and rotated is not None:
            target["rotated_boxes"] = torch.from_numpy(rotated)
        return target

    def _squared(self, stack: NDArray[Any], value: float) -> NDArray[Any]:
        """(N, h, w) filled up to (N, crop_px, crop_px): one shape for every batch, since kernels are made per shape."""
        height, width = (self.crop.crop_px - side for side in stack.shape[1:])
        if not height and not width:
            return stack
        return np.pad(stack, ((0, 0), (0, height), (0, width)), constant_values=value)


def _median_size_px(annotations: list[dict[str, Any]]) -> float:
    """Square root of the median area; NaN without particles."""
    areas = [entry["area"] for entry in annotations]
    return float(np.sqrt(np.median(areas))) if areas else float("nan")


def _touches(box_xywh: list[float], x0: int, y0: int, width: int, height: int) -> bool:
    x, y, w, h = box_xywh
    return x < x0 + width and x + w > x0 and y < y0 + height and y + h > y0


def collate(samples: list[tuple[Tensor, Target]]) -> tuple[list[Tensor], list[Target]]:
    """Samples → (images, targets), as models take them."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)
