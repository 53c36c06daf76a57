"""R-CNNs on one feature map of stride 16: C4 and DC5, as Detectron2's model zoo has them.

C4 (Ren et al. 2015; He et al. 2017, fig. 4 left): the map is that of ResNet's third stage, and the fourth is the body
of the heads, run on every region. DC5 (Dai et al., R-FCN, 2016): the fourth stage is dilated instead of strided.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter

from tem_seg.models.contract import RcnnSpec
from tem_seg.models.torchvision.backbones import Parts, build_body, plain_heads

STRIDE = 16


class OneMap(nn.Module):
    """A ResNet up to one of its stages: images (B, 3, H, W) → {"0": (B, C, H / 16, W / 16)}."""

    def __init__(self, resnet: nn.Module, last: str) -> None:
        super().__init__()
        self.body = IntermediateLayerGetter(resnet, {last: "0"})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """See the class."""
        found: dict[str, Tensor] = self.body(images)
        return found


class StageHead(nn.Module):
    """ResNet's fourth stage on pooled regions (K, C, 14, 14) → (K, 2 C), averaged over the region."""

    def __init__(self, layer4: nn.Module) -> None:
        super().__init__()
        self.layer4 = layer4

    def forward(self, pooled: Tensor) -> Tensor:
        """See the class."""
        features: Tensor = self.layer4(pooled)
        return features.mean(dim=(2, 3))


class SharedStage(nn.Module):
    """The same stage, with the same weights, for masks: (K, C, 14, 14) → (K, 2 C, 7, 7).

    Its weights belong to the box head: here they are no parameters a second time. Batch norm takes the running
    statistics, which are those of all regions: masks see the few with particles, or none.
    """

    def __init__(self, owner: StageHead) -> None:
        super().__init__()
        self._owner = (owner,)  # in a tuple, so that it is not registered; deepcopy keeps them together

    def forward(self, pooled: Tensor) -> Tensor:
        """See the class."""
        layer4 = self._owner[0].layer4
        updating = [m for m in layer4.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
        for norm in updating:
            norm.eval()
        try:
            features: Tensor = layer4(pooled)
        finally:
            for norm in updating:
                norm.train()
        return features


class Doubled(nn.Module):
    """Mask logits (K, C, 14, 14) → (K, C, 28, 28), bilinear: the grid that a refinement starts from."""

    def __init__(self, predictor: nn.Module) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return F.interpolate(self.predictor(features), scale_factor=2.0, mode="bilinear", align_corners=False)


def build_c4(spec: RcnnSpec) -> Parts:
    """Stages 1 to 3 as the backbone, stage 4 as the body of both heads."""
    resnet = build_body(spec)
    width = resnet.inplanes
    box_head = StageHead(resnet.layer4)
    return Parts(
        OneMap(resnet, "layer3"), ("0",), (STRIDE,), width // 2, box_head=box_head, box_width=width, box_bins=14,
        mask_head=SharedStage(box_head) if spec.masks else None, mask_width=width,
    )  # fmt: skip


def build_dc5(spec: RcnnSpec) -> Parts:
    """Stages 1 to 4 as the backbone, the last one dilated; heads as on a pyramid."""
    resnet = build_body(spec)
    dilate(resnet.layer4)
    width = resnet.inplanes
    return Parts(OneMap(resnet, "layer4"), ("0",), (STRIDE,), width, **plain_heads(spec, width))


def dilate(stage: nn.Module) -> None:
    """Takes the stride out of a ResNet stage and dilates what follows (à trous): every second output is the old one."""
    for conv in (module for module in stage.modules() if isinstance(module, nn.Conv2d)):
        if conv.stride == (2, 2):
            conv.stride = (1, 1)
        elif conv.kernel_size == (3, 3):
            conv.dilation, conv.padding = (2, 2), (2, 2)
