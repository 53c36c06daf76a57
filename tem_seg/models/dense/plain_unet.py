"""The U-Net of the ``stardist`` package (csbdeep's ``unet_block``), but interpolated on its way up, all levels seen."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tem_seg.models.dense.base import Trunk, twice_as_fine

GROUPS = 8
"""Of group norm."""


def convolution(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    """3 x 3, norm (none, bn or gn), ReLU."""
    parts: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=norm == "none")]
    if norm != "none":
        parts.append(nn.BatchNorm2d(outputs) if norm == "bn" else nn.GroupNorm(GROUPS, outputs))
    return nn.Sequential(*parts, nn.ReLU(inplace=True))


class PlainUnet(nn.Module):
    """(B, 1, H, W) → maps (B, channels, h, w) of depth + 1 levels, each twice as fine as the one before, the last of
    ``features`` channels with h = H / grid, w = W / grid; sides are multiples of grid * 2 ** depth.

    ``depth`` times two convolutions and a maximum pooling, of ``width`` channels and twice as many at each; back up,
    interpolated, beside what came down; last a convolution of ``features`` channels. A grid of 2 or 4 halves
    the image before all that. ``channels``: of each level.
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
        self.channels = (back, *[width * 2 ** max(0, level - 1) for level in reversed(range(1, depth))], features)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        for block in self.before:
            image = F.max_pool2d(block(image), 2)
        beside = []
        for block in self.down:
            image = block(image)
            beside.append(image)
            image = F.max_pool2d(image, 2)
        levels = [self.middle(image)]
        for block in self.up:
            levels.append(block(torch.cat([twice_as_fine(levels[-1]), beside.pop()], dim=1)))
        return [*levels[:-1], self.features(levels[-1])]


def build(*, depth: int, width: int, features: int, grid: int, norm: str) -> Trunk:
    """The trunk, with random weights."""
    network = PlainUnet(depth=depth, width=width, features=features, grid=grid, norm=norm)
    return Trunk(network, network.channels, stride=grid * 2**depth, grid=grid)
