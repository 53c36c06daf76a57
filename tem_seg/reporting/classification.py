"""report.html of a classifier: figures with their n, the confusion matrix, learning curves, the paper beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from tem_seg.data.atomic import write_text
from tem_seg.reporting import plots, tables
from tem_seg.reporting.made import backend, made
from tem_seg.reporting.page import KeyFigure, page
from tem_seg.reporting.paper import paper

STARTS = {"none": "random weights", "imagenet": "ImageNet's weights"}
SHARES = {"balanced_accuracy": "Balanced accuracy", "accuracy": "Accuracy"}
CLASS_COLUMNS = {"n": "n", "n_predicted": "n predicted", "precision": "precision", "recall": "recall", "f1": "F1"}
SPLIT_COLUMNS = {
    "n": "n",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "log_loss": "log loss (nat)",
}


def build_classification_report(
    run_dir: Path, *, metrics: dict[str, Any], curves: pd.DataFrame, run: dict[str, Any]
) -> Path:
    """Writes ``run_dir/report.html`` (atomically) and returns its path.

    metrics: metrics.json of a classifier. curves: metrics.csv with a column ``step``, may be empty. run: run.json.
    """
    path = run_dir / "report.html"
    text = page(
        "classification.html.j2",
        title=str(run.get("experiment") or "tem_seg run"),
        head=_head(metrics, run),
        flags=metrics["red_flags"],
        notes=_notes(metrics),
        key_figures=_key_figures(metrics),
        matrices=_matrices(metrics),
        metric_tables=metric_tables(metrics),
        micrographs=_of_micrographs(metrics.get("micrographs"), "the particles of each"),
        paper=paper(run, metrics),
        training=plots.training_curves(curves),
        made=made(run),
    )
    write_text(path, text)
    return path


def named_shapes(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """A report's section on the classes that a classifier gave the particles found; None where none did."""
    return _of_micrographs(metrics.get("shapes"), "the particles found in each")


def _of_micrographs(known: dict[str, Any] | None, whose: str) -> dict[str, Any] | None:
    """A section on micrographs whose class is what most of their particles were given; None where there is none."""
    if known is None:
        return None
    nothing = known["n_nothing_found"]
    said = [
        f"Of {known['n']:,} micrographs, the class that most of {whose} were given, against the one that most "
        "annotated ones have.",
        *(f"{name} {tables.cell(known[key], 3).text} ({_between(known, key)})." for key, name in SHARES.items()),
        f"Nothing was found in {nothing:,}: counted as wrong." if nothing else "",
        *(_sentence(flag) for flag in known["red_flags"]),
    ]
    return {
        "said": " ".join(sentence for sentence in said if sentence), "matrices": _matrices(known),
        "tables": metric_tables(known)[:1],
    }  # fmt: skip


def _matrices(metrics: dict[str, Any]) -> list[Markup]:
    return [confusion_matrix(metrics["confusion"], normalised=share) for share in (True, False)]


def metric_tables(metrics: dict[str, Any]) -> list[tables.Table]:
    """By class, and of each split."""
    classes = [(name, found) for name, found in metrics["per_class"].items()]
    splits = [("test", metrics), *((name, found) for name, found in metrics.get("splits", {}).items())]
    note = f" {_sentence(metrics['labels_note'])}" if metrics.get("labels_note") else ""
    return [
        tables.from_records(f"Of each class, test split.{note}", CLASS_COLUMNS, classes, "class"),
        tables.from_records(f"Of each split.{note}", SPLIT_COLUMNS, splits, "split"),
    ]


def confusion_matrix(confusion: dict[str, Any], *, normalised: bool) -> Markup:
    """True class (rows) against predicted class; shares of each row, or counts."""
    names, counts = confusion["classes"], np.array(confusion["counts"], np.float64)
    shares = np.array([plots.floats(row) for row in confusion["normalised"]])
    total = counts.sum(axis=1).astype(int)

    def draw(axes: Axes) -> None:
        axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1.4, aspect="equal")
        for row, column in np.ndindex(*counts.shape):
            share = shares[row, column]
            text = tables.cell(float(share), 2).text if normalised else f"{int(counts[row, column])}"
            axes.text(column, row, text, ha="center", va="center", color="black" if not share > 0.8 else "white")
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), [f"{name}\nn = {n}" for name, n in zip(names, total, strict=True)])
        axes.set(xlabel="predicted", ylabel="true")
        axes.grid(visible=False)

    kind = "Row-normalised confusion matrix" if normalised else "Confusion matrix, counts"
    told = "; ".join(f"{name}: {row}" for name, row in zip(names, confusion["counts"], strict=True))
    return plots.chart(draw, f"{kind} of {int(total.sum())} samples, true class: predicted {', '.join(names)}. {told}")


def _head(metrics: dict[str, Any], run: dict[str, Any]) -> list[tuple[str, str]]:
    facts = {
        "network": metrics.get("backbone"), "start": start(metrics), "back end": backend(run),
        "profile": run.get("profile"), "started": run.get("started"), "micrographs": f"{metrics['n_images']:,}",
    }  # fmt: skip
    return [(name, str(value or "not recorded")) for name, value in facts.items()]


def start(metrics: dict[str, Any]) -> str | None:
    """Where the training started from, in words."""
    named = metrics.get("start")
    return None if named is None else STARTS.get(named, f"the checkpoint {named}")


def _notes(metrics: dict[str, Any]) -> list[str]:
    notes = [metrics.get("labels_note"), metrics.get("interval_note")]
    if metrics["n_without_class"]:
        notes.append(f"{metrics['n_without_class']:,} micrographs hold no particle, so they have no class: not scored")
    return [_sentence(note) for note in notes if note]


def _key_figures(metrics: dict[str, Any]) -> list[KeyFigure]:
    things = {"image": "micrographs", "particle": "particles"}[metrics["level"]]
    counts = ", ".join(f"{found['n']} {name}" for name, found in metrics["per_class"].items())
    majority = metrics["majority"]
    return [
        _figure("Balanced accuracy", metrics, "balanced_accuracy", f"n = {metrics['n']:,} {things}: {counts}"),
        _figure("Accuracy", metrics, "accuracy", f"n = {metrics['n']:,} {things}"),
        KeyFigure("Always the commonest", tables.cell(majority["accuracy"], 3).text,
                  f"accuracy of saying {majority['class']} of everything; balanced accuracy "
                  f"{tables.cell(majority['balanced_accuracy'], 3).text}"),
    ]  # fmt: skip


def _figure(label: str, metrics: dict[str, Any], key: str, n: str) -> KeyFigure:
    said = (_between(metrics, key), n, metrics.get("labels_note"))
    return KeyFigure(label, tables.cell(metrics[key], 3).text, "; ".join(text for text in said if text))


def _between(metrics: dict[str, Any], key: str) -> str:
    """The interval of a figure; "" where there is none."""
    interval = metrics[f"{key}_interval"]
    if interval is None:
        return ""
    return f"{metrics['interval_level']:.0%} interval {interval[0]:.3f} to {interval[1]:.3f}"


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."
