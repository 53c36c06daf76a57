"""A network that says which class a micrograph, or a particle in it, belongs to. Keeps the contract of every model.

Of a micrograph the class is the one that most of its particles have; as a Prediction it is one box around the whole
frame for each class, whose score is the probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align
from torchvision.transforms import v2

from tem_seg.core.types import Prediction
from tem_seg.models.contract import SegmentationModel, Target
from tem_seg.models.dense.base import masks_of

GREY, SPREAD = 0.45, 0.225
"""Of micrographs in [0, 1]: what the network sees is centred and scaled by them (ImageNet's, of one channel)."""
AT_ONCE = 256
"""Particles of a micrograph that are looked at together."""
UNKNOWN = -1
"""The label of a crop without particles, from which nothing is learnt."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the network is shown.

    particles: each particle, else the whole micrograph. shown_px: of a micrograph, its shorter side at each look, px;
    probabilities of the looks are averaged. particle_px: side of the square around a particle, px as shown; context:
    that side over the longer side of its box. outlines: a particle's mask is shown beside its grey values.
    """

    particles: bool
    shown_px: tuple[int, ...]
    particle_px: int
    context: float
    outlines: bool = False

    def squares(self, images: Tensor, owner: Tensor, boxes: Tensor) -> Tensor:
        """images (B, 1, H, W), 0 beyond their edges; owner (N,) of boxes (N, 4) xyxy px → (N, 1, s, s) around them."""
        middle, side = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True)
        reach = side * (self.context / 2)
        around = torch.cat([owner[:, None].to(boxes), middle - reach, middle + reach], dim=1).to(images.dtype)
        found: Tensor = roi_align(images, around, (self.particle_px, self.particle_px), aligned=True)
        return found

    def masks(self, masks: Tensor, boxes: Tensor) -> Tensor:
        """masks (N, H, W) in {0, 1} of particles in boxes (N, 4) xyxy px → (N, 1, s, s) float32 in [0, 1]."""
        return self.squares(masks[:, None].float(), torch.arange(len(boxes), device=boxes.device), boxes)


@dataclass(frozen=True, slots=True)
class Training:
    """How training samples are changed, and how sure the network is to become.

    mixup: alpha of Zhang et al. 2018 (arXiv 1710.09412), 0 for none. randaugment_ops, randaugment_magnitude: N and M
    of Cubuk et al. 2020 (arXiv 1909.13719), 0 operations for none. smoothing: of labels. particles_per_crop: at most
    so many particles of a crop are shown, drawn anew each time.
    """

    mixup: float
    randaugment_ops: int
    randaugment_magnitude: int
    smoothing: float
    particles_per_crop: int


