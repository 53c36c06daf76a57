"""What conf/model/classifier.yaml builds: any network of timm as a classifier of shapes (paper 003's Fig. 6)."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, ClassVar

from torch import nn

from tem_seg.core.errors import UserError
from tem_seg.data.results import CLASSIFICATION
from tem_seg.models.backbones import built_elsewhere
from tem_seg.models.classify.network import Look, ShapeClassifier, Training
from tem_seg.models.dense.factory import Dense

LEVELS = ("image", "particle")
INSTALL = "pip install 'tem_seg[models]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier(Dense):
    """A spec, and the model made of it. Lengths are px as shown."""

    FAMILY: ClassVar[str] = "classifier"
    PUBLISHED: ClassVar[tuple[str, ...]] = ("none", "imagenet")
    GREY_LEVELS: ClassVar[str | None] = None
    num_classes: int = 3
    backbone: str = "legacy_xception"
    level: str = "image"
    shown_px: tuple[int, ...] = (299,)
    particle_px: int = 96
    context: float = 1.5
    outlines: bool = False
    dropout: float = 0.0
    mixup: float = 0.2
    randaugment_ops: int = 2
    randaugment_magnitude: int = 9
    smoothing: float = 0.0
    particles_per_crop: int = 8

    def about(self) -> dict[str, Any]:
        """As in the base, and what it is for."""
        return Dense.about(self) | {"masks": False, "task": CLASSIFICATION}

    def refuse(self) -> None:
        """As in the base."""
        Dense.refuse(self)
        if self.level not in LEVELS:
            raise UserError(f"model.level must be image or particle, got {self.level!r}")
        if not self.shown_px or min(*self.shown_px, self.particle_px) < 32:
            sides = f"{list(self.shown_px)}, {self.particle_px}"
            raise UserError(f"model.shown_px and model.particle_px must be at least 32, got {sides}")
        if not self.context >= 1:
            raise UserError(f"model.context must be at least 1 (the particle's box), got {self.context}")
        if self.outlines and (self.level != "particle" or self.randaugment_ops):
            raise UserError(
                "model.outlines shows the masks of particles beside their grey values: set model.level=particle and "
                "model.randaugment_ops=0 (RandAugment knows images alone; train.crop turns, mirrors and rescales both)"
            )
        for name in ("dropout", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"model.{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.mixup < 0 or self.randaugment_ops < 0 or not 0 <= self.randaugment_magnitude <= 30:
            raise UserError("model.mixup and model.randaugment_ops must not be negative, randaugment_magnitude 0 to 30")
        if self.particles_per_crop < 1:
            raise UserError(f"model.particles_per_crop must be at least 1, got {self.particles_per_crop}")
        self._refuse_backbone()

    def _refuse_backbone(self) -> None:
        if find_spec("timm") is None:
            raise UserError(f"model=classifier needs timm, which is not installed: {INSTALL}")
        import timm

        if not timm.is_model(self.backbone):
            near = get_close_matches(self.backbone, timm.list_models(), n=3) or ["legacy_xception", "convnext_base"]
            raise UserError(f"model.backbone={self.backbone} is no model of timm: {', '.join(near)}, …")
        if self.weights == "imagenet" and not timm.is_model_pretrained(self.backbone):
            raise UserError(
                f"there are no ImageNet weights for {self.backbone}: set model.weights=none or another backbone"
            )

    def model(self) -> ShapeClassifier:  # type: ignore[override]
        """With random weights, or ImageNet's (of three colours, fitted to grey values and outlines)."""
        if self.num_classes < 2:
            raise UserError(
                "a classifier needs at least two classes to tell apart, but this dataset has one: of EMPS set "
                "dataset.reader.by_shape=true, of others see that their categories are what is to be told apart"
            )
        features, width = self._features()
        look = Look(self.level == "particle", self.shown_px, self.particle_px, self.context, self.outlines)
        training = Training(
            self.mixup, self.randaugment_ops, self.randaugment_magnitude, self.smoothing, self.particles_per_crop
        )
        return ShapeClassifier(features, width, num_classes=self.num_classes, look=look, training=training)

    def _features(self) -> tuple[nn.Module, int]:
        import timm

        imagenet = self.weights == "imagenet"
        with built_elsewhere(self.backbone, imagenet=imagenet):
            network = timm.create_model(
                self.backbone, pretrained=imagenet, in_chans=1 + self.outlines, num_classes=0, drop_rate=self.dropout
            )
        width: int = getattr(network, "head_hidden_size", None) or network.num_features  # type: ignore[assignment]
        return network, width
