"""The U-Net of the ``stardist`` package (csbdeep's ``unet_block``), layer for layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tem_seg.models.dense.base import Trunk

GROUPS = 8
"""Of group norm."""


def convolution(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    """3 x 3, norm (none, bn or gn), ReLU."""
    parts: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=norm == "none")]
    if norm != "none":
        parts.append(nn.BatchNorm2d(outputs) if norm == "bn" else nn.GroupNorm(GROUPS, outputs))
    return nn.Sequential(*parts, nn.ReLU(inplace=True))


class PlainUnet(nn.Module):
    """(B, 1, H, W) → (B, features, H / grid, W / grid); sides are multiples of grid * 2 ** depth.

    ``depth`` times two convolutions and a maximum pooling, of ``width`` channels and twice as many at each; back up by
    repetition of pixels, beside what came down; last a convolution of ``features`` channels. A grid of 2 or 4 halves
    the image before all that.
    """

    def __init__(self, *, depth: int, width: int, features: int, grid: int, norm: str) -> None:
        super().__init__()
        channels = 1
        self.before = nn.ModuleList()
        while 2 ** len(self.before) < grid:
            self.before.append(nn.Sequential(convolution(channels, width, norm), convolution(width, width, norm)))
            channels = width
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level in range(depth):
            wide = width * 2**level
            self.down.append(nn.Sequential(convolution(channels, wide, norm), convolution(wide, wide, norm)))
            channels = wide
        back = width * 2 ** (depth - 1)
        self.middle = nn.Sequential(convolution(channels, 2 * channels, norm), convolution(2 * channels, back, norm))
        for level in reversed(range(depth)):
            wide, narrow = width * 2**level, width * 2 ** max(0, level - 1)
            self.up.append(nn.Sequential(convolution(2 * wide, wide, norm), convolution(wide, narrow, norm)))
        self.features = convolution(width, features, norm)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        for block in self.before:
            image = F.max_pool2d(block(image), 2)
        beside = []
        for block in self.down:
            image = block(image)
            beside.append(image)
            image = F.max_pool2d(image, 2)
        image = self.middle(image)
        for block in self.up:
            image = block(torch.cat([F.interpolate(image, scale_factor=2.0, mode="nearest"), beside.pop()], dim=1))
        found: Tensor = self.features(image)
        return found


def build(*, depth: int, width: int, features: int, grid: int, norm: str) -> Trunk:
    """The trunk, with random weights."""
    network = PlainUnet(depth=depth, width=width, features=features, grid=grid, norm=norm)
    return Trunk(network, features, stride=grid * 2**depth, grid=grid)
