"""predict: every split that exists → predictions*.json. What follows needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tem_seg.core.errors import UserError
from tem_seg.data.coco import CocoDataset
from tem_seg.data.results_writer import ResultsWriter
from tem_seg.inference.classify import classify_images, with_shapes
from tem_seg.inference.predict import Predicted, Predictor, predict_images, prediction_info
from tem_seg.models import checkpoint
from tem_seg.models.classify.network import ShapeClassifier
from tem_seg.models.contract import SegmentationModel
from tem_seg.stages import common
from tem_seg.stages.common import PREDICTION_FILES
from tem_seg.training.fit import last_checkpoint, resolve_precision

Finder = Callable[[CocoDataset], Iterator[Predicted]]
"""Micrographs → what was found in each."""


def run(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Predicts validation, some training and all test micrographs."""
    common.set_threads(cfg)
    model, about, path = _model(cfg, run_dir)
    named = str(path) if path else None
    precision = resolve_precision(cfg.trainer.precision)
    look = common.predictor(cfg, precision, about)
    carried = _carried(about, look) | _task(about)
    find, named_shapes = _finder(cfg, model, look)
    flags: list[str] = []
    for split, name in PREDICTION_FILES.items():
        dataset = common.dataset(cfg, run_dir, split)
        if dataset is None:
            continue
        dataset = dataset.subset(cfg.prediction.train_images) if split == "train" else dataset
        _check_classes(about["categories"], dataset.categories, cfg.evaluation.class_agnostic)
        known = {
            "split": split,
            "checkpoint": named,
            "backend": about["backend"],
            "model_categories": about["categories"],
            **carried,
            **named_shapes,
        }
        info = _predict(find, dataset, look, run_dir / name, known, OmegaConf.to_container(cfg.model, resolve=True))
        flags += [flag if split == "test" else f"{split}: {flag}" for flag in info["red_flags"]]
    return {"backend": about["backend"], "precision": precision, "checkpoint": named, "red_flags": flags}


def _finder(cfg: DictConfig, model: SegmentationModel, look: Predictor) -> tuple[Finder, dict[str, Any]]:
    """What finds the rows of a dataset's micrographs, and what predictions.json says of the classifier beside it."""
    if isinstance(model, ShapeClassifier):
        return partial(classify_images, model, precision=look.precision), {}
    find = partial(predict_images, model, predictor=look)
    if cfg.classifier.checkpoint is None:
        return find, {}
    shapes, about, path = common.classifier(Path(cfg.classifier.checkpoint))

    def find_and_name(dataset: CocoDataset) -> Iterator[Predicted]:
        images = {image.id: image for image in dataset.images}
        for found in find(dataset):
            rows = with_shapes(shapes, about["categories"], images[found.image_id], found.rows, look.precision)
            yield replace(found, rows=rows)

    said = {"checkpoint": str(path), "modified": path.stat().st_mtime_ns, "categories": about["categories"]}
    return find_and_name, {"classifier": said | {"start": about.get("weights"), "level": about.get("level")}}


def _task(about: dict[str, Any]) -> dict[str, Any]:
    """What a classifier's predictions say: later stages go by it, and reports name the start."""
    if not common.classifies(about):
        return {}
    return {"task": about["task"], "level": about["level"], "backbone": about["backbone"], "start": about["weights"]}


def _predict(
    find: Finder, dataset: CocoDataset, look: Predictor, path: Path, known: dict[str, Any], settings: Any
) -> dict[str, Any]:  # fmt: skip
    """One split → its file, image by image; images that an interrupted stage has done are kept. Returns its info."""
    modified = Path(known["checkpoint"]).stat().st_mtime_ns if known["checkpoint"] else None
    key = known | {"modified": modified, "model": settings, "look": repr(look), "dataset": str(dataset.path)}
    key["categories"] = dataset.categories
    with ResultsWriter(path, key) as writer:
        rest = [image.id for image in dataset.images if image.id not in writer.done]
        for found in find(dataset.only(rest)):
            notes = {"particles": len(found.rows), "capped": found.capped, "seconds": found.seconds}
            writer.add(found.image_id, found.rows, notes)
        notes_of = {image.id: writer.done[image.id] for image in dataset.images}
        capped = [image_id for image_id, notes in notes_of.items() if notes["capped"]]
        info = prediction_info(dataset, look, capped, sum(notes["seconds"] for notes in notes_of.values())) | known
        writer.finish(info)
    count, pace = sum(notes["particles"] for notes in notes_of.values()), info["seconds_per_image"]
    what = "probabilities of" if common.classifies(known) else "particles in"
    print(f"  {known['split']}: {count} {what} {len(dataset)} micrographs, {pace:.2f} s each", flush=True)
    return info


def _carried(about: dict[str, Any], look: Predictor) -> dict[str, Any]:
    """The counting score and the calibration that weights come with, where micrographs are looked at as when they were
    fitted."""
    calibration = about.get("calibration")
    if calibration is None:
        return {}
    if calibration["look"] != look.magnifications_and_views:
        print("  confidences and edges are not those that the weights were calibrated with: another look", flush=True)
        return {}
    return {"counting_score": about["counting_score"], "calibration": calibration}


def _check_classes(known: list[str], wanted: list[str], class_agnostic: bool) -> None:
    """Classes are matched by name and order; other classes only where the evaluation ignores them."""
    if known != wanted and not class_agnostic:
        raise UserError(
            f"the model knows the classes {known}, the dataset has {wanted}: set evaluation.class_agnostic=true to "
            "score where particles are, whatever they are called"
        )


def _model(cfg: DictConfig, run_dir: Path) -> tuple[SegmentationModel, dict[str, Any], Path | None]:
    """The run's own model; without a training in this run, the checkpoint that model.weights names.

    A model that has nothing to learn has no checkpoint (None) and knows one class, whatever it is called.
    """
    cap = cfg.prediction.tile_instances or cfg.max_instances
    ready = common.model_factory(cfg, ["particle"], max_instances=cap)
    if not common.trains(ready):
        return ready.build().eval(), ready.about() | {"categories": _only_class(cfg, run_dir)}, None
    path = last_checkpoint(run_dir / "checkpoints")
    if path is None:
        path = checkpoint.path_of(str(cfg.model.weights))
        if not path.is_file():
            raise UserError(
                f"nothing to predict with: {run_dir} holds no checkpoint (run the 'train' stage) and model.weights="
                f"'{cfg.model.weights}' is no file"
            )
    about = checkpoint.read(path).get("tem_seg", {})
    categories = about.get("categories")
    if not categories:
        raise UserError(f"{path} does not say which classes it knows: it is no checkpoint of tem_seg")
    # the back end that was recorded: the weights belong to it
    factory = common.model_factory(cfg, categories, weights=str(path), backend=about["backend"], max_instances=cap)
    model: SegmentationModel = factory.build()
    return model.eval(), about, path


def _only_class(cfg: DictConfig, run_dir: Path) -> list[str]:
    """The dataset's class where it has one alone, else "particle"."""
    found = next((d for split in PREDICTION_FILES if (d := common.dataset(cfg, run_dir, split))), None)
    return found.categories if found and len(found.categories) == 1 else ["particle"]
