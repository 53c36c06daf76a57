"""How a run was made: run.json in the order a reader asks, long texts set apart."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import yaml

from tem_seg.reporting.tables import Table, cell, heading

_MAX_CHARACTERS = 200_000
APART = ("command", "config", "stages", "git", "packages")
"""Keys of run.json that are not shown as they are."""


@dataclass(frozen=True, slots=True)
class Made:
    """stages: one row each, None where none is recorded. facts: the rest of run.json. texts: by title, folded."""

    command: str
    stages: Table | None
    facts: dict[str, Any]
    texts: dict[str, str]


def made(run: dict[str, Any]) -> Made:
    """Sorts run.json (docs/results-format.md); a key that is missing is left out, one that is new is shown."""
    facts = {key: value for key, value in run.items() if key not in APART}
    git = dict(run.get("git") or {})
    diff = git.pop("diff", None)
    if diff is not None:
        git["uncommitted_changes"] = bool(diff)
    if git:
        facts["git"] = git
    command = run.get("command") or ""
    packages = "\n".join(f"{name}=={version}" for name, version in (run.get("packages") or {}).items())
    texts = {"Composed configuration": _yaml(run.get("config")), "Uncommitted changes (git diff)": diff,
             "Installed packages": packages}  # fmt: skip
    return Made(
        command=command if isinstance(command, str) else shlex.join(str(word) for word in command),
        stages=_stage_table(run.get("stages") or {}),
        facts=facts,
        texts={title: _cut(text) for title, text in texts.items() if text},
    )


def backend(run: dict[str, Any]) -> str | None:
    """The back end that predicted, as the run or its stages recorded it."""
    stages = run.get("stages") or {}
    found = [run.get("backend"), *((stages.get(name) or {}).get("backend") for name in ("predict", "train"))]
    return next((str(name) for name in found if name), None)


def _stage_table(stages: dict[str, dict[str, Any]]) -> Table | None:
    """One row a stage; figures that only one stage notes stand in the last column."""
    if not stages:
        return None
    shared = [key for key in ("wall_s", "peak_memory_gb", "finished") if any(key in notes for notes in stages.values())]
    rows = []
    for name, notes in stages.items():
        rest = "; ".join(f"{key.replace('_', ' ')} {_words(v)}" for key, v in notes.items() if key not in shared)
        rows.append((cell(name), *(cell(notes.get(key)) for key in shared), cell(rest)))
    names = {"wall_s": "wall time (s)", "peak_memory_gb": "peak memory (GB)"}
    columns = ("stage", *(names.get(key, heading(key)) for key in shared), "notes")
    return Table("Stages in the order they ran.", columns, tuple(rows))


def _words(value: Any) -> str:
    """A note in one line: lists and mappings without the signs of a programming language."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(each) for each in value)
    return cell(value).text


def _yaml(config: Any) -> str:
    if config is None or isinstance(config, str):
        return config or ""
    return str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def _cut(text: str) -> str:
    if len(text) <= _MAX_CHARACTERS:
        return text
    return f"{text[:_MAX_CHARACTERS]}\n… {len(text) - _MAX_CHARACTERS:,} more characters in run.json"
