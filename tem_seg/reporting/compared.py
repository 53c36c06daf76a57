"""Runs that are compared: what each holds, which differ by seed alone, which saw the same test micrographs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tem_seg.core.nested import leaves
from tem_seg.data.results import classifies
from tem_seg.reporting.material import Material

NO_MATTER = ("run_dir", "paths", "logger", "report", "stages", "budgets", "paper", "arm", "arms", "dataset.where",
             "dataset.stand_in", "sweep", "trainer.nodes", "generation.workers", "train.workers",
             "generation.contact_sheet", "generation.exports")  # fmt: skip
"""Settings that change no figure: where things lie, what is said or drawn beside; budgets and arms, of which other
settings say what was taken."""
MISSING = "–"
NAMED = 3
"""So many settings stand in a group's name; all are in the table."""
_LONGEST = 28


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What a run directory holds; empty where a file is missing.

    tested: what stands for the test micrographs that were predicted, equal where they are the same; None where nothing
    was. material: None where predictions or their micrographs cannot be had. faults: why, a sentence each.
    """

    folder: Path
    run: dict[str, Any]
    metrics: dict[str, Any]
    curves: pd.DataFrame
    particles: pd.DataFrame
    truth_particles: pd.DataFrame | None
    info: dict[str, Any]
    tested: str | None
    material: Material | None
    faults: tuple[str, ...] = ()

    @property
    def experiment(self) -> str:
        """The experiment's name and arm, or the folder's name."""
        arm = (self.run.get("config") or {}).get("arm")
        return str(self.run.get("experiment") or self.folder.name) + (f" ({arm})" if arm else "")

    @property
    def settings(self) -> dict[str, str]:
        """Dotted key → value as text, of all that may change a figure; {} where no config is recorded."""
        return {key: value for key, value in flattened(self.run.get("config") or {}).items() if not _is(key, NO_MATTER)}

    @property
    def typed(self) -> dict[str, str]:
        """What its command line set that may change a figure: key, or group of the configuration → value as typed."""
        said = [part.lstrip("+").partition("=") for part in self.run.get("command") or [] if "=" in part]
        told = {key: value for key, _, value in said if not _is(key, NO_MATTER) and not key.startswith("hydra")}
        return _without_seeds(told)

    @property
    def classifies(self) -> bool:
        """Whether its model names classes and finds no particles."""
        return classifies(self.metrics) or classifies(self.info)

    @property
    def seed(self) -> str:
        """The run's seed as text."""
        return str(self.run.get("seed", MISSING))


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of one experiment whose settings differ by seeds alone. letter: A, B, …; name: says what it is."""

    letter: str
    name: str
    runs: tuple[RunFiles, ...]

    def label(self, place: int) -> str:
        """A, or A1, A2, … where there are several."""
        return self.letter if len(self.runs) == 1 else f"{self.letter}{place + 1}"


def groups(runs: Sequence[RunFiles]) -> list[Group]:
    """In the order given, experiments and equal settings brought together."""
    together: dict[str, dict[str, list[RunFiles]]] = {}
    for run in runs:
        settings = json.dumps(_without_seeds(run.settings), sort_keys=True) if run.settings else str(run.folder)
        together.setdefault(run.experiment, {}).setdefault(settings, []).append(run)
    made: list[Group] = []
    for experiment, kinds in together.items():
        names = _names(experiment, [kind[0] for kind in kinds.values()])
        for name, kind in zip(names, kinds.values(), strict=True):
            made.append(Group(_letter(len(made)), name, tuple(kind)))
    return made


def _letter(place: int) -> str:
    """A … Z, AA, AB, …"""
    return (_letter(place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)


# ------------------------------------------------------------------------------------------------- settings


def flattened(config: Mapping[str, Any]) -> dict[str, str]:
    """Nested settings → dotted key: value as text. An empty mapping is a value.

    >>> flattened({"train": {"steps": 3, "crop": {}}, "stages": ["a"]})
    {'train.steps': '3', 'train.crop': '{}', 'stages': '["a"]'}
    """
    return {
        path: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for path, value in leaves(config)
    }


def differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys whose values differ. Below a ``_target_`` that differs, only that: another class has other settings."""
    keys = dict.fromkeys(key for some in settings for key in some)
    found = [key for key in keys if len({some.get(key) for some in settings}) > 1]
    classes = tuple(key.removesuffix("._target_") for key in found if key.endswith("._target_"))
    return [key for key in found if not _is(key.removesuffix("._target_").rpartition(".")[0], classes)]


def _is(key: str, parts: Iterable[str]) -> bool:
    """Whether the key is one of these, or lies below one."""
    return any(key == part or key.startswith(f"{part}.") for part in parts)


def _without_seeds(settings: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in settings.items() if key.rsplit(".", 1)[-1] != "seed"}


