"""Several trained models, of whatever families, as one: each looks at a micrograph in its own way, then they vote."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.types import Prediction
from tem_seg.inference.instances import PER_PARTICLE, keep
from tem_seg.inference.merging import voted
from tem_seg.inference.predict import Predictor
from tem_seg.models.contract import SegmentationModel


@dataclasses.dataclass(frozen=True, slots=True)
class Ensemble:
    """models: in predicting mode. looks: how each looks at a micrograph (its weights may ask for a magnification).

    merge_iou: the mask IoU from which what two of them find is the same particle. min_score: what is below, once
    members that miss it have counted as 0, is dropped. max_instances: the most particles of a micrograph.
    """

    models: tuple[SegmentationModel, ...]
    looks: tuple[Predictor, ...]
    merge_iou: float = 0.5
    min_score: float = 0.05
    max_instances: int = 1000

    def __post_init__(self) -> None:
        if not self.models or len(self.models) != len(self.looks):
            raise ValueError(f"{len(self.models)} models and {len(self.looks)} looks: give one look a model")

    def __call__(self, pixels: NDArray[np.floating]) -> Prediction:
        """pixels (H, W), normalised with headroom for all → Prediction with ``agreement`` and ``agreement_iou``."""
        found = [look(model, pixels) for look, model in zip(self.looks, self.models, strict=True)]
        together = voted(shared_alone(found), self.merge_iou)
        enough = keep(together, together.scores >= self.min_score)
        cut = keep(enough, np.arange(min(len(enough), self.max_instances)))
        return dataclasses.replace(cut, capped=cut.capped or len(enough) > self.max_instances)


def shared_alone(found: Sequence[Prediction]) -> list[Prediction]:
    """Predictions with those fields alone that all of them have: StarDist knows no ``edge_sd_px``, U-Nets do."""
    lacking: dict[str, Any] = {name: None for name in PER_PARTICLE if any(getattr(one, name) is None for one in found)}
    return [dataclasses.replace(one, **lacking) for one in found]
