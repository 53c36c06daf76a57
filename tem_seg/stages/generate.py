"""generate: the run's datasets are there, drawn by a recipe or converted from existing data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from tem_seg.config.schema import Stage
from tem_seg.core.errors import UserError
from tem_seg.data import atomic, store
from tem_seg.data.readers.protocol import convert
from tem_seg.generation.dataset import build_dataset, dataset_identity
from tem_seg.stages.common import DATASETS_FILE


def run(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Writes datasets.json; the datasets themselves are shared by all runs (data/store.py)."""
    root = Path(cfg.paths.outputs).resolve() / "datasets"
    folder = _drawn(cfg, root) if cfg.dataset.reader is None else _converted(cfg, root)
    splits = {path.parent.name: str(path) for path in sorted(folder.glob("*/dataset.json"))}
    _check_splits(cfg, set(splits))
    atomic.write_json(run_dir / DATASETS_FILE, splits, indent=1)
    return {"dataset": str(folder), "dataset_digest": folder.name.rsplit("-", 1)[-1]}


def _check_splits(cfg: DictConfig, there: set[str]) -> None:
    """Every split that a later stage of this run needs is there, before that stage costs anything."""
    needs = {Stage.train: "train", Stage.evaluate: "test", Stage.measure: "test", Stage.report: "test"}
    for stage, split in needs.items():
        if stage in cfg.stages and split not in there:
            raise UserError(
                f"stage '{stage.value}' needs a split '{split}', but dataset '{cfg.dataset.name}' has only "
                f"{', '.join(sorted(there))}: add it, or leave the stage out of stages=[…]"
            )


def _drawn(cfg: DictConfig, root: Path) -> Path:
    recipe, imaging = _built(cfg, "recipe"), _built(cfg, "imaging")
    counts = {str(split): int(count) for split, count in cfg.generation.images.items()}
    height, width = cfg.generation.image_size
    if not counts:
        raise UserError(
            "generation.images is empty: say how many micrographs each split gets, e.g. {train: 400, val: 40, test: 60}"
        )
    workers = cfg.generation.workers or len(os.sched_getaffinity(0))
    identity = dataset_identity(recipe, imaging, counts, (height, width), cfg.seed)

    def build(folder: Path) -> None:
        build_dataset(folder, recipe, imaging, counts, (height, width), cfg.seed, workers=workers)

    return store.ensure(root, cfg.dataset.name, identity, build)


def _converted(cfg: DictConfig, root: Path) -> Path:
    reader = _built(cfg, "dataset.reader")
    # image files stay where they are, so the place is part of what the converted dataset depends on
    places = {key: str(Path(value).resolve()) for key, value in cfg.dataset.reader.items()
              if isinstance(value, str) and not str(key).startswith("_") and Path(value).exists()}  # fmt: skip
    return store.ensure(root, cfg.dataset.name, {"source": reader.identity(), "places": places},
                        lambda folder: convert(reader, folder))  # fmt: skip


def _built(cfg: DictConfig, key: str) -> Any:
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
