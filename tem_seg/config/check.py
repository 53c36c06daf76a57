"""A config is checked before any work: its keys against the schema, its values, and what goes with what."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tem_seg.config.schema import Config, Stage
from tem_seg.core.errors import UserError

OPEN_KEYS = {"hydra"}
"""Keys that are not ours."""
SPLITS = ("train", "val", "test")
AT_LEAST = {
    "max_instances": 1, "train.steps": 1, "train.validate_every": 1, "train.batch_size": 1, "train.warmup_steps": 0,
    "train.workers": 0, "train.crop.crop_px": 32, "train.validation_images": 1, "train.training_images_scored": 0,
    "trainer.accumulate": 1, "trainer.devices": 1, "trainer.nodes": 1, "trainer.threads": 1, "dataset.limit": 1,
    "generation.workers": 1,
    "prediction.train_images": 1, "prediction.overlap_px": 0, "prediction.tile_instances": 1, "report.n_overlays": 0,
    "measurement.min_size_px": 0,
}  # fmt: skip
"""Smallest value of numbers that may not be lower; null is left alone."""
SMALLEST_TILE_STEP_PX = 64
"""From one tile to the next; as tem_seg.inference.tiling.STEP_PX, without the import of its libraries."""
SHARES = (
    "evaluation.score", "prediction.min_score", "prediction.merge_iou", "measurement.min_score", "train.ema_decay",
)  # fmt: skip


def nearest(name: str, known: Iterable[str]) -> str:
    """'did you mean …' for a misspelt name, or all known ones where none is near."""
    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    return f"nearest: {', '.join(near)}" if near else f"known: {', '.join(options)}"


def unknown_keys(cfg: DictConfig) -> list[str]:
    """One line for every key that no code reads, with the nearest known ones."""
    return list(_unknown(cfg, Config, ""))


def _unknown(node: DictConfig, schema: type, prefix: str) -> Iterator[str]:
    hints = typing.get_type_hints(schema)
    for key in node:
        if prefix == "" and key in OPEN_KEYS:
            continue
        if key not in hints:
            yield f"unknown key '{prefix}{key!s}' ({nearest(str(key), hints)})"
        elif _is_filled(node._get_node(key)):
            below, named = _below(hints[key])
            parts = [(f"{key}.{name}", node[key][name]) for name in node[key]] if named else [(str(key), node[key])]
            for name, part in parts if below else ():
                yield from _unknown(part, below, f"{prefix}{name}.")


def _is_filled(node: Any) -> bool:
    """Whether a part of a config holds keys of its own (no interpolation, null or missing)."""
    return isinstance(node, DictConfig) and not (node._is_interpolation() or node._is_none() or node._is_missing())


def _below(hint: Any) -> tuple[Any, bool]:
    """The dataclass of a part of the schema (None: plain values), and whether it is a dict of such by free names."""
    named = typing.get_origin(hint) is dict
    kind = typing.get_args(hint)[1] if named else hint
    return (kind if dataclasses.is_dataclass(kind) else None), named


def known_keys(path: list[str]) -> list[str]:
    """Names that may follow a dotted path in the schema; [] below a plugged-in part."""
    schema: Any = Config
    free = False
    for part in path:
        if free:  # this part is a name of the user's own
            free = False
            continue
        schema, free = _below(typing.get_type_hints(schema).get(part)) if schema else (None, False)
    if schema is None or free:
        return []
    groups = [entry.name for entry in config_folder().iterdir() if entry.is_dir()] if schema is Config else []
    return sorted({*typing.get_type_hints(schema), *groups})


def check(cfg: DictConfig) -> None:
    """Raises UserError with every structural fault: unknown keys, missing values, bad numbers. Imports no torch."""
    if OmegaConf.is_missing(cfg, "name"):
        names = ", ".join(sorted(file.stem for file in (config_folder() / "experiment").glob("*.yaml")))
        raise UserError(f"nothing to run: choose an experiment, experiment=<name>, one of {names}")
    if cfg.arm is not None and cfg.arm not in cfg.arms:  # before all else: other keys look it up
        told = f"it has {', '.join(map(str, cfg.arms))}" if cfg.arms else "it has none: leave arm= out"
        raise UserError(f"arm '{cfg.arm}' is not of this experiment; {told}")
    faults = unknown_keys(cfg) + list(_profile_faults(cfg))
    for find in (_interpolation_faults, _missing, _value_faults):
        faults = faults or list(find(cfg))
    if faults:
        raise UserError("the configuration has faults:\n  " + "\n  ".join(faults))


def _interpolation_faults(cfg: DictConfig) -> Iterator[str]:
    try:
        OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        yield f"{getattr(error, 'full_key', '')}: {str(error).splitlines()[0]}"


def _missing(cfg: DictConfig) -> Iterator[str]:
    for key in sorted(OmegaConf.missing_keys(cfg)):
        if not str(key).startswith(("budgets", "hydra")):
            yield f"'{key}' has no value: set it, {key}=…"


def _profile_faults(cfg: DictConfig) -> Iterator[str]:
    if cfg.get("budgets") and cfg.profile not in cfg.budgets:
        yield f"profile '{cfg.profile}' has no budget in this experiment; it has {', '.join(sorted(cfg.budgets))}"


def _value_faults(cfg: DictConfig) -> Iterator[str]:
    for key, least in AT_LEAST.items():
        value = OmegaConf.select(cfg, key)
        if value is not None and value < least:
            yield f"{key} must be at least {least}, got {value}"
    for key in SHARES:
        value = OmegaConf.select(cfg, key)
        if value is not None and not 0 <= value <= 1:
            yield f"{key} must lie in [0, 1], got {value}"
    processes = cfg.trainer.devices * cfg.trainer.nodes
    if processes > 1 and cfg.train.batch_size % processes:
        yield (
            f"train.batch_size = {cfg.train.batch_size} cannot be shared out among {processes} processes "
            f"(trainer.devices × trainer.nodes): take a multiple of {processes}"
        )
    yield from _shape_faults(cfg)
    yield from _choice_faults(cfg)


def _shape_faults(cfg: DictConfig) -> Iterator[str]:
    for key in ("train.crop.scale_range", "train.crop.particle_px_range"):
        values = list(OmegaConf.select(cfg, key))
        if len(values) != 2 or not 0 < values[0] <= values[1]:
            yield f"{key} must be [min, max] with 0 < min <= max, got {values}"
    if len(cfg.generation.image_size) != 2 or min(cfg.generation.image_size) < 32:
        size = list(cfg.generation.image_size)
        yield f"generation.image_size must be [height, width], each at least 32 px, got {size}"
    scales = cfg.prediction.scales
    if scales is not None and (not scales or min(scales) <= 0):
        yield f"prediction.scales must hold positive magnifications, got {list(scales)}"
    finest, least = cfg.prediction.finest, 2 * max(scales or [1.0])
    if finest is not None and finest < least:
        yield (
            f"prediction.finest={finest:g}: a look twice as fine as the finest of prediction.scales needs {least:g}; "
            "raise it, or set prediction.finest=null"
        )
    for key in ("scales", "finest") if cfg.prediction.find_scale else ():
        if (given := cfg.prediction[key]) is not None:
            told = f"prediction.{key}={given}"
            yield f"prediction.find_scale=true finds the magnification, {told} gives it: leave one out"
    tile_px, overlap_px = cfg.prediction.tile_px, cfg.prediction.overlap_px
    if tile_px is not None and tile_px - overlap_px < SMALLEST_TILE_STEP_PX:
        yield (
            f"prediction.tile_px must exceed prediction.overlap_px = {overlap_px} by at least {SMALLEST_TILE_STEP_PX}, "
            f"got {tile_px}"
        )
    if not 0 < (neck := cfg.measurement.neck) < 1:
        yield f"measurement.neck must lie between 0 and 1 (a share of the smaller part's width), got {neck}"
    for split in sorted(set(cfg.generation.images) - set(SPLITS)):
        yield f"generation.images names an unknown split '{split}' ({nearest(str(split), SPLITS)})"


def _choice_faults(cfg: DictConfig) -> Iterator[str]:
    if not cfg.stages:
        yield "stages is empty: nothing to do"
    if cfg.dataset.reader is None and cfg.recipe is None:
        yield "nothing to work on: choose recipe=… (synthetic micrographs) or dataset=… (existing ones)"
    if cfg.dataset.read is not None and (cfg.dataset.reader is None or cfg.recipe is None):
        yield "dataset.read chooses splits of a reader beside drawn ones: it needs both dataset=… and recipe=…"
    for split in sorted(set(cfg.dataset.read or ()) - set(SPLITS)):
        yield f"dataset.read names an unknown split '{split}' ({nearest(split, SPLITS)})"
    yield from _ensemble_faults(cfg)
    yield from _output_faults(cfg)
    upright = OmegaConf.select(cfg, "model.masks") is False and not OmegaConf.select(cfg, "model.rotated")
    if Stage.measure in cfg.stages and upright:
        others = ",".join(stage.value for stage in cfg.stages if stage != Stage.measure)
        yield f"a model of upright boxes has no sizes to measure: choose another, or give stages=[{others}]"


def _ensemble_faults(cfg: DictConfig) -> Iterator[str]:
    named = cfg.prediction.ensemble
    if named is not None and not named:
        yield "prediction.ensemble is empty: name checkpoints, or leave it out"
    if named and Stage.train in cfg.stages:
        others = ",".join(stage.value for stage in cfg.stages if stage != Stage.train)
        yield f"prediction.ensemble predicts with models that are trained: give stages=[{others}]"


def _output_faults(cfg: DictConfig) -> Iterator[str]:
    read = SPLITS if cfg.dataset.read is None else cfg.dataset.read
    reads_train = cfg.dataset.reader is not None and "train" in read
    if cfg.generation.stream and (reads_train or cfg.recipe is None):
        yield "generation.stream draws the train split from a recipe while training, but here it is read: " + (
            "set generation.stream=false, or choose recipe=…, imaging=… and dataset.read=[val,test]"
        )
    if cfg.generation.exports:
        from tem_seg.data.exports import FORMATS

        for name in cfg.generation.exports:
            if name not in FORMATS:
                known = ", ".join(FORMATS)
                yield f"generation.exports: no format '{name}' ({nearest(name, FORMATS)}); there are {known}"


def config_folder() -> Path:
    """Where conf/ lies: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
