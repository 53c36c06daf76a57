"""What the paper of an experiment reports, beside what this run reached: from run.json and metrics.json alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tem_seg.data.results import classifies
from tem_seg.reporting import tables

COLUMNS = ("figure", "paper", "n in the paper", "held against", "this run", "n here")
WORDS = {
    "splits": "", "per_class": "", "fixed": "", "best": "score chosen on validation", "train": "training split",
    "val": "validation split", "at_iou50": "IoU 0.5", "whole_image": "", "micrographs": "of micrographs",
    **tables.KINDS,
}  # fmt: skip
"""Parts of a place in metrics.json; what has no word is left out."""


@dataclass(frozen=True, slots=True)
class Held:
    """One figure of the paper against one of this run. Either is None where there is no such figure."""

    what: str
    theirs: float | None
    their_n: str
    of: str
    ours: float | None
    our_n: str
    against: str | None


@dataclass(frozen=True, slots=True)
class PaperPart:
    """source: the paper. stand_in: what this run was measured on instead of the paper's data, None: on that data."""

    source: str
    stand_in: str | None
    table: tables.Table | None


def paper(run: dict[str, Any], metrics: dict[str, Any]) -> PaperPart | None:
    """Of the configuration in run.json and of metrics.json; None where the experiment is of no paper."""
    said = _said(run)
    if not said.get("source"):
        return None
    rows = tuple(_row(one, metrics) for one in held(run, metrics))
    caption = "The paper's figures and this run's."
    return PaperPart(said["source"], said.get("stand_in"), tables.Table(caption, COLUMNS, rows) if rows else None)


def _row(one: Held, metrics: dict[str, Any]) -> tuple[tables.Cell, ...]:
    cell = tables.cell
    of = label(one.of, metrics)
    return cell(one.what), cell(one.theirs), cell(one.their_n), cell(of), cell(one.ours, 3), cell(one.our_n)


def held(run: dict[str, Any], metrics: dict[str, Any]) -> Iterator[Held]:
    """Every figure of the paper with every one of this run that it is held against.

    Papers' classifiers are of micrographs: of one of particles ``micrographs`` of metrics.json is taken.
    """
    for figure in _said(run).get("reports") or []:
        for place in figure["of"]:
            of = f"micrographs.{place}" if "micrographs" in metrics else place
            ours, n = figure_at(metrics, of), _n(metrics, of)
            yield Held(figure["what"], figure["value"], figure["n"], of, ours, n, figure.get("against"))


def figure_at(metrics: dict[str, Any], place: str) -> float | None:
    """metrics.json at a dotted place, e.g. "splits.train.ap"; None where nothing stands there.

    >>> figure_at({"segm": {"ap": 0.5}}, "segm.ap"), figure_at({"segm": None}, "segm.ap")
    (0.5, None)
    """
    found = _at(metrics, place.split("."))
    return float(found) if isinstance(found, (int, float)) else None


def label(place: str, metrics: dict[str, Any]) -> str:
    """A dotted place of metrics.json in words, with its threshold.

    >>> label("segm_at_score.ap50", {"segm_at_score": {"score": 0.9}})
    'AP50, masks, score ≥ 0.9'
    >>> label("splits.train.ap", {}), label("segm.per_class.hole.ap", {})
    ('AP, training split', 'AP, masks, hole')
    """
    *parts, last = place.split(".")
    words = [{**tables.AP_COLUMNS, **tables.COUNT_COLUMNS, **tables.WHOLE_IMAGE_COLUMNS}.get(last, last)]
    for index, part in enumerate(parts):
        score = None if part == "best" else figure_at(metrics, ".".join([*parts[: index + 1], "score"]))
        words += [*_words(part), *([] if score is None else [f"score ≥ {score:.3g}"])]
    return ", ".join(words)


def _words(part: str) -> list[str]:
    word = WORDS.get(part.removesuffix("_at_score"), part)
    return [word] if word else []


def _n(metrics: dict[str, Any], place: str) -> str:
    """What a figure of this run was measured on."""
    parts = place.split(".")
    of = _at(metrics, parts[:2]) if parts[0] == "splits" else metrics
    if parts[0] == "micrographs" and isinstance(metrics.get("micrographs"), dict):
        return f"{tables.cell(metrics['micrographs']['n']).text} micrographs"
    if isinstance(of, dict) and classifies(metrics):
        return f"{tables.cell(of['n']).text} {metrics['level']}s in {tables.cell(of['n_images']).text} micrographs"
    if not isinstance(of, dict) or of.get("n_truths") is None:
        return tables.UNDEFINED
    particles = of["n_truths"]
    if "per_class" in parts:
        particles = _at(metrics, [*parts[:-1], "n_truths"])
    return f"{tables.cell(of.get('n_images')).text} micrographs, {tables.cell(particles).text} particles"


def _at(metrics: Any, keys: list[str]) -> Any:
    for key in keys:
        metrics = metrics.get(key) if isinstance(metrics, dict) else None
    return metrics


def _said(run: dict[str, Any]) -> dict[str, Any]:
    config = run.get("config")
    return dict(config.get("paper") or {}) if isinstance(config, dict) else {}  # of other programs it may be a text
