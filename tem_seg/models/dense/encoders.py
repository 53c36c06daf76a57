"""U-Nets on any encoder of segmentation-models-pytorch (the extra ``models``)."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec

from torch import nn

from tem_seg.core.errors import UserError
from tem_seg.models.backbones import built_elsewhere
from tem_seg.models.dense.base import Trunk

PACKAGE, INSTALL = "segmentation_models_pytorch", "pip install 'tem_seg[models]'"
DEPTH = 5
"""Halvings: the coarsest map has stride 32."""


def refuse(backbone: str, weights: str, decoder_channels: Sequence[int]) -> None:
    """Raises UserError, before any work, for what cannot be built."""
    if len(decoder_channels) != DEPTH or min(decoder_channels) < 1:
        raise UserError(f"model.decoder_channels needs {DEPTH} positive numbers, got {list(decoder_channels)}")
    if find_spec(PACKAGE) is None:
        raise UserError(
            f"model=unet needs segmentation-models-pytorch, which is not installed: {INSTALL}; or use "
            "model=multires_unet, which needs nothing more"
        )
    from segmentation_models_pytorch.encoders import encoders

    if backbone.startswith("tu-"):  # any of timm's, which knows by itself what it has
        return
    if backbone not in encoders:
        near = get_close_matches(backbone, encoders, n=3) or sorted(encoders)[:5]
        raise UserError(f"model.backbone={backbone} is no encoder of segmentation-models-pytorch: {', '.join(near)}, …")
    if weights == "imagenet" and weights not in encoders[backbone]["pretrained_settings"]:
        raise UserError(f"there are no ImageNet weights for {backbone}: set model.weights=none or another backbone")


def build(backbone: str, decoder_channels: Sequence[int], *, imagenet: bool) -> Trunk:
    """The trunk, with random weights or with ImageNet's in its encoder (downloaded once; UserError where they cannot).

    One grey channel goes in: weights of the three colours are added up.
    """
    from segmentation_models_pytorch import Unet

    with built_elsewhere(backbone, imagenet=imagenet):
        network = Unet(
            backbone, encoder_depth=DEPTH, encoder_weights="imagenet" if imagenet else None,
            decoder_channels=tuple(decoder_channels), in_channels=1,
        )  # fmt: skip
    network.segmentation_head = nn.Identity()  # ours says more than one thing
    return Trunk(network, (decoder_channels[-1],), stride=2**DEPTH)
