"""A checkpoint → the factory of the model that it holds, of whatever family, without a config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from tem_seg.core.errors import UserError
from tem_seg.models import checkpoint
from tem_seg.models.contract import SegmentationModel

Build = Callable[[int], SegmentationModel]
"""The most particles that a model may return → the model, ready to predict."""
FACTORIES = {
    "rcnn": "tem_seg.models.rcnn.Rcnn",
    "unet": "tem_seg.models.dense.factory.Unet",
    "multires_unet": "tem_seg.models.dense.factory.MultiresUnet",
    "stardist": "tem_seg.models.dense.factory.Stardist",
}
"""What conf/model builds, by the ``family`` that a checkpoint says it is of."""


def about_of(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself. Raises UserError where there is none, or one that does not know its classes."""
    about = checkpoint.about_in(path)
    if not about.get("categories"):
        raise UserError(f"{path} does not say which classes it knows: it is no checkpoint of tem_seg")
    return about


def factory_of(path: Path, about: dict[str, Any], **changes: Any) -> Any:
    """The factory whose ``build()`` gives the checkpoint's model with its weights.

    about: as :func:`about_of` gives it. changes: caps and thresholds, which are no part of the weights. Raises
    UserError for a family that this version does not know.
    """
    family = about.get("family", "rcnn")
    if family not in FACTORIES:
        raise UserError(f"{path} holds a model of the family '{family}', this version knows {', '.join(FACTORIES)}")
    module, name = FACTORIES[family].rsplit(".", 1)
    return as_saved(getattr(import_module(module), name), path, about, **changes)


def as_saved(kind: type[Any], path: Path, about: dict[str, Any], **changes: Any) -> Any:
    """A factory (dataclass) with what the checkpoint says of itself, its weights and the changes."""
    known = {field.name: about[field.name] for field in fields(kind) if field.name in about}
    own = {"weights": str(path), "num_classes": len(about["categories"]), "freeze": ()}
    return kind(**known | own | changes)


def builder(factory: Any, device: torch.device) -> Build:
    """What builds a factory's model with any cap; the last two models are kept."""

    @lru_cache(maxsize=2)
    def build(cap: int) -> SegmentationModel:
        model: SegmentationModel = replace(factory, max_instances=cap).build()
        return model.eval().to(device)

    return build
