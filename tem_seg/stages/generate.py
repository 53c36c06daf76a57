"""generate: the run's datasets are there, drawn by a recipe or converted from existing data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tem_seg.config.schema import Stage
from tem_seg.core.errors import UserError
from tem_seg.data import atomic, coco, store
from tem_seg.data.digest import content_digest
from tem_seg.data.readers.protocol import convert
from tem_seg.generation.dataset import build_dataset, dataset_identity
from tem_seg.stages import common, outputs
from tem_seg.stages.common import DATASETS_FILE


def run(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Writes datasets.json; the datasets themselves are shared by all runs (data/store.py)."""
    _check_there(cfg)
    if outputs.sheet_alone(cfg, run_dir):
        return outputs.only_sheet(cfg, run_dir)
    root = Path(cfg.paths.outputs).resolve() / "datasets"
    folders: list[Path] = []
    splits: dict[str, str] = {}
    if outputs.draws_files(cfg):
        folders.append(_drawn(cfg, root))
        splits |= _splits_in(folders[-1])
    if cfg.dataset.reader is not None:
        folders.append(_converted(cfg, root))
        found = _splits_in(folders[-1])
        splits |= found if cfg.dataset.read is None else {name: found[name] for name in _to_read(cfg, set(found))}
    _check_splits(cfg, {*splits, *outputs.streamed(cfg)})
    if len(folders) > 1:
        _check_categories(splits)
    for split, path in splits.items() if cfg.dataset.classes is not None else ():
        coco.check_classes(cfg.dataset.classes, _categories(path), f"split {split} of '{cfg.dataset.name}'")
    atomic.write_json(run_dir / DATASETS_FILE, splits, indent=1)
    digests = "+".join(folder.name.rsplit("-", 1)[-1] for folder in folders)
    contents = {split: content_digest(Path(path)) for split, path in splits.items()}
    return {"dataset": ", ".join(map(str, folders)), "dataset_digest": digests, "data_sha256": contents,
            **outputs.beside(cfg, run_dir)}  # fmt: skip


def _check_there(cfg: DictConfig) -> None:
    """Raises UserError, before any work, with dataset.where if a file or folder that the reader is given is missing."""
    if cfg.dataset.where is None or cfg.dataset.reader is None:
        return
    missing = dict.fromkeys(str(path) for path in _paths(cfg) if not path.exists())
    if missing:
        named = ", ".join(missing)
        raise UserError(
            f"dataset '{cfg.dataset.name}' is not there (missing: {named}). {' '.join(cfg.dataset.where.split())}"
        )


def _paths(cfg: DictConfig) -> list[Path]:
    """What the reader is given to read; of a pattern, the folder that its {split} would be in."""
    given = [(str(key), value) for key, value in cfg.dataset.reader.items() if isinstance(value, str)]
    texts = [value for key, value in given if not key.startswith("_") and os.sep in value]
    return [Path(text.partition("{split}")[0]) for text in texts]


def _splits_in(folder: Path) -> dict[str, str]:
    return {path.parent.name: str(path) for path in sorted(folder.glob("*/dataset.json"))}


def _to_read(cfg: DictConfig, there: set[str]) -> list[str]:
    """dataset.read, which must be splits of the reader."""
    if missing := sorted(set(cfg.dataset.read) - there):
        raise UserError(
            f"dataset.read names {', '.join(missing)}, but dataset '{cfg.dataset.name}' has {', '.join(sorted(there))}"
        )
    return list(cfg.dataset.read)


def _check_categories(splits: dict[str, str]) -> None:
    """Drawn and read splits know the same classes, or nothing that is learnt from one counts in the other."""
    names = {split: _categories(path) for split, path in splits.items()}
    if len({tuple(sorted(found)) for found in names.values()}) > 1:
        told = "; ".join(f"{split}: {', '.join(found)}" for split, found in names.items())
        raise UserError(
            f"the drawn and the read splits have different categories ({told}): give the recipe the reader's"
        )


def _categories(path: str) -> list[str]:
    return [entry["name"] for entry in atomic.read_json(Path(path))["categories"]]


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
    recipe, imaging = common.built(cfg, "recipe"), common.built(cfg, "imaging")
    counts = outputs.written_counts(cfg)
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
    reader = common.built(cfg, "dataset.reader")
    # image files stay where they are, so the place is part of what the converted dataset depends on
    places = {key: str(Path(value).resolve()) for key, value in cfg.dataset.reader.items()
              if isinstance(value, str) and not str(key).startswith("_") and Path(value).exists()}  # fmt: skip
    return store.ensure(root, cfg.dataset.name, {"source": reader.identity(), "places": places},
                        lambda folder: convert(reader, folder))  # fmt: skip
