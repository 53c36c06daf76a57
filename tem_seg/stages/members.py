"""What predicts: the run's own model, or an ensemble of trained ones (``prediction.ensemble``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tem_seg.core.errors import UserError
from tem_seg.data.coco import CocoDataset
from tem_seg.data.results import classifies
from tem_seg.inference.classify import classify_images
from tem_seg.inference.ensemble import Ensemble
from tem_seg.inference.predict import CONFIDENT, Predicted, Predictor, See, confirmed, images_seen
from tem_seg.models import checkpoint, restore
from tem_seg.models.classify.network import ShapeClassifier
from tem_seg.models.contract import SegmentationModel
from tem_seg.stages import common
from tem_seg.training.fit import device

Finder = Callable[[CocoDataset], Iterator[Predicted]]


@dataclass(frozen=True, slots=True)
class Ready:
    """find: micrographs → what was found in each. look: how, of an ensemble its first member's. categories: classes.

    known: what predictions.json says of it. identity: what else its predictions depend on, JSON-able. models: for their
    size.
    """

    find: Finder
    look: Predictor
    categories: list[str]
    known: dict[str, Any]
    identity: dict[str, Any]
    models: Sequence[SegmentationModel] = field(default=(), repr=False)

    @property
    def size(self) -> dict[str, float]:
        """Parameters in millions, and what all weights take on disk, MB of 1e6 bytes, without an optimiser's state."""
        parameters = sum(weight.numel() for model in self.models for weight in model.parameters())
        states = [value for model in self.models for value in model.state_dict().values()]
        weights_mb = sum(value.numel() * value.element_size() for value in states) / 1e6
        return {"parameters_m": round(parameters / 1e6, 2), "weights_mb": round(weights_mb, 2)}


def model_cap(cfg: DictConfig) -> int:
    """The most particles that a model returns of what it is shown."""
    return int(cfg.prediction.tile_instances or cfg.max_instances)


def alone(build: restore.Build, cap: int, about: dict[str, Any], path: Path | None, look: Predictor) -> Ready:
    """One model, of a cap. path: its checkpoint, None for one that has nothing to learn."""
    model = build(cap)

    def see(room: int) -> See:
        return partial(replace(look, max_instances=room * look.max_instances), build(room * cap))

    named = str(path) if path else None
    known = {"checkpoint": named, "backend": about["backend"], "model_categories": about["categories"]} | _task(about)
    find: Finder = partial(images_seen, partial(confirmed, see, about.get("counting_score") or CONFIDENT))
    if isinstance(model, ShapeClassifier):
        find = partial(classify_images, model, precision=look.precision)
    identity = {"modified": path.stat().st_mtime_ns if path else None, "look": repr(look)}
    return Ready(find, look, about["categories"], known, identity, (model,))


def _task(about: dict[str, Any]) -> dict[str, Any]:
    """What a classifier's predictions say: later stages go by it, and reports name the start."""
    if not classifies(about):
        return {}
    return {"task": about["task"], "level": about["level"], "backbone": about["backbone"], "start": about["weights"]}


def together(cfg: DictConfig, precision: str) -> Ready:
    """The ensemble that ``prediction.ensemble`` names, each member in its own way of looking."""
    paths, abouts = members(list(cfg.prediction.ensemble))
    merge_iou = cfg.prediction.merge_iou
    cap, least, place = model_cap(cfg), cfg.prediction.min_score, device(cfg.trainer.accelerator)
    builders = [
        restore.builder(restore.factory_of(path, about, min_score=least), place)
        for path, about in zip(paths, abouts, strict=True)
    ]
    looks = [common.predictor(cfg, precision, about) for about in abouts]

    def see(room: int) -> See:
        most = room * cfg.max_instances
        models = tuple(build(room * cap) for build in builders)
        return Ensemble(models, tuple(replace(look, max_instances=most) for look in looks), merge_iou, least, most)

    backends = dict.fromkeys(str(about["backend"]) for about in abouts)
    categories = abouts[0]["categories"]
    known = {
        "checkpoint": None, "ensemble": [str(path) for path in paths], "backend": ", ".join(backends),
        "model_categories": categories,
    }  # fmt: skip
    identity = {"modified": [path.stat().st_mtime_ns for path in paths], "look": [repr(look) for look in looks]}
    find: Finder = partial(images_seen, partial(confirmed, see, CONFIDENT))
    return Ready(find, looks[0], categories, known, identity, [build(cap) for build in builders])


def members(names: Sequence[str]) -> tuple[list[Path], list[dict[str, Any]]]:
    """The checkpoints of an ensemble, and what they say of themselves.

    Raises UserError where a file is missing or no checkpoint, and where they know other classes, in another order, or
    find other things (masks, rotated boxes, boxes): those cannot be brought together.
    """
    paths = [checkpoint.path_of(name) for name in names]
    if absent := [str(path) for path in paths if not path.is_file()]:
        raise UserError(
            f"prediction.ensemble names {len(absent)} of {len(paths)} checkpoints that are not there: "
            f"{', '.join(absent)}. Give files, outputs/runs/<experiment>/<run>/checkpoints/last.ckpt, or "
            f"{checkpoint.STARTER}"
        )
    abouts = [restore.about_of(path) for path in paths]
    _same("knows the classes", paths, [about["categories"] for about in abouts])
    _same("finds", paths, [_found(about) for about in abouts])
    return paths, abouts


def _found(about: dict[str, Any]) -> str:
    if about.get("masks", True):
        return "masks"
    return "rotated boxes" if about.get("rotated") else "boxes"


def _same(what: str, paths: Sequence[Path], values: Sequence[Any]) -> None:
    if any(value != values[0] for value in values):
        told = "; ".join(f"{path} {what} {value}" for path, value in zip(paths, values, strict=True))
        raise UserError(f"the members of prediction.ensemble cannot be put together: {told}. Name members that agree")