class ShapeClassifier(SegmentationModel):
    """features: a network (B, 1, H, W) → (B, width), of any size; (B, 2, H, W) where outlines are shown too."""

    def __init__(self, features: nn.Module, width: int, *, num_classes: int, look: Look, training: Training) -> None:
        super().__init__()
        self.num_classes, self.look, self._training = num_classes, look, training
        self.features = features
        self.predictor = nn.Linear(width, num_classes)
        self._mixup = v2.MixUp(alpha=training.mixup, num_classes=num_classes) if training.mixup else None
        self._augment = v2.RandAugment(
            training.randaugment_ops, training.randaugment_magnitude, fill=GREY,
            interpolation=v2.InterpolationMode.BILINEAR,
        )  # fmt: skip

    def encoder(self) -> Callable[[Target], Target]:
        """Boxes and labels are all that is needed, and with outlines the particles' squares of masks."""
        return partial(with_outlines, look=self.look) if self.look.outlines else without_masks

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Cross-entropy of the crops, or of the particles in them. See the contract."""
        shown, labels = self._samples(images, targets)
        if self._training.randaugment_ops and len(shown):
            shown = torch.stack([self._augment(one.clamp(0, 1)) for one in shown])
        if len(shown) < 2:  # batch norm knows no spread of one: nothing is learnt from this batch
            return {"loss_class": 0.0 * self.predictor.weight.sum()}
        wanted = F.one_hot(labels, self.num_classes).to(shown.dtype)
        if self._mixup is not None:
            shown, wanted = self._mixup(shown, labels)
        said = self._said(shown)
        return {"loss_class": F.cross_entropy(said, wanted, label_smoothing=self._training.smoothing)}

    def _samples(self, images: list[Tensor], targets: list[Target]) -> tuple[Tensor, Tensor]:
        """What the network is shown (B, 1, h, w) in [0, 1], and its labels (B,)."""
        if not self.look.particles:
            classes = torch.stack([class_of(target["labels"]) for target in targets])
            known = classes != UNKNOWN
            return _together(images)[known], classes[known]
        squares, labels = [], []
        for image, target in zip(images, targets, strict=True):
            order = torch.randperm(len(target["labels"]))[: self._training.particles_per_crop].to(image.device)
            outlines = target["maps"][order] if self.look.outlines else None
            squares.append(self._squares(image, target["boxes"][order], outlines))
            labels.append(target["labels"][order])
        return torch.cat(squares), torch.cat(labels)

    def _squares(self, image: Tensor, boxes: Tensor, outlines: Tensor | None) -> Tensor:
        """Squares (N, 1 or 2, s, s) around boxes (N, 4) xyxy px of an image (1, H, W), grey beyond its edge; the second
        channel is the outlines (N, 1, s, s)."""
        grey = GREY + self.look.squares((image - GREY)[None], boxes.new_zeros(len(boxes)), boxes)
        return grey if outlines is None else torch.cat([grey, outlines.to(grey)], dim=1)

    def _said(self, shown: Tensor) -> Tensor:
        """Logits (B, C) float32 of what is shown (B, 1 or 2, h, w) in [0, 1]."""
        batch = ((shown - GREY) / SPREAD).contiguous(memory_format=torch.channels_last)
        return self.predictor(self.features(batch)).float()  # type: ignore[no-any-return]

    @torch.no_grad()
    def of_image(self, image: Tensor) -> Tensor:
        """Probabilities (C,) of a micrograph (1, H, W) in [0, 1], averaged over the looks."""
        looks = [self._said(_shown(image, side)).softmax(dim=1)[0] for side in self.look.shown_px]
        return torch.stack(looks).mean(dim=0)

    @torch.no_grad()
    def of_particles(self, image: Tensor, boxes: Tensor, outlines: Tensor | None = None) -> Tensor:
        """Probabilities (N, C) of the particles in boxes (N, 4) xyxy px of a micrograph (1, H, W) in [0, 1].

        outlines (N, 1, s, s): the squares of their masks (:meth:`Look.masks`), where the network is shown them.
        """
        parts = []
        for start in range(0, len(boxes), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            squares = self._squares(image, boxes[some], None if outlines is None else outlines[some])
            parts.append(self._said(squares).softmax(dim=1))
        return torch.cat(parts) if parts else image.new_zeros(0, self.num_classes)

    @torch.no_grad()
    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        """One box a class around the whole frame. See the contract."""
        sizes = frames or [(image.shape[-2], image.shape[-1]) for image in images]
        return [_as_prediction(self.of_image(image), size) for image, size in zip(images, sizes, strict=True)]


def class_of(labels: Tensor) -> Tensor:
    """Labels of particles (N,) int64 → the one that most have, the first of equals; UNKNOWN without particles.

    >>> class_of(torch.tensor([2, 1, 2])), class_of(torch.tensor([], dtype=torch.int64))
    (tensor(2), tensor(-1))
    """
    return labels.bincount().argmax() if len(labels) else labels.new_tensor(UNKNOWN)


def without_masks(target: Target) -> Target:
    """Boxes and labels alone: masks need not travel from the loader processes."""
    return {"boxes": target["boxes"], "labels": target["labels"]}


def with_outlines(target: Target, look: Look) -> Target:
    """Boxes, labels, and as maps (N, 1, s, s) the squares of masks. UserError where only boxes are known."""
    masks = torch.from_numpy(masks_of(target))
    return without_masks(target) | {"maps": look.masks(masks, target["boxes"])}  # type: ignore[return-value]


def _together(images: list[Tensor]) -> Tensor:
    """Images (1, H, W) of any sizes → (B, 1, h, w), filled up with grey."""
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    return torch.stack(
        [F.pad(one, (0, width - one.shape[-1], 0, height - one.shape[-2]), value=GREY) for one in images]
    )


def _shown(image: Tensor, side_px: int) -> Tensor:
    """A micrograph (1, H, W), its shorter side made ``side_px`` → (1, 1, h, w)."""
    scale = side_px / min(image.shape[-2:])
    size = [max(side_px, round(length * scale)) for length in image.shape[-2:]]
    return F.interpolate(image[None], size=size, mode="bilinear", antialias=True, align_corners=False)


def _as_prediction(probabilities: Tensor, frame: tuple[int, int]) -> Prediction:
    scores = probabilities.cpu().numpy().astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    boxes = np.tile(np.array([0, 0, frame[1], frame[0]], np.float32), (len(scores), 1))
    return Prediction(boxes, order.astype(np.int64), scores[order])
