"""train: a model, its data and Lightning; leaves checkpoints/ and metrics.csv."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger, WandbLogger
from omegaconf import DictConfig, OmegaConf

from tem_seg.core.seeds import child_seed
from tem_seg.data.coco import CocoDataset, require_masks
from tem_seg.data.results import classifies
from tem_seg.evaluation.classification import check_every_class, classification_metrics
from tem_seg.evaluation.coco_ap import average_precision
from tem_seg.evaluation.inputs import headline_of
from tem_seg.generation.stream import RecipeStream
from tem_seg.inference.classify import classify_images
from tem_seg.inference.predict import Predictor, predict_dataset
from tem_seg.models import checkpoint, freezing
from tem_seg.models.classify.network import ShapeClassifier
from tem_seg.models.contract import SegmentationModel
from tem_seg.reporting.wandb_log import log_panels
from tem_seg.stages import common, pruning, tracking
from tem_seg.training.augment import Tone
from tem_seg.training.callbacks import EndEarly
from tem_seg.training.datamodule import TrainingData
from tem_seg.training.dataset import CropPolicy, TrainingSet
from tem_seg.training.fit import FitOptions, fit, last_checkpoint, resolve_precision
from tem_seg.training.module import Scorer, TrainingModule, most_warmup

Show = Callable[[CocoDataset, list[dict[str, Any]]], None]
"""Takes a dataset and what was predicted in it."""


def run(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Trains from the start, or from the last checkpoint of a killed run, to the same weights."""
    notes = _train(cfg, run_dir, *_logging(cfg))
    pruning.check_not_ended()
    return notes


def _train(cfg: DictConfig, run_dir: Path, logger: Logger | None, show: Show | None) -> dict[str, Any]:
    import torch

    common.set_threads(cfg)
    training = common.stream(cfg) if cfg.generation.stream else common.needed(cfg, run_dir, "train")
    validation = common.dataset(cfg, run_dir, "val")
    recorded = _recorded_backend(run_dir)
    factory = common.model_factory(cfg, training.categories, **({"backend": recorded} if recorded else {}))
    about = factory.about() | {"categories": training.categories}
    if not common.trains(factory):
        print(f"  {about['family']} has nothing to learn: no training", flush=True)
        return {"backend": about["backend"], "trained": False}
    if about.get("masks") and isinstance(training, CocoDataset):
        require_masks(training, "training a model with masks")
    if classifies(about) and isinstance(training, CocoDataset):
        check_every_class(training, about["level"])
    training = _through_catalog(training, validation, about, cfg.dataset.name)
    torch.manual_seed(child_seed(cfg.seed, "weights") % 2**63)
    model: SegmentationModel = factory.build()
    precision = resolve_precision(cfg.trainer.precision)
    data = _data(cfg, training, model, bool(about.get("rotated")))
    trained, there = (count / 1e6 for count in freezing.counts(model))
    print(f"  {about['family']} on {about['backend']}, {trained:.1f} of {there:.1f} M parameters train, {precision}, "
          f"{_amount(training, len(data.training))}", flush=True)  # fmt: skip
    look = common.predictor(cfg, precision, about)
    files = training if isinstance(training, CocoDataset) else None
    scored = {"val": validation and validation.subset(cfg.train.validation_images),
              "train": files and files.subset(cfg.train.training_images_scored)}  # fmt: skip
    module = TrainingModule(
        model,
        optimizer=partial(instantiate(cfg.optimizer, _partial_=True)),
        steps=cfg.train.steps,
        warmup_steps=warmup_taken(cfg.train.steps, cfg.train.warmup_steps),
        clip_norm=cfg.train.clip_norm,
        seed=cfg.seed,
        scorers={
            name: _scorer(found, look, cfg, show if name == "val" else None) for name, found in scored.items() if found
        },
        about=about,
    )
    best_by = "balanced_accuracy" if classifies(about) else "ap"
    fit(module, data, _options(cfg, best_by), run_dir, logger=logger, callbacks=[EndEarly(pruning.judge())])
    return {"backend": about["backend"], "precision": precision, "parameters_m": round(there, 2),
            "trainable_m": round(trained, 2), "threads": torch.get_num_threads(),
            "processes": cfg.trainer.devices * cfg.trainer.nodes,
            "micrographs": _amount(training, len(data.training))}  # fmt: skip


def warmup_taken(steps: int, asked: int) -> int:
    """Steps of warm-up, and a word where they are fewer than asked for."""
    most = most_warmup(steps)
    if asked > most:
        print(f"  warm-up takes {most} steps, half of the training, and not train.warmup_steps={asked}", flush=True)
    return min(asked, most)


