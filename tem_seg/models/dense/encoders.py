"""U-Nets on any encoder of segmentation-models-pytorch (the extra ``models``), read at the end or at every level."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from tem_seg.core.errors import UserError
from tem_seg.models.backbones import built_elsewhere
from tem_seg.models.dense.base import Trunk

PACKAGE, INSTALL = "segmentation_models_pytorch", "pip install 'tem_seg[models]'"
DEPTH = 5
"""Halvings: the coarsest map has stride 32."""


def refuse(backbone: str, weights: str, decoder_channels: Sequence[int], *, else_one: str = "") -> None:
    """Raises UserError, before any work, for what cannot be built. else_one: the model's backbone beside encoders."""
    if len(decoder_channels) != DEPTH or min(decoder_channels) < 1:
        raise UserError(f"model.decoder_channels needs {DEPTH} positive numbers, got {list(decoder_channels)}")
    if find_spec(PACKAGE) is None:
        raise UserError(
            f"model.backbone={backbone} needs segmentation-models-pytorch, which is not installed: {INSTALL}; "
            "model=multires_unet, and model=stardist with backbone=plain, need nothing more"
        )
    from segmentation_models_pytorch.encoders import encoders

    if backbone.startswith("tu-"):  # any of timm's, which knows by itself what it has
        return
    if backbone not in encoders:
        near = get_close_matches(backbone, encoders, n=3) or sorted(encoders)[:5]
        own = f"neither {else_one} nor an" if else_one else "no"
        raise UserError(
            f"model.backbone={backbone} is {own} encoder of segmentation-models-pytorch: {', '.join(near)}, …"
        )
    if weights == "imagenet" and weights not in encoders[backbone]["pretrained_settings"]:
        raise UserError(f"there are no ImageNet weights for {backbone}: set model.weights=none or another backbone")


def build(backbone: str, decoder_channels: Sequence[int], *, imagenet: bool) -> Trunk:
    """The trunk, with random weights or with ImageNet's in its encoder (downloaded once; UserError where they cannot).

    One grey channel goes in: weights of the three colours are added up.
    """
    network = _network(backbone, decoder_channels, imagenet=imagenet)
    network.segmentation_head = nn.Identity()  # ours says more than one thing
    return Trunk(network, (decoder_channels[-1],), stride=2**DEPTH)


def build_levels(backbone: str, decoder_channels: Sequence[int], *, imagenet: bool, grid: int) -> Trunk:
    """As :func:`build`, but all levels of the decoder, up to that of the grid (1, 2 or 4): see :class:`EveryLevel`."""
    network = EveryLevel(_network(backbone, decoder_channels, imagenet=imagenet, interpolation="bilinear"), grid)
    return Trunk(network, network.channels, stride=2**DEPTH, grid=grid)


class EveryLevel(nn.Module):
    """(B, 1, H, W) → the encoder's last map and what each block of the decoder makes of it, each twice as fine as the
    one before, up to sides of H / grid; H and W are multiples of 2 ** DEPTH. ``channels``: of each."""

    def __init__(self, network: Any, grid: int) -> None:
        super().__init__()
        self.encoder = network.encoder
        self.blocks = network.decoder.blocks[: DEPTH - grid.bit_length() + 1]
        decoded = [block.conv2[0].out_channels for block in self.blocks]
        self.channels: tuple[int, ...] = (self.encoder.out_channels[-1], *decoded)

    def forward(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        *finer, last = self.encoder(image)
        levels = [last]
        for block, beside in zip(self.blocks, reversed(finer), strict=False):
            height, width = beside.shape[-2:]
            levels.append(block(levels[-1], height, width, None if beside is finer[0] else beside))
        return levels


def _network(backbone: str, decoder_channels: Sequence[int], *, imagenet: bool, interpolation: str = "nearest") -> Any:
    from segmentation_models_pytorch import Unet

    with built_elsewhere(backbone, imagenet=imagenet):
        return Unet(
            backbone, encoder_depth=DEPTH, encoder_weights="imagenet" if imagenet else None,
            decoder_channels=tuple(decoder_channels), decoder_interpolation=interpolation, in_channels=1,
        )  # fmt: skip
