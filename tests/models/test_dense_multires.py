"""MultiResUNet: as many parameters as published, and sizes that fit."""

from __future__ import annotations

import torch
from torch import nn

from tem_seg.models.dense.multires import MultiResBlock, MultiResUnet, build

PUBLISHED = 7_262_750
"""Ibtehaz and Rahman 2020, Table 3, of 3 colours in and one map out; as Keras counts, statistics of norms too."""


def keras_count(network: MultiResUnet) -> int:
    """Theirs has no scale in the norm behind a convolution, but counts means and variances."""
    count = 0
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            count += sum(parameter.numel() for parameter in module.parameters())
        if isinstance(module, nn.BatchNorm2d):
            of_its_own = any(part in name for part in ("inner", "outer", "norms"))
            count += module.num_features * (4 if of_its_own else 3)
    return count


def test_it_has_as_many_parameters_as_published() -> None:
    network = MultiResUnet(32, inputs=3)
    last = network.channels + 3  # a 1 x 1 convolution to one map, and its norm
    assert keras_count(network) + last == PUBLISHED


def test_filters_of_a_block_are_shared_out_as_published() -> None:
    block = MultiResBlock(3, 32)  # alpha U = 53.44: a sixth, a third, a half
    assert [step[0].out_channels for step in block.row] == [8, 17, 26] and block.channels == 51  # type: ignore[index]


def test_what_comes_out_has_the_size_of_what_goes_in() -> None:
    trunk = build(4)
    with torch.no_grad():
        found = trunk.network.eval()(torch.zeros(2, 1, 48, 32))
    assert found.shape == (2, *trunk.channels, 48, 32) and trunk.stride == 16 and trunk.grid == 1
