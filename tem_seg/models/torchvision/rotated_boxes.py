"""Rotated boxes as tensors: [cx, cy, w, h, angle_deg], the angle counter-clockwise as displayed (docs/conventions.md).

A box is the same box with its angle half a turn further, and with its sides exchanged a quarter turn further. All that
compares boxes here knows it: encoding, loss, canonical form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_PX = 1e9
"""Beyond it areas and their sums are no longer finite in float32."""
LOG_LIMIT = math.log(1000.0 / 16)
"""Sides grow by this factor at most in one step, as in torchvision and Detectron2."""


def check_boxes(boxes: Tensor, name: str = "boxes") -> Tensor:
    """(N, 5) of any real dtype → the same as float32 or float64. Raises ValueError that names the first unusable box.

    A side of zero is legal (such a box overlaps nothing); negative sides, NaN and beyond 1e9 px are not.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ValueError(f"{name} must be (N, 5) [cx, cy, w, h, angle_deg], got {list(boxes.shape)}")
    exact = boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()
    with torch.no_grad():
        usable = (exact.abs() <= LARGEST_PX).all(dim=1) & (exact[:, 2:4] >= 0).all(dim=1)  # NaN compares as false
        if not bool(usable.all()):
            index = int(torch.nonzero(~usable)[0])
            shown = ", ".join(f"{value:.6g}" for value in exact[index].tolist())
            raise ValueError(f"{name}[{index}] = [{shown}] is no box: needs finite numbers and sides >= 0")
    return exact


def wrap_deg(angle: Tensor) -> Tensor:
    """Angles of axes, which have no head, in degrees: into [-90, 90)."""
    turned = torch.remainder(angle + 90.0, 180.0) - 90.0
    return torch.where(turned >= 90.0, turned - 180.0, turned)  # -1e-9 % 180 is 180 in floating point


def canonical(boxes: Tensor) -> Tensor:
    """(N, 5) → the same boxes with w <= h and angle in [-90, 90)."""
    cx, cy, w, h, angle = boxes.unbind(-1)
    wide = w > h
    turned = torch.where(wide, angle + 90.0, angle)
    return torch.stack([cx, cy, torch.minimum(w, h), torch.maximum(w, h), wrap_deg(turned)], dim=-1)


def axes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine (N,) of the angles: the side w points along (cos, -sin), the side h along (sin, cos); y down."""
    radians = torch.deg2rad(boxes[..., 4])
    return radians.cos(), radians.sin()


def half_extents(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Half width and half height (N,) px of the upright box that encloses each."""
    cosine, sine = (value.abs() for value in axes(boxes))
    w, h = boxes[..., 2], boxes[..., 3]
    return (w * cosine + h * sine) / 2, (w * sine + h * cosine) / 2


def enclosing(boxes: Tensor) -> Tensor:
    """(N, 5) → upright boxes (N, 4) xyxy px that enclose them."""
    x, y = half_extents(boxes)
    return torch.stack([boxes[:, 0] - x, boxes[:, 1] - y, boxes[:, 0] + x, boxes[:, 1] + y], dim=1)


def rescaled(boxes: Tensor, scale_x: float, scale_y: float) -> Tensor:
    """Canonical boxes (N, 5) after an image is resized; exact for equal scales, else as Detectron2's scale.

    A rotated rectangle becomes a parallelogram under unequal scales; both sides keep their directions' lengths.
    """
    cosine, sine = axes(boxes)
    w = boxes[:, 2] * torch.hypot(scale_x * cosine, scale_y * sine)
    h = boxes[:, 3] * torch.hypot(scale_x * sine, scale_y * cosine)
    angle = torch.rad2deg(torch.atan2(scale_x * sine, scale_y * cosine))
    return canonical(torch.stack([boxes[:, 0] * scale_x, boxes[:, 1] * scale_y, w, h, angle], dim=1))


@dataclass(frozen=True, slots=True)
class RotatedCoder:
    """Boxes as differences from source boxes (anchors, proposals), and the loss of predicted differences.

    The shift counts in the source's own frame, over its sides: across a rod a pixel is much, along it little. weights:
    factors of (shift, shift, log side, log side, angle in radians).
    """

    weights: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)

    def encode(self, boxes: Tensor, sources: Tensor) -> Tensor:
        """boxes and sources (N, 5) → differences (N, 5); the angle's is within a quarter turn."""
        cosine, sine = axes(sources)
        shift = boxes[:, :2] - sources[:, :2]
        sides = sources[:, 2:4].clamp(min=1e-3)
        across = (shift[:, 0] * cosine - shift[:, 1] * sine) / sides[:, 0]
        along = (shift[:, 0] * sine + shift[:, 1] * cosine) / sides[:, 1]
        stretch = torch.log(boxes[:, 2:4].clamp(min=1e-3) / sides)
        turn = torch.deg2rad(wrap_deg(boxes[:, 4] - sources[:, 4]))
        found = torch.stack([across, along, stretch[:, 0], stretch[:, 1], turn], dim=1)
        return found * found.new_tensor(self.weights)

    def decode(self, differences: Tensor, sources: Tensor) -> Tensor:
        """differences (N, ..., 5) from sources (N, 5) → canonical boxes (N, ..., 5)."""
        across, along, log_w, log_h, turn = (differences / differences.new_tensor(self.weights)).unbind(-1)
        cx, cy, w, h, angle = (
            value.reshape(-1, *[1] * (differences.ndim - 2)) for value in sources.to(differences.dtype).unbind(1)
        )
        radians = torch.deg2rad(angle)
        x, y = across * w, along * h
        boxes = torch.stack([
            cx + x * radians.cos() + y * radians.sin(), cy - x * radians.sin() + y * radians.cos(),
            w * log_w.clamp(max=LOG_LIMIT).exp(), h * log_h.clamp(max=LOG_LIMIT).exp(), angle + torch.rad2deg(turn),
        ], dim=-1)  # fmt: skip
        return canonical(boxes)

    def loss(self, predicted: Tensor, sources: Tensor, truths: Tensor, beta: float = 1.0 / 9) -> Tensor:
        """Sum over N of the smooth L1 loss (scalar) of predicted differences (N, 5) against truths (N, 5).

        The smaller of the losses against the two descriptions of a truth, [w, h, angle] and [h, w, angle + 90] (Qian
        et al., "Learning modulated loss for rotated object detection", AAAI 2021), the angle's residual taken modulo
        half a turn. A minimum of continuous functions is continuous: nothing jumps where the angle wraps, nor where a
        near-square truth's longer side becomes the shorter one and its canonical angle flips by 90 degrees.
        """
        exchanged = torch.cat([truths[:, :2], truths[:, [3, 2]], truths[:, 4:] + 90.0], dim=1)
        return torch.minimum(
            self._residual_loss(predicted, self.encode(truths, sources), beta),
            self._residual_loss(predicted, self.encode(exchanged, sources), beta),
        ).sum()

    def _residual_loss(self, predicted: Tensor, wanted: Tensor, beta: float) -> Tensor:
        residual = predicted - wanted
        period = math.pi * self.weights[4]
        turn = torch.remainder(residual[:, 4:] + period / 2, period) - period / 2
        far = torch.cat([residual[:, :4], turn], dim=1).abs()
        return torch.where(far < beta, far.square() / (2 * beta), far - beta / 2).sum(dim=1)
