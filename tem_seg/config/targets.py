"""Plugged-in parts of a config are checked before any work: each ``_target_``, and its keys against its signature."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from hydra.utils import get_class, get_method
from omegaconf import DictConfig, ListConfig, OmegaConf

from tem_seg.config.check import OPEN_KEYS, nearest
from tem_seg.core.errors import UserError


def check(cfg: DictConfig) -> None:
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
    for key in map(str, node):
        if not OmegaConf.is_missing(node, key) and key not in OPEN_KEYS:
            yield from _target_faults(node[key], f"{path}.{key}" if path else key)


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