def _names(experiment: str, kinds: Sequence[RunFiles]) -> list[str]:
    """The experiment, and where there are several of it, what each sets that the others do not."""
    told = _typed_apart([kind.typed for kind in kinds])
    told = told or _told_apart([_without_seeds(kind.settings) for kind in kinds])
    return [f"{experiment}: {each}" if each else experiment for each in told]


def _typed_apart(typed: Sequence[Mapping[str, str]]) -> list[str]:
    """Of each what its command line sets otherwise (model=mask_rcnn, not the class that this makes); [] where that
    does not tell all apart."""
    everywhere = [key for key in typed[0] if all(key in each for each in typed)]
    shown = _telling([key for key in everywhere if len({each[key] for each in typed}) > 1], typed)
    told = [", ".join(f"{key}={value_text(each[key])}" for key in shown) for each in typed]
    return told if len(set(told)) == len(told) else []


def _told_apart(kinds: Sequence[Mapping[str, str]]) -> list[str]:
    """Of each what it sets that the others do not; some that share that (a class) are told apart among themselves."""
    told_by = {tuple(kind.get(key) for kind in kinds): key for key in reversed(differing(kinds)) if key != "name"}
    keys = list(reversed(told_by.values()))  # of settings that go together, the first
    shown = _telling(keys, kinds)
    more = ", …" if len(keys) > len(shown) else ""
    told = [", ".join(f"{_short(key, keys)}={value_text(kind.get(key))}" for key in shown) for kind in kinds]
    for shared in {text for text in told if 1 < told.count(text) < len(kinds)}:
        places = [place for place, text in enumerate(told) if text == shared]
        for place, own in zip(places, _told_apart([kinds[place] for place in places]), strict=True):
            told[place] = f"{shared}, {own}"
    return [text + more if text else text for text in told]


def _telling(keys: Sequence[str], kinds: Sequence[Mapping[str, str]]) -> list[str]:
    """At most NAMED keys, each the one that tells most kinds apart beside those before it."""
    shown: list[str] = []
    while len(shown) < min(NAMED, len(keys)):
        rest = [key for key in keys if key not in shown]
        shown.append(max(rest, key=lambda key: len({tuple(kind.get(k) for k in [*shown, key]) for kind in kinds})))
    return shown


def _short(key: str, keys: Sequence[str]) -> str:
    """The end of a dotted key that tells it from the others.

    >>> _short("optimizer.lr", ["optimizer.lr", "train.steps"]), _short("a.x.lr", ["a.x.lr", "a.y.lr"])
    ('lr', 'x.lr')
    """
    parts = [part for part in key.split(".") if part != "_target_"]
    others = [[part for part in other.split(".") if part != "_target_"] for other in keys if other != key]
    for length in range(1, len(parts)):
        if all(other[-length:] != parts[-length:] for other in others):
            return ".".join(parts[-length:])
    return ".".join(parts)


def value_text(value: str | None) -> str:
    """A setting as it is shown; of a class its name, long ones cut.

    >>> value_text(None), value_text("tem_seg.generation.recipes.gold_aunp.GoldAuNP")
    ('–', 'GoldAuNP')
    """
    if value is None:
        return MISSING
    if value.startswith(("tem_seg.", "torch.")):
        value = value.rsplit(".", 1)[-1]
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"


# ------------------------------------------------------------------------------------------- what was tested


def reference(groups: Sequence[Group]) -> Group:
    """What the others are held against: the first group that was tested, or the first."""
    return next((group for group in groups if any(run.tested for run in group.runs)), groups[0])


def comparability(first: Group, other: Group) -> str:
    """How the two were tested: ``same`` micrographs, ``redrawn`` by each seed from the same recipe, ``other`` ones.

    ``none``: one of them was not tested at all.
    """
    ours, theirs = ({run.tested for run in group.runs if run.tested} for group in (first, other))
    if not ours or not theirs:
        return "none"
    if len(ours | theirs) == 1:
        return "same"
    families = {_family(run) for group in (first, other) for run in group.runs if run.tested}
    return "redrawn" if len(families) == 1 and None not in families else "other"


def _family(run: RunFiles) -> str | None:
    """What a synthetic test split is drawn from, but for the seed; None where it is read."""
    config = run.run.get("config") or {}
    dataset = config.get("dataset") or {}
    if not config.get("recipe") or (dataset.get("reader") and "test" in (dataset.get("read") or ["test"])):
        return None
    generation = config.get("generation") or {}
    drawn = {"recipe": config["recipe"], "imaging": config.get("imaging"), "classes": dataset.get("classes"),
             "limit": dataset.get("limit"), "size": generation.get("image_size"),
             "count": (generation.get("images") or {}).get("test")}  # fmt: skip
    return json.dumps(_without_seeds(flattened(drawn)), sort_keys=True)
