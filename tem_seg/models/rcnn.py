"""R-CNNs: one config, two back ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from tem_seg.core.errors import UserError
from tem_seg.models import checkpoint, detectron2, freezing
from tem_seg.models.contract import RcnnSpec, SegmentationModel

PUBLISHED = ("none", "imagenet", "coco")
"""Values of model.weights that name no file of ours."""


def choose_backend(asked: str) -> str:
    """auto → detectron2 where it can be used, else torchvision. Raises UserError for what cannot be had."""
    if asked not in ("auto", "detectron2", "torchvision"):
        raise UserError(f"model.backend must be auto, detectron2 or torchvision, got '{asked}'")
    if asked == "torchvision":
        return asked
    reason = detectron2.why_unavailable()
    if asked == "detectron2" and reason:
        raise UserError(
            f"model.backend=detectron2, but {reason}. Install it with\n  {detectron2.INSTALL_HINT}\n"
            "or use model.backend=torchvision"
        )
    return "torchvision" if reason else "detectron2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rcnn(RcnnSpec):
    """What conf/model/*_rcnn.yaml builds: a spec, and the back end that makes a model of it."""

    num_classes: int = 1
    backend: str = "auto"

    def build(self) -> SegmentationModel:
        """The model with its starting weights, some frozen. Raises UserError where those cannot be had."""
        # channels last: convolutions on CPU are up to ten times faster (the mask head's) than channels first
        model = self._model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        before = freezing.values(model) if self.frozen else {}
        self._start(model)
        freezing.freeze(model, self.frozen, random=freezing.unchanged(model, before))
        return model

    @property
    def frozen(self) -> tuple[str, ...]:
        """model.freeze, or what it stands for."""
        return freezing.chosen_by_default(self.weights) if self.freeze is None else self.freeze

    @property
    def spec(self) -> RcnnSpec:
        """Without the choice of a back end."""
        return RcnnSpec(**{field.name: getattr(self, field.name) for field in fields(RcnnSpec)})

    def chosen_backend(self) -> str:
        """As :func:`choose_backend`; masks in rotated boxes exist on torchvision alone."""
        return choose_backend("torchvision" if self.backend == "auto" and self.rotated and self.masks else self.backend)

    def _start(self, model: SegmentationModel) -> None:
        """Loads the weights that training starts from, or that predict."""
        if self.weights.startswith(checkpoint.BACKBONE):
            checkpoint.load_backbone(model, checkpoint.path_of(self.weights.removeprefix(checkpoint.BACKBONE)))
            return
        if self.weights not in PUBLISHED:
            checkpoint.load(model, checkpoint.path_of(self.weights), settings=self.about())
            return
        if self.chosen_backend() == "detectron2":
            from tem_seg.models.detectron2.weights import start_from
        else:
            from tem_seg.models.torchvision.pretrained import start_from
        start_from(model, self.spec)

    def _model(self) -> SegmentationModel:
        """With random weights."""
        if self.chosen_backend() == "detectron2":
            from tem_seg.models.detectron2.rcnn import Detectron2Rcnn

            return Detectron2Rcnn(self.spec)
        from tem_seg.models.torchvision.rcnn import TorchvisionRcnn
        from tem_seg.models.torchvision.rotated_rcnn import RotatedRcnn

        return RotatedRcnn(self.spec) if self.rotated else TorchvisionRcnn(self.spec)

    def about(self) -> dict[str, Any]:
        """Plain values that say what the weights of such a model are. Raises UserError for what cannot be built."""
        backend = self.chosen_backend()
        self._refuse(backend)
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return plain | {"family": "rcnn", "backend": backend, "freeze": list(self.frozen)}

    def _refuse(self, backend: str) -> None:
        """Raises UserError, before any work, for what a back end cannot build and weights that are not there."""
        if backend == "detectron2":
            from tem_seg.models.detectron2.config import refuse
        else:
            from tem_seg.models.torchvision.pretrained import refuse
        refuse(self.spec)
        if (name := self.weights.removeprefix(checkpoint.BACKBONE)) == checkpoint.STARTER:
            checkpoint.path_of(name)
