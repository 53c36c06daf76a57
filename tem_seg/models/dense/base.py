"""What models of every pixel share: images of any size through a network, targets as maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tem_seg.core.errors import UserError
from tem_seg.core.types import Prediction
from tem_seg.data.images import HEADROOM
from tem_seg.models.contract import SegmentationModel, Target

LEAST_SPAN = 0.1
"""Grey values [0, 1] of a constant image, or nearly one, are taken to differ by no less."""
TAIL = 0.01
"""Share of the pixels that are darker than what counts as dark, and brighter than what counts as bright."""
BINS = 4096
"""Of grey values, to find those."""


@dataclass(frozen=True, slots=True)
class Trunk:
    """A network (B, 1, H, W) → maps (B, channels, H / grid, W / grid), for sides that are multiples of ``stride``.

    channels: of the maps; of several where the network returns a list of levels, each twice as fine as the one before,
    of which the last has the grid's size.
    """

    network: nn.Module
    channels: tuple[int, ...]
    stride: int
    grid: int = 1


class DenseModel(SegmentationModel):
    """A trunk and 1 x 1 convolutions on it, which say ``outputs`` things of every pixel of its grid."""

    headroom = HEADROOM

    def __init__(self, trunk: Trunk, outputs: int) -> None:
        super().__init__()
        self.stride, self.grid = trunk.stride, trunk.grid
        self.trunk = trunk.network
        self.predictor = Levels(trunk.channels, outputs)

    @abstractmethod
    def encoder(self) -> Callable[[Target], Target]:
        """See the contract; adds ``maps``, which losses compare with, and drops the masks."""

    @abstractmethod
    def compare(self, said: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """What the network said (B, outputs, h, w) float32 against the targets' maps (B, …, h, w) → named losses."""

    @abstractmethod
    def read(self, said: Tensor, shown: tuple[int, int], frame: tuple[int, int]) -> Prediction:
        """What the network said of one image (outputs, h, w) float32, shown with so many px → what is there, in the
        frame (H, W)."""

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """See the contract."""
        encode = self.encoder()
        said = self.said(images)
        maps = [(target if "maps" in target else encode(target))["maps"] for target in targets]
        together = said.new_zeros(len(maps), *maps[0].shape[:-2], *said.shape[2:])
        for index, each in enumerate(maps):
            together[index, ..., : each.shape[-2], : each.shape[-1]] = each
        return self.compare(said, together)

    @torch.no_grad()
    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        """See the contract."""
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        found = []
        for said, (height, width), frame in zip(self.said(images), sizes, frames or sizes, strict=True):
            own = said[:, : -(-height // self.grid), : -(-width // self.grid)]
            found.append(self.read(own, (height, width), frame))
        return found

    def said(self, images: list[Tensor]) -> Tensor:
        """Images (1, H, W) of any sizes → (B, outputs, h, w) float32, of the smallest batch that holds them all.

        Sides are filled up with each image's mean to multiples of the network's stride.
        """
        height, width = (
            -(-max(image.shape[axis] for image in images) // self.stride) * self.stride for axis in (-2, -1)
        )
        batch = images[0].new_zeros(len(images), 1, height, width)
        for index, image in enumerate(images):
            batch[index, :, : image.shape[-2], : image.shape[-1]] = between_percentiles(image)
        said: Tensor = self.predictor(self.trunk(batch.contiguous(memory_format=torch.channels_last)))
        return said


def twice_as_fine(maps: Tensor) -> Tensor:
    """(B, C, h, w) → (B, C, 2 h, 2 w), bilinear: what grows evenly across a map, as distances do, goes on doing so."""
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)


class Levels(nn.Module):
    """Maps of one or more levels (B, channels, h, w), each twice as fine as the one before → (B, outputs, h, w) of the
    last, float32.

    Each level says all outputs, from a 1 x 1 convolution, and what coarser ones say is interpolated and added: coarse
    ones, which see far, say how far a particle reaches, fine ones what is left. Only the finest starts at random, and
    says of all pixels that they are ground, as most are.
    """

    def __init__(self, channels: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        heads = [nn.Conv2d(each, outputs, 1) for each in channels]
        for weights in [weights for head in heads[:-1] for weights in head.parameters()]:
            nn.init.zeros_(weights)
        self.heads = nn.ModuleList(heads)
        nn.init.constant_(self.bias, -2.0)

    @property
    def bias(self) -> Tensor:
        """Of the finest level (outputs,): what is said before training."""
        return self.heads[-1].bias  # type: ignore[return-value]

    def forward(self, maps: Tensor | list[Tensor]) -> Tensor:
        """See the class. Maps of one level need no list."""
        levels = [maps] if isinstance(maps, Tensor) else maps
        said, *finer = (head(each).float() for head, each in zip(self.heads, levels, strict=True))
        for each in finer:
            said = twice_as_fine(said) + each
        return said  # type: ignore[no-any-return]


def between_percentiles(image: Tensor) -> Tensor:
    """Grey values of one image (1, H, W) → its 1st percentile at -2, its 99th at 2.

    Micrographs differ in contrast and in which side of it particles lie on. A network of every pixel, with batch norm
    over four of them, has to learn that before anything else. Not mean 0 and standard deviation 1: how far a particle
    stands out would depend on how much of the field they cover (docs/results/2026-11-22-dense.md).
    """
    least, most = torch.aminmax(image)
    step = (most - least).clamp(min=1e-6) / (BINS - 1)
    # counts of whole numbers are the same in any order, also on a GPU
    counts = torch.bincount(((image - least) / step).long().flatten(), minlength=BINS).cumsum(0)
    places = torch.searchsorted(counts, counts.new_tensor([TAIL, 1 - TAIL], dtype=torch.float64) * image.numel())
    low, high = least + places.to(image) * step
    shown: Tensor = (image - (low + high) / 2) * (4 / (high - low).clamp(min=LEAST_SPAN))
    return shown


def masks_of(target: Target) -> NDArray[np.uint8]:
    """The target's masks (N, H, W) uint8; UserError where only boxes are known."""
    if "masks" not in target:
        raise UserError("this model needs masks to train on, but these annotations are boxes alone")
    masks: NDArray[np.uint8] = target["masks"].cpu().numpy()
    return masks
