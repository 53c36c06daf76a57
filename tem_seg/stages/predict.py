"""predict: every split that exists → predictions*.json. What follows needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tem_seg.core.errors import UserError
from tem_seg.data.coco import CocoDataset
from tem_seg.data.results import classifies
from tem_seg.data.results_writer import ResultsWriter
from tem_seg.inference.classify import with_shapes
from tem_seg.inference.predict import Predicted, Predictor, prediction_info
from tem_seg.models import checkpoint, restore
from tem_seg.stages import common, members
from tem_seg.stages.common import PREDICTION_FILES
from tem_seg.stages.members import Ready
from tem_seg.training.fit import device, last_checkpoint, resolve_precision


def run(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Predicts validation, some training and all test micrographs."""
    common.set_threads(cfg)
    precision = resolve_precision(cfg.trainer.precision)
    ready = members.together(cfg, precision) if cfg.prediction.ensemble else _own(cfg, run_dir, precision)
    ready = _naming_shapes(cfg, ready)
    flags: list[str] = []
    for split, name in PREDICTION_FILES.items():
        dataset = common.dataset(cfg, run_dir, split)
        if dataset is None:
            continue
        dataset = dataset.subset(cfg.prediction.train_images) if split == "train" else dataset
        _check_classes(ready.categories, dataset.categories, cfg.evaluation.class_agnostic)
        settings = OmegaConf.to_container(cfg.model, resolve=True)
        info = _predict(ready, dataset, run_dir / name, {"split": split} | ready.known, settings)
        flags += [flag if split == "test" else f"{split}: {flag}" for flag in info["red_flags"]]
    named = {key: ready.known[key] for key in ("backend", "checkpoint", "ensemble") if key in ready.known}
    return named | {"precision": precision, **ready.size, "red_flags": flags}


def _own(cfg: DictConfig, run_dir: Path, precision: str) -> Ready:
    """The run's model, with the calibration that its weights carry."""
    build, about, path = _model(cfg, run_dir)
    look = common.predictor(cfg, precision, about)
    ready = members.alone(build, members.model_cap(cfg), about, path, look)
    return replace(ready, known=ready.known | _carried(about, look))


def _naming_shapes(cfg: DictConfig, ready: Ready) -> Ready:
    """With ``classifier.checkpoint`` each particle that is found gets the shape that the classifier there sees."""
    if cfg.classifier.checkpoint is None or classifies(ready.known):
        return ready
    shapes, about, path = common.classifier(Path(cfg.classifier.checkpoint))
    shapes.to(device(cfg.trainer.accelerator))

    def find_and_name(dataset: CocoDataset) -> Iterator[Predicted]:
        images = {image.id: image for image in dataset.images}
        for found in ready.find(dataset):
            image, precision = images[found.image_id], ready.look.precision
            yield replace(found, rows=with_shapes(shapes, about["categories"], image, found.rows, precision))

    said = {"checkpoint": str(path), "modified": path.stat().st_mtime_ns, "categories": about["categories"]}
    said |= {"start": about.get("weights"), "level": about.get("level")}
    return replace(ready, find=find_and_name, known=ready.known | {"classifier": said})


def _predict(
    ready: Ready, dataset: CocoDataset, path: Path, known: dict[str, Any], settings: Any
) -> dict[str, Any]:  # fmt: skip
    """One split → its file, image by image; images that an interrupted stage has done are kept. Returns its info."""
    key = known | ready.identity | {"model": settings, "dataset": str(dataset.path), "categories": dataset.categories}
    with ResultsWriter(path, key) as writer:
        rest = [image.id for image in dataset.images if image.id not in writer.done]
        for found in ready.find(dataset.only(rest)):
            notes = {"particles": len(found.rows), "capped": found.capped, "seconds": found.seconds}
            writer.add(found.image_id, found.rows, notes)
        notes_of = {image.id: writer.done[image.id] for image in dataset.images}
        capped = [image_id for image_id, notes in notes_of.items() if notes["capped"]]
        seconds = sum(notes["seconds"] for notes in notes_of.values())
        info = prediction_info(dataset, ready.look, capped, seconds) | known
        writer.finish(info)
    count, pace = sum(notes["particles"] for notes in notes_of.values()), info["seconds_per_image"]
    what = "probabilities of" if classifies(known) else "particles in"
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


def _model(cfg: DictConfig, run_dir: Path) -> tuple[restore.Build, dict[str, Any], Path | None]:
    """The run's own model, of a cap; without a training in this run, the checkpoint that model.weights names.

    A model that has nothing to learn has no checkpoint (None) and knows one class, whatever it is called.
    """
    place = device(cfg.trainer.accelerator)
    ready = common.model_factory(cfg, ["particle"])
    if not common.trains(ready):
        return restore.builder(ready, place), ready.about() | {"categories": _only_class(cfg, run_dir)}, None
    path = last_checkpoint(run_dir / "checkpoints")
    if path is None:
        path = checkpoint.path_of(str(cfg.model.weights))
        if not path.is_file():
            raise UserError(
                f"nothing to predict with: {run_dir} holds no checkpoint (run the 'train' stage) and model.weights="
                f"'{cfg.model.weights}' is no file"
            )
    about = restore.about_of(path)
    categories = about["categories"]
    # the back end that was recorded: the weights belong to it
    factory = common.model_factory(cfg, categories, weights=str(path), backend=about["backend"])
    return restore.builder(factory, place), about, path


def _only_class(cfg: DictConfig, run_dir: Path) -> list[str]:
    """The dataset's class where it has one alone, else "particle"."""
    found = next((d for split in PREDICTION_FILES if (d := common.dataset(cfg, run_dir, split))), None)
    return found.categories if found and len(found.categories) == 1 else ["particle"]
