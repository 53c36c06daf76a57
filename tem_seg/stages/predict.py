"""predict: every split that exists → predictions*.json. What follows needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tem_seg.core.errors import UserError
from tem_seg.data import results as results_file
from tem_seg.inference.predict import predict_dataset
from tem_seg.models import checkpoint
from tem_seg.models.contract import SegmentationModel
from tem_seg.stages import common
from tem_seg.stages.common import PREDICTION_FILES
from tem_seg.training.fit import last_checkpoint, resolve_precision


def run(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Predicts validation, some training and all test micrographs."""
    common.set_threads(cfg)
    model, about, path = _model(cfg, run_dir)
    precision = resolve_precision(cfg.trainer.precision)
    look = common.predictor(cfg, precision)
    for split, name in PREDICTION_FILES.items():
        dataset = common.dataset(cfg, run_dir, split)
        if dataset is None:
            continue
        dataset = dataset.subset(cfg.prediction.train_images) if split == "train" else dataset
        _check_classes(about["categories"], dataset.categories, cfg.evaluation.class_agnostic)
        results, info = predict_dataset(model, dataset, look)
        info |= {
            "split": split,
            "checkpoint": str(path),
            "backend": about["backend"],
            "model_categories": about["categories"],
        }
        results_file.write(run_dir / name, results, info)
        pace = info["seconds_per_image"]
        print(f"  {split}: {len(results)} particles in {len(dataset)} micrographs, {pace:.2f} s each", flush=True)
    return {"backend": about["backend"], "precision": precision, "checkpoint": str(path)}


def _check_classes(known: list[str], wanted: list[str], class_agnostic: bool) -> None:
    """Classes are matched by name and order; other classes only where the evaluation ignores them."""
    if known != wanted and not class_agnostic:
        raise UserError(
            f"the model knows the classes {known}, the dataset has {wanted}: set evaluation.class_agnostic=true to "
            "score where particles are, whatever they are called"
        )


def _model(cfg: DictConfig, run_dir: Path) -> tuple[SegmentationModel, dict[str, Any], Path]:
    """The run's own model; without a training in this run, the checkpoint that model.weights names."""
    path = last_checkpoint(run_dir / "checkpoints")
    if path is None:
        path = Path(str(cfg.model.weights))
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
    factory = common.model_factory(cfg, categories, weights=str(path), backend=about["backend"])
    model: SegmentationModel = factory.build()
    return model.eval(), about, path
