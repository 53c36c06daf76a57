"""All of a config is checked before any work: keys against the schema, plugged-in parts against their signatures."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra.utils import get_class, get_method
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tem_seg.config.schema import Config
from tem_seg.core.errors import UserError

OPEN_KEYS = {"hydra"}
"""Keys that are not ours."""


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
        elif dataclasses.is_dataclass(hints[key]) and isinstance(node._get_node(key), DictConfig):
            yield from _unknown(node[key], hints[key], f"{prefix}{key}.")


def known_keys(path: list[str]) -> list[str]:
    """Names that may follow a dotted path in the schema; [] below a plugged-in part."""
    schema: Any = Config
    for part in path:
        schema = typing.get_type_hints(schema).get(part) if dataclasses.is_dataclass(schema) else None
    return list(typing.get_type_hints(schema)) if dataclasses.is_dataclass(schema) else []


def check(cfg: DictConfig) -> None:
    """Raises UserError with every structural fault: unknown keys, missing values, bad numbers. Imports no torch."""
    faults = unknown_keys(cfg) + list(_missing(cfg)) + list(_profile_faults(cfg))
    if not faults:
        faults = list(_value_faults(cfg))
    if faults:
        raise UserError("the configuration has faults:\n  " + "\n  ".join(faults))


def _missing(cfg: DictConfig) -> Iterator[str]:
    for key in sorted(OmegaConf.missing_keys(cfg)):
        if not str(key).startswith(("budgets", "hydra")):
            yield f"'{key}' has no value: choose an experiment (experiment=…), or set it"


def _profile_faults(cfg: DictConfig) -> Iterator[str]:
    if cfg.get("budgets") and cfg.profile not in cfg.budgets:
        yield f"profile '{cfg.profile}' has no budget in this experiment; it has {', '.join(sorted(cfg.budgets))}"


def _value_faults(cfg: DictConfig) -> Iterator[str]:
    try:
        OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        yield str(error).splitlines()[0]
        return
    at_least_one = ("max_instances", "train.steps", "train.validate_every", "train.batch_size", "trainer.accumulate")
    for key in at_least_one:
        if OmegaConf.select(cfg, key) < 1:
            yield f"{key} must be at least 1, got {OmegaConf.select(cfg, key)}"
    for key in ("train.crop.scale_range", "train.crop.particle_px_range"):
        values = list(OmegaConf.select(cfg, key))
        if len(values) != 2 or not 0 < values[0] <= values[1]:
            yield f"{key} must be [min, max] with 0 < min <= max, got {values}"
    if len(cfg.generation.image_size) != 2 or min(cfg.generation.image_size) < 32:
        size = list(cfg.generation.image_size)
        yield f"generation.image_size must be [height, width], each at least 32 px, got {size}"
    if not cfg.prediction.scales or min(cfg.prediction.scales) <= 0:
        yield f"prediction.scales must hold positive magnifications, got {list(cfg.prediction.scales)}"
    if not 0 <= cfg.evaluation.score <= 1:
        yield f"evaluation.score must lie in [0, 1], got {cfg.evaluation.score}"
    if not cfg.stages:
        yield "stages is empty: nothing to do"
    if cfg.dataset.reader is None and cfg.recipe is None:
        yield "nothing to work on: choose recipe=… (synthetic micrographs) or dataset=… (existing ones)"


def check_targets(cfg: DictConfig) -> None:
    """Raises UserError where a ``_target_`` cannot be imported or its arguments do not fit its signature.

    Imports what the config names (torch among it), so it runs after the first line of output.
    """
    faults = list(_target_faults(cfg, ""))
    if faults:
        raise UserError("the configuration has faults:\n  " + "\n  ".join(faults))


def _target_faults(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, ListConfig):
        for index, item in enumerate(node):
            yield from _target_faults(item, f"{path}[{index}]")
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return
    if "_target_" in node:
        yield from _signature_faults(node, path)
    for key in node:
        if not OmegaConf.is_missing(node, key) and str(key) not in OPEN_KEYS:
            yield from _target_faults(node[key], f"{path}.{key}" if path else str(key))


def _signature_faults(node: DictConfig, path: str) -> Iterator[str]:
    try:
        target = _locate(node["_target_"])
    except Exception as error:  # noqa: BLE001 - whatever import raises is the user's wrong _target_
        yield f"{path}._target_ '{node['_target_']}' cannot be imported ({error})"
        return
    parameters = inspect.signature(target).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    for key in node:
        if str(key) not in parameters and not str(key).startswith("_"):
            yield f"unknown key '{path}.{key!s}' ({nearest(str(key), parameters)})"


def _locate(target: str) -> Any:
    try:
        return get_class(target)
    except ValueError:
        return get_method(target)


def config_folder() -> Path:
    """Where conf/ lies: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def explain(error: Exception, overrides: list[str]) -> str:
    """Hydra's and OmegaConf's complaints about a key or a choice, in a sentence with the nearest known names."""
    text = str(error).strip()
    key = getattr(error, "full_key", None) or _key_in(text)
    if key and ("not in" in text or "not found" in text):
        *parents, name = str(key).split(".")
        known = known_keys(parents)
        place = next((f" (on the command line: {o})" for o in overrides if str(key) in o), "")
        if known and name not in known:
            return f"unknown key '{key}'{place}; {nearest(name, known)}"
    return text


def _key_in(text: str) -> str | None:
    for line in text.splitlines():
        if "full_key:" in line:
            return line.split("full_key:")[1].strip()
        if "Key '" in line and "' is not in struct" in line:
            return line.split("Key '")[1].split("'")[0]
    return None
