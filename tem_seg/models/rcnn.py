"""R-CNNs: one config, two back ends."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass, fields
from typing import Any

from tem_seg.core.errors import UserError
from tem_seg.models.contract import RcnnSpec, SegmentationModel

INSTALL_DETECTRON2 = (
    "pip install --no-build-isolation "
    "'detectron2 @ git+https://github.com/facebookresearch/detectron2@02b5c4e295e990042a714712c21dc79b731e8833'"
)


def choose_backend(asked: str) -> str:
    """auto → detectron2 where it is installed, else torchvision. Raises UserError for what is not there."""
    if asked not in ("auto", "detectron2", "torchvision"):
        raise UserError(f"model.backend must be auto, detectron2 or torchvision, got '{asked}'")
    installed = importlib.util.find_spec("detectron2") is not None
    if asked == "detectron2" and not installed:
        raise UserError(
            f"model.backend=detectron2, but Detectron2 is not installed. Install it with\n  {INSTALL_DETECTRON2}\n"
            "or use model.backend=torchvision"
        )
    return asked if asked != "auto" else "detectron2" if installed else "torchvision"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rcnn(RcnnSpec):
    """What conf/model/*_rcnn.yaml builds: a spec, and the back end that makes a model of it."""

    num_classes: int = 1
    backend: str = "auto"

    def build(self) -> SegmentationModel:
        """The model with its starting weights. Raises UserError where those cannot be had."""
        spec = RcnnSpec(**{field.name: getattr(self, field.name) for field in fields(RcnnSpec)})
        if choose_backend(self.backend) == "detectron2":
            from tem_seg.models.detectron2.rcnn import Detectron2Rcnn

            return Detectron2Rcnn(spec)
        from tem_seg.models.torchvision.pretrained import start_from
        from tem_seg.models.torchvision.rcnn import TorchvisionRcnn

        model = TorchvisionRcnn(spec)
        start_from(model, spec)
        return model

    def about(self) -> dict[str, Any]:
        """Plain values that say what the weights of such a model are."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return plain | {"family": "rcnn", "backend": choose_backend(self.backend)}
