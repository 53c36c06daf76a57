"""What conf/model/unet.yaml, multires_unet.yaml and stardist.yaml build."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch

from tem_seg.core.errors import UserError
from tem_seg.models import checkpoint, freezing
from tem_seg.models.dense.base import DenseModel, Trunk
from tem_seg.models.dense.watershed import WatershedModel

BACKEND = "torch"
PLAIN = "plain"
"""The backbone that is no encoder of another package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense(ABC):
    """A spec, and the model made of it."""

    FAMILY: ClassVar[str]
    PUBLISHED: ClassVar[tuple[str, ...]] = ("none",)
    """Values of model.weights that name no file."""
    GREY_LEVELS: ClassVar[str | None] = "1st and 99th percentile, with what lies beyond"
    """What a micrograph's are brought to one scale by, None for none; weights are for what they were trained with."""
    num_classes: int = 1
    weights: str = "none"
    freeze: tuple[str, ...] | None = None
    """Patterns with * over parameter names, whose weights keep their start."""
    max_instances: int = 1000
    min_score: float = 0.05
    backend: str = BACKEND

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, from a YAML
            value = getattr(self, field.name)
            if isinstance(value, Sequence) and not isinstance(value, str):
                object.__setattr__(self, field.name, tuple(value))

    def build(self) -> DenseModel:
        """The model with its starting weights, some frozen. Raises UserError where those cannot be had."""
        model = self.model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        before = freezing.values(model) if self.freeze else {}
        if self.weights not in self.PUBLISHED:
            path = checkpoint.path_of(self.weights)
            self._refuse_other_grey_levels(checkpoint.load(model, path, settings=self.about()), path)
        random = freezing.unchanged(model, before) if self.weights not in self.PUBLISHED else set()
        freezing.freeze(model, self.freeze or (), random=random)
        return model  # type: ignore[no-any-return]

    def _refuse_other_grey_levels(self, known: dict[str, Any], path: Path) -> None:
        if "family" in known and known.get("grey_levels") != self.GREY_LEVELS:
            raise UserError(
                f"{path} was trained on micrographs brought to one scale by their "
                f"{known.get('grey_levels', 'mean and standard deviation')}, as model={self.FAMILY} saw them once; now "
                f"it is by their {self.GREY_LEVELS}: train it anew"
            )

    def about(self) -> dict[str, Any]:
        """Plain values that say what the weights of such a model are. Raises UserError for what cannot be built."""
        self.refuse()
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return plain | {
            "family": self.FAMILY, "backend": BACKEND, "masks": True, "freeze": list(self.freeze or ()),
            "grey_levels": self.GREY_LEVELS,
        }  # fmt: skip

    def refuse(self) -> None:
        """Raises UserError, before any work, for what cannot be built."""
        if self.weights in ("coco", "imagenet", checkpoint.STARTER) and self.weights not in self.PUBLISHED:
            raise UserError(
                f"there are no {self.weights} weights of model={self.FAMILY}: set model.weights to "
                f"{', '.join(self.PUBLISHED)} or <file>"
            )
        if self.backend not in (BACKEND, "auto"):
            raise UserError(f"model={self.FAMILY} is plain torch, not {self.backend}: leave model.backend out")
        if named := [entry for entry in self.freeze or () if "*" not in entry]:
            raise UserError(
                f"model.freeze={named}: the parts of an R-CNN; of model={self.FAMILY} give patterns with * over "
                "parameter names, e.g. ['trunk.*']"
            )
        if self.weights == "none" and self.freeze:
            raise UserError(f"model.freeze={list(self.freeze)} keeps weights as they start, and weights=none is random")

    @abstractmethod
    def model(self) -> DenseModel:
        """With random weights, or published ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watershed(Dense):
    """A spec of a network whose pixels a watershed makes particles of."""

    seed_level: float = 0.5
    """Core (0 at the border, 1 deep inside) from which a particle is told from its neighbour."""
    min_area_px: float = 8.0
    """Smaller regions are dropped, px as shown."""

    def refuse(self) -> None:
        """As in the base."""
        Dense.refuse(self)
        if not 0 < self.seed_level < 1:
            raise UserError(f"model.seed_level must lie between 0 and 1 (of the core), got {self.seed_level}")

    @abstractmethod
    def trunk(self) -> Trunk:
        """With random weights, or published ones."""

    def model(self) -> WatershedModel:
        """As in the base."""
        return WatershedModel(
            self.trunk(), num_classes=self.num_classes, seed_level=self.seed_level, min_area_px=self.min_area_px,
            max_instances=self.max_instances,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Unet(Watershed):
    """U-Net (Ronneberger et al. 2015) on an encoder of segmentation-models-pytorch."""

    FAMILY: ClassVar[str] = "unet"
    PUBLISHED: ClassVar[tuple[str, ...]] = ("none", "imagenet")
    backbone: str = "resnet34"
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16)

    def refuse(self) -> None:
        """As in the base."""
        from tem_seg.models.dense import encoders

        Watershed.refuse(self)
        encoders.refuse(self.backbone, self.weights, self.decoder_channels)

    def trunk(self) -> Trunk:
        """As in the base."""
        from tem_seg.models.dense import encoders

        return encoders.build(self.backbone, self.decoder_channels, imagenet=self.weights == "imagenet")


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiresUnet(Watershed):
    """MultiResUNet (Ibtehaz and Rahman 2020, arXiv 1902.04049)."""

    FAMILY: ClassVar[str] = "multires_unet"
    backbone: str = "multires"
    width: int = 32
    """Filters of the first level, before they are split (the paper's U), doubled at each of five."""

    def refuse(self) -> None:
        """As in the base."""
        Watershed.refuse(self)
        if self.width < 4:
            raise UserError(f"model.width must be at least 4, got {self.width}")

    def trunk(self) -> Trunk:
        """As in the base."""
        from tem_seg.models.dense import multires

        return multires.build(self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stardist(Dense):
    """StarDist (Schmidt et al. 2018) on the U-Net of the authors' package, or on an encoder as :class:`Unet` has."""

    FAMILY: ClassVar[str] = "stardist"
    PUBLISHED: ClassVar[tuple[str, ...]] = ("none", "imagenet")
    backbone: str = PLAIN
    """plain, the package's network, of depth, width, features and norm; or an encoder, with decoder_channels."""
    decoder_channels: tuple[int, ...] = (128, 64, 48, 48, 48)
    """Of levels of strides 16, 8, 4, 2 and 1, as far as the grid."""
    rays: int = 32
    grid: int = 2
    """1, 2 or 4: every so many px a pixel says something."""
    depth: int = 3
    """Halvings after the grid."""
    width: int = 32
    """Channels of the first level, doubled at each."""
    features: int = 128
    """Channels that the answers are read from."""
    norm: str = "bn"
    """none (as the package), bn or gn."""
    object_score: float = 0.3
    """Pixels of a lower object probability claim no particle."""
    nms_overlap: float = 0.5
    """Polygons that share more of the smaller one's area are the same particle."""

    def about(self) -> dict[str, Any]:
        """As in the base, without what is of the other backbone: no difference in it keeps weights from being taken."""
        unused = {"decoder_channels"} if self.backbone == PLAIN else {"depth", "width", "features", "norm"}
        return {key: value for key, value in Dense.about(self).items() if key not in unused}

    def refuse(self) -> None:
        """As in the base."""
        Dense.refuse(self)
        if self.rays < 3 or self.grid not in (1, 2, 4) or self.norm not in ("none", "bn", "gn"):
            raise UserError(
                "model.rays must be at least 3, model.grid 1, 2 or 4, model.norm none, bn or gn; got "
                f"{self.rays}, {self.grid}, {self.norm}"
            )
        if min(self.depth, self.width, self.features) < 1 or (self.norm == "gn" and self.width % 8):
            raise UserError(
                "model.depth, model.width and model.features must be at least 1, and with model.norm=gn width a "
                f"multiple of 8; got {self.depth}, {self.width}, {self.features}"
            )
        if self.backbone == PLAIN and self.weights == "imagenet":
            raise UserError("there are no imagenet weights of model.backbone=plain: take an encoder, such as resnet34")
        if self.backbone != PLAIN:
            from tem_seg.models.dense import encoders

            encoders.refuse(self.backbone, self.weights, self.decoder_channels, else_one=PLAIN)
        for name in ("object_score", "nms_overlap"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"model.{name} must lie between 0 and 1, got {getattr(self, name)}")

    def trunk(self) -> Trunk:
        """With random weights, or published ones."""
        from tem_seg.models.dense import encoders, plain_unet

        if self.backbone == PLAIN:
            return plain_unet.build(
                depth=self.depth, width=self.width, features=self.features, grid=self.grid, norm=self.norm
            )
        return encoders.build_levels(
            self.backbone, self.decoder_channels, imagenet=self.weights == "imagenet", grid=self.grid
        )

    def model(self) -> DenseModel:
        """As in the base."""
        from tem_seg.models.dense.stardist import StarModel

        return StarModel(
            self.trunk(), num_classes=self.num_classes, rays=self.rays, object_score=self.object_score,
            nms_overlap=self.nms_overlap, max_instances=self.max_instances,
        )  # fmt: skip
