"""A checkpoint, ready to look at micrographs: no Hydra, no training code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tem_seg.analysis.run_folder import of_run
from tem_seg.core.errors import UserError
from tem_seg.core.types import Prediction
from tem_seg.data.digest import file_digest
from tem_seg.data.images import HEADROOM, normalise
from tem_seg.data.results import to_results
from tem_seg.evaluation.calibration import Fit, applied
from tem_seg.inference.predict import CONFIDENT, Predictor, cap_cost
from tem_seg.inference.scales import SURE
from tem_seg.models import checkpoint, restore
from tem_seg.models.precision import fast_bfloat16

TILE_PX, OVERLAP_PX = 2048, 256
"""As the predict stage has them (conf/, ``prediction``)."""
CAPS = (1000, 2000, 4000, 8000)
"""Particles that a look may return; the next where the one before may have cost some."""
WHOLE = 1_000_000
"""Of a micrograph of any number of tiles: no cap."""


@dataclass(frozen=True, slots=True)
class Segmenter:
    """model: of a cap on what it returns; predictor; categories: class names; calibration: of metrics.json, {} where
    the checkpoint has none.

    min_score: from which a particle counts, and why that one (score_source). identity: what its results depend on.
    """

    model: restore.Build
    predictor: Predictor
    categories: list[str]
    calibration: dict[str, Any]
    min_score: float
    score_source: str
    identity: dict[str, Any]

    def __call__(self, pixels: NDArray[np.float32]) -> tuple[list[dict[str, Any]], bool]:
        """pixels (H, W) as read → COCO results of image 1 in descending score, and whether a cap cost particles."""
        found = self._uncapped(normalise(pixels, HEADROOM))
        rows = to_results(found, 1, list(range(1, len(self.categories) + 1)))
        return applied(rows, self.calibration), found.capped

    def _uncapped(self, shown: NDArray[np.float32]) -> Prediction:
        """A cap that was reached may have cost nothing that counts: then twice as many find no more, and it is none."""
        found = self.predictor(self.model(CAPS[0]), shown)
        for cap in CAPS[1:]:
            if not found.capped:
                break
            more = self.predictor(self.model(cap), shown)
            if not cap_cost(found, more, self.min_score):
                return replace(found, capped=False)
            found = more
        return found


def load(name: str, min_score: float | None = None, magnification: float | None = None) -> Segmenter:
    """name: the folder of a run, a checkpoint file or "starter". min_score, magnification: None, what the run or the
    checkpoint says.

    What cannot count, nor say how to look, is not segmented: the model returns nothing below that score.
    """
    from tem_seg.models.torchvision.lean import import_torchvision

    import_torchvision()
    path = checkpoint.path_of(name)
    if not path.exists():
        raise UserError(f"no checkpoint at {path}: give the folder of a run, a checkpoint file, or starter")
    path, about = of_run(path) if path.is_dir() else (path, restore.about_of(path))
    if not about.get("masks", True) and not about.get("rotated"):
        raise UserError(f"{path} finds upright boxes, which have no size: give a checkpoint with masks")
    score, source = counting_score(about, min_score)
    look = _look(about, score, magnification)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = restore.builder(restore.factory_of(path, about, min_score=look.min_score), device)
    model(CAPS[0])  # what is wrong with a checkpoint is told now
    plain = {**look.magnifications_and_views, "min_score": score, "tile_px": TILE_PX, "overlap_px": OVERLAP_PX,
             "precision": str(look.precision)}  # fmt: skip
    identity = {"sha256": file_digest(path), "prediction": plain}
    return Segmenter(model, look, about["categories"], about.get("calibration") or {}, score, source, identity)


def _look(about: dict[str, Any], score: float, magnification: float | None) -> Predictor:
    """As when the counting score was chosen, where that is known; at the magnification that was given, if one was."""
    known = (about.get("calibration") or {}).get("look") or {"scales": None if about.get("find_scale") else [1.0]}
    if magnification is not None:
        known = {"scales": [magnification]}
    look = Predictor(
        scales=tuple(known["scales"] or (1.0,)), finest=known.get("finest"), find_scale=known["scales"] is None,
        augment=known.get("augment", "none"), max_instances=WHOLE, tile_px=TILE_PX, overlap_px=OVERLAP_PX,
        precision=torch.bfloat16 if fast_bfloat16() else torch.float32,
    )  # fmt: skip
    if look.augment != "none":
        return look  # what one view is unsure of counts in the mean of all
    return replace(look, min_score=min(score, SURE) if look.find_scale or look.finest else score)


def counting_score(about: dict[str, Any], given: float | None = None) -> tuple[float, str]:
    """The score from which particles count, and where it comes from: given, the checkpoint's, confidence 0.5."""
    if given is not None:
        return given, "given (--min-score)"
    if about.get("counting_score") is not None:
        return float(about["counting_score"]), "calibrated on validation"
    known = about.get("calibration") or {}
    if known.get("temperature") is not None:
        return Fit(known["temperature"], known["bias"]).score(CONFIDENT), f"confidence {CONFIDENT:g}, calibrated"
    return CONFIDENT, f"score {CONFIDENT:g}: no calibration is known; the folder of a run has its validation's"
