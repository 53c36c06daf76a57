"""R-CNNs: one config, two back ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from tem_seg.core.errors import UserError
from tem_seg.models import detectron2
from tem_seg.models.contract import RcnnSpec, SegmentationModel


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
