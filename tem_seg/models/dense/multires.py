"""MultiResUNet (Ibtehaz and Rahman, Neural Networks 121, 2020; arXiv 1902.04049), filter for filter as published."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tem_seg.models.dense.base import Trunk

ALPHA = 1.67
"""Of a block of U filters in a U-Net this one has ALPHA * U, shared out so that it has about as many parameters."""
SHARES = (0.167, 0.333, 0.5)
"""Of the three convolutions in a row, which see 3 x 3, 5 x 5 and 7 x 7."""
LEVELS = 5


def convolution(inputs: int, outputs: int, size: int, *, active: bool = True) -> nn.Sequential:
    """size x size, batch norm and, if active, ReLU."""
    parts: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs)
    ]  # fmt: skip
    return nn.Sequential(*parts, *([nn.ReLU(inplace=True)] if active else []))


class MultiResBlock(nn.Module):
    """Three 3 x 3 convolutions in a row, all three kept side by side, and a 1 x 1 around them."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        parts = [int(ALPHA * width * share) for share in SHARES]
        self.channels = sum(parts)
        self.around = convolution(inputs, self.channels, 1, active=False)
        ins = [inputs, *parts[:-1]]
        self.row = nn.ModuleList(convolution(one, other, 3) for one, other in zip(ins, parts, strict=True))
        self.inner, self.outer = nn.BatchNorm2d(self.channels), nn.BatchNorm2d(self.channels)

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, channels, H, W)."""
        kept, last = [], image
        for step in self.row:
            last = step(last)
            kept.append(last)
        found: Tensor = self.outer(torch.relu(self.around(image) + self.inner(torch.cat(kept, dim=1))))
        return found


class ResPath(nn.Module):
    """What joins encoder and decoder: ``length`` 3 x 3 convolutions, each with a 1 x 1 around it."""

    def __init__(self, inputs: int, width: int, length: int) -> None:
        super().__init__()
        ins = [inputs, *[width] * (length - 1)]
        self.around = nn.ModuleList(convolution(one, width, 1, active=False) for one in ins)
        self.through = nn.ModuleList(convolution(one, width, 3) for one in ins)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in ins)

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, width, H, W)."""
        for around, through, norm in zip(self.around, self.through, self.norms, strict=True):
            image = norm(torch.relu(around(image) + through(image)))
        return image


class MultiResUnet(nn.Module):
    """(B, 1, H, W) → (B, channels, H, W); sides are multiples of 16."""

    def __init__(self, width: int, inputs: int = 1) -> None:
        super().__init__()
        self.down, self.paths = nn.ModuleList(), nn.ModuleList()
        for level in range(LEVELS):
            block = MultiResBlock(inputs, width * 2**level)
            self.down.append(block)
            inputs = block.channels
            if level < LEVELS - 1:
                self.paths.append(ResPath(inputs, width * 2**level, LEVELS - 1 - level))
        self.lift, self.up = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(LEVELS - 1)):
            wide = width * 2**level
            self.lift.append(nn.ConvTranspose2d(inputs, wide, 2, stride=2))
            block = MultiResBlock(2 * wide, wide)
            self.up.append(block)
            inputs = block.channels
        self.channels = inputs
        self.pool = nn.MaxPool2d(2)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        beside = []
        for block, path in zip(self.down, self.paths, strict=False):
            image = block(image)
            beside.append(path(image))
            image = self.pool(image)
        image = self.down[-1](image)
        for lift, block in zip(self.lift, self.up, strict=True):
            image = block(torch.cat([lift(image), beside.pop()], dim=1))
        return image


def build(width: int) -> Trunk:
    """The trunk, with random weights."""
    network = MultiResUnet(width)
    return Trunk(network, (network.channels,), stride=2 ** (LEVELS - 1))
