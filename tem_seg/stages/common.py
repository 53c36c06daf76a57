"""What several stages need: the run's datasets, its model, how micrographs are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tem_seg.core.errors import UserError
from tem_seg.data import atomic, coco
from tem_seg.data.coco import CocoDataset
from tem_seg.data.results import classifies

if TYPE_CHECKING:
    from tem_seg.generation.stream import RecipeStream
    from tem_seg.inference.predict import Predictor
    from tem_seg.models.classify.network import ShapeClassifier

DATASETS_FILE = "datasets.json"
SPLITS = ("train", "val", "test")
PREDICTION_FILES = {"val": "predictions_val.json", "train": "predictions_train.json", "test": "predictions.json"}


def splits(run_dir: Path) -> dict[str, str]:
    """The splits of the run's dataset and their files; {} before it is made."""
    path = run_dir / DATASETS_FILE
    return dict(atomic.read_json(path)) if path.is_file() else {}


def dataset(cfg: DictConfig, run_dir: Path, split: str) -> CocoDataset | None:
    """A split of the run's dataset, cut to ``dataset.classes`` and ``dataset.limit``; None where there is none."""
    path = run_dir / DATASETS_FILE
    if not path.is_file():
        raise UserError(f"{run_dir} has no {DATASETS_FILE}: run the 'generate' stage first")
    paths = atomic.read_json(path)
    if split not in paths:
        return None
    return coco.read(Path(paths[split])).of_classes(cfg.dataset.classes).subset(cfg.dataset.limit)


def needed(cfg: DictConfig, run_dir: Path, split: str) -> CocoDataset:
    """As :func:`dataset`, for a split that must be there."""
    found = dataset(cfg, run_dir, split)
    if found is None:
        raise UserError(f"dataset '{cfg.dataset.name}' has no split '{split}', which this stage needs")
    return found


def built(cfg: DictConfig, key: str) -> Any:
    """What a ``_target_`` of the config names: a recipe, an imaging, a reader."""
    node = OmegaConf.select(cfg, key)
    if node is None:
        raise UserError(f"{key} is not set: synthetic micrographs need both recipe=… and imaging=…")
    try:
        return instantiate(node)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from error
        raise


def stream(cfg: DictConfig, split: str = "train") -> RecipeStream:
    """The micrographs of a split that the recipe draws, without their files."""
    from tem_seg.generation.stream import RecipeStream

    height, width = cfg.generation.image_size
    size, classes = (int(height), int(width)), cfg.dataset.classes
    return RecipeStream(
        built(cfg, "recipe"), built(cfg, "imaging"), size, cfg.seed, split, None if classes is None else tuple(classes)
    )


def model_factory(cfg: DictConfig, categories: list[str], **changes: Any) -> Any:
    """The model's factory with what the rest of the config decides: classes, caps, threshold."""
    try:
        return instantiate(
            cfg.model, **{
                "num_classes": len(categories), "max_instances": cfg.max_instances,
                "min_score": cfg.prediction.min_score,
            } | changes,
        )  # fmt: skip
    except Exception as error:
        cause = error.__cause__
        if isinstance(cause, ValueError):
            raise UserError(f"model: {cause}") from error
        raise


def trains(factory: Any) -> bool:
    """Whether there is anything to learn for the model that a factory makes."""
    return bool(getattr(factory, "TRAINS", True))


def predictor(cfg: DictConfig, precision: str, about: Mapping[str, Any]) -> Predictor:
    """How micrographs are looked at. precision: Lightning's name; only bfloat16 changes inference. about: what the
    checkpoint says of itself, {} for none: weights may ask for ``find_scale``."""
    import torch

    from tem_seg.inference.predict import Predictor

    options = cfg.prediction
    asked_for = options.scales is None and options.finest is None and bool(about.get("find_scale"))
    return Predictor(
        scales=tuple(options.scales or (1.0,)), finest=options.finest, merge_iou=options.merge_iou,
        find_scale=asked_for if options.find_scale is None else options.find_scale,
        min_score=options.min_score, max_instances=cfg.max_instances,
        precision=torch.bfloat16 if precision.startswith("bf16") else torch.float32,
        tile_px=options.tile_px, overlap_px=options.overlap_px, tile_instances=options.tile_instances,
        augment=options.augment.value,
    )  # fmt: skip


def set_threads(cfg: DictConfig) -> None:
    """CPU threads of torch, and no others beside them."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    if cfg.trainer.threads:
        torch.set_num_threads(cfg.trainer.threads)


def classifier(path: Path) -> tuple[ShapeClassifier, dict[str, Any], Path]:
    """The classifier of a checkpoint, ready to be asked, what it says of itself, and its file.

    Raises UserError for what is no checkpoint of ``model=classifier``.
    """
    from tem_seg.models import restore
    from tem_seg.models.classify.factory import Classifier

    about = restore.about_of(path)
    if not classifies(about):
        raise UserError(
            f"classifier.checkpoint={path} is of model {about.get('family', 'unknown')}: give one of model=classifier"
        )
    return restore.as_saved(Classifier, path, about).build().eval(), about, path