def _amount(training: CocoDataset | RecipeStream, samples: int) -> str:
    if isinstance(training, CocoDataset):
        return f"{len(training)} micrographs with {training.count} particles"
    return f"streamed micrographs, one for each of {samples} samples"


def _recorded_backend(run_dir: Path) -> str | None:
    """A resumed run goes on with the back end it began with, whatever ``auto`` would take now."""
    last = last_checkpoint(run_dir / "checkpoints")
    return checkpoint.read(last)["tem_seg"]["backend"] if last else None


def _through_catalog(
    training: CocoDataset | RecipeStream, validation: CocoDataset | None, about: dict[str, Any], name: str
) -> CocoDataset | RecipeStream:
    """With Detectron2 installed the datasets are registered there; on that back end the records come from there.

    A stream has no records.
    """
    from tem_seg.models.detectron2 import is_available

    if not is_available():
        return training
    from tem_seg.models.detectron2 import catalog

    for split, part in (("train", training), ("val", validation)):
        if about.get("rotated") and isinstance(part, CocoDataset):  # as Detectron2's own rotated tools take them
            catalog.register(part, f"{name}_{split}", rotated=True)
    if validation is not None:
        catalog.register(validation, f"{name}_val")
    if not isinstance(training, CocoDataset):
        return training
    registered = catalog.register(training, f"{name}_train")
    return catalog.dataset_from_catalog(registered) if about["backend"] == "detectron2" else training


def _data(
    cfg: DictConfig, training: CocoDataset | RecipeStream, model: SegmentationModel, rotated: bool
) -> TrainingData:  # fmt: skip
    if not isinstance(training, CocoDataset):
        training = replace(training, headroom=model.headroom)
    batch = cfg.train.batch_size * cfg.trainer.accumulate
    crop = CropPolicy(
        cfg.train.crop.crop_px, tuple(cfg.train.crop.scale_range), tuple(cfg.train.crop.particle_px_range),
        cfg.train.crop.stretch, cfg.train.crop.rotate_deg,
    )  # fmt: skip
    samples = TrainingSet(
        training, samples=cfg.train.steps * batch, seed=cfg.seed, crop=crop,
        tone=Tone(**OmegaConf.to_container(cfg.train.tone)),  # type: ignore[arg-type]
        cache_bytes=int(cfg.train.cache_gb * 1e9), rotated=rotated, encode=model.encoder(),
        headroom=model.headroom,
    )  # fmt: skip
    return TrainingData(
        samples, batch_size=cfg.train.batch_size, interval_steps=cfg.train.validate_every * cfg.trainer.accumulate,
        workers=cfg.train.workers,
    )  # fmt: skip


def _options(cfg: DictConfig, best_by: str) -> FitOptions:
    return FitOptions(
        steps=cfg.train.steps, accelerator=cfg.trainer.accelerator, devices=cfg.trainer.devices,
        nodes=cfg.trainer.nodes, precision=cfg.trainer.precision, accumulate=cfg.trainer.accumulate,
        ema_decay=cfg.train.ema_decay, best_by=best_by,
    )  # fmt: skip


def _scorer(dataset: CocoDataset, look: Predictor, cfg: DictConfig, show: Show | None = None) -> Scorer:
    """AP of a split's micrographs, predicted whole; of a classifier, accuracies. show: gets what was predicted."""

    def score(model: SegmentationModel) -> dict[str, float]:
        if isinstance(model, ShapeClassifier):
            said = [row for found in classify_images(model, dataset, look.precision) for row in found.rows]
            known = classification_metrics(dataset, said)
            return {key: float("nan") if known[key] is None else known[key]
                    for key in ("accuracy", "balanced_accuracy", "log_loss")}  # fmt: skip
        results, _ = predict_dataset(model, dataset, look)
        if show is not None:
            show(dataset, results)
        figures = average_precision(dataset, results, headline_of(dataset, results), cfg.max_instances)
        return {key: figures[key] for key in ("ap", "ap50")}

    return score


def _logging(cfg: DictConfig) -> tuple[Logger | None, Show | None]:
    """The logger beside metrics.csv, and what shows predictions in it; of several processes the first has W&B's."""
    if not tracking.is_wanted(cfg):
        return (instantiate(cfg.logger) if cfg.logger else None), None  # any other Lightning logger
    tracked = tracking.current()
    if tracked is None:
        return None, None
    return WandbLogger(experiment=tracked.run), partial(log_panels, tracked.run, count=tracked.made.panels)
