"""What a run directory holds, read for a comparison; its stages may be unfinished and files missing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from tem_seg.core.errors import UserError
from tem_seg.data import atomic, coco
from tem_seg.data import results as results_file
from tem_seg.data.coco import CocoDataset
from tem_seg.data.digest import content_digest
from tem_seg.data.results import classifies
from tem_seg.data.store import canonical
from tem_seg.evaluation.inputs import headline_of
from tem_seg.evaluation.matching import match_dataset
from tem_seg.measurement.particles import read_table
from tem_seg.reporting.compared import RunFiles
from tem_seg.reporting.material import Material
from tem_seg.stages import rundir
from tem_seg.stages.common import DATASETS_FILE, PREDICTION_FILES
from tem_seg.stages.report import matches_of

DEFAULT_SCORE = 0.5
"""Where neither measure nor evaluate has said from which score on a particle counts."""


def read_runs(folders: Sequence[Path]) -> list[RunFiles]:
    """Raises UserError for a folder that is no run directory, one that is given twice, and files that are damaged."""
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if not place.is_dir():
            raise UserError(f"{folder} is no folder: give run directories, outputs/runs/<experiment>/<time>-<id>")
        if not (place / rundir.RUN_FILE).is_file():
            raise UserError(f"{folder} holds no {rundir.RUN_FILE}: it is no run directory{_meant(place)}")
        if places.count(place) > 1:
            raise UserError(f"{folder} is given twice: a run is compared with others")
    dataset = cache(coco.read)  # runs of one experiment share theirs
    digest = cache(_digest)
    return [_read(folder, dataset, digest) for folder in places]


def _meant(place: Path) -> str:
    """A hint where the run directories lie one folder below."""
    below = sorted(path.parent for path in place.glob("*/" + rundir.RUN_FILE))
    return f", but {len(below)} lie in it: {place}/*" if below else ""


def _read(folder: Path, dataset: Any, digest: Any) -> RunFiles:
    run = rundir.read(folder)
    faults: list[str] = []
    metrics: dict[str, Any] = _json(folder / "metrics.json")
    particles, truths = folder / "particles.csv", folder / "particles_truth.csv"
    results, info = _predictions(folder, faults)
    known: dict[str, Any] = {
        "particles": read_table(particles) if particles.is_file() else pd.DataFrame(),
        "truth_particles": read_table(truths) if truths.is_file() else None,
        "metrics": metrics, "curves": _curves(folder / "metrics.csv"), "run": run,
    }  # fmt: skip
    tested = material = None
    if results is not None:
        test = _test(folder, run, info, dataset, faults)
        tested = _tested(folder, run, info, digest)
        if test is not None and not classifies(info):
            material = _material(test, results, known, faults)
    return RunFiles(folder=folder, info=info, tested=tested, material=material, faults=tuple(faults), **known)


def _json(path: Path) -> dict[str, Any]:
    return dict(atomic.read_json(path)) if path.is_file() else {}


def _curves(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.is_file() and path.stat().st_size else pd.DataFrame({"step": []})


def _predictions(folder: Path, faults: list[str]) -> tuple[list[dict[str, Any]] | None, dict[str, Any]]:
    path = folder / PREDICTION_FILES["test"]
    if not path.is_file():
        faults.append("nothing was predicted yet, so it is not shown on micrographs.")
        return None, {}
    return results_file.read(path)


def _test(
    folder: Path, run: dict[str, Any], info: dict[str, Any], dataset: Any, faults: list[str]
) -> CocoDataset | None:
    """The test micrographs that were predicted, as the run's config cuts them; None where they are gone."""
    chosen = (run.get("config") or {}).get("dataset") or {}
    try:
        found: CocoDataset = dataset(_test_path(folder, info))
        return found.of_classes(chosen.get("classes")).subset(chosen.get("limit")).only(info.get("image_ids"))
    except UserError as error:
        faults.append(f"its micrographs cannot be shown: {error}")
        return None


def _test_path(folder: Path, info: dict[str, Any]) -> Path:
    path = _json(folder / DATASETS_FILE).get("test") or info.get("dataset")
    if not path:
        raise UserError(f"neither {folder / DATASETS_FILE} nor predictions.json names a test split")
    return Path(path)


def _tested(folder: Path, run: dict[str, Any], info: dict[str, Any], digest: Any) -> str:
    """The test split's content as recorded (or as it is now), and which of its micrographs and classes."""
    recorded = ((run.get("stages") or {}).get("generate") or {}).get("data_sha256") or {}
    content = recorded.get("test") or digest(_test_path(folder, info))
    what = {"content": content, "images": info.get("image_ids"), "categories": info.get("categories")}
    return hashlib.sha256(canonical(what).encode()).hexdigest()


def _digest(path: Path) -> str:
    """Of the content; of runs whose dataset was not recorded and is gone, the path tells them apart."""
    try:
        return content_digest(path)
    except (UserError, OSError):
        return str(path)


def _material(
    test: CocoDataset, results: list[dict[str, Any]], known: dict[str, Any], faults: list[str]
) -> Material | None:
    """What overlays and size errors are made of; None where predictions do not fit their dataset."""
    agnostic = bool(((known["run"].get("config") or {}).get("evaluation") or {}).get("class_agnostic"))
    try:
        rows = results_file.by_image(results, [image.id for image in test.images])
        kind = headline_of(test, results)
        matchings = match_dataset(test, results, iou_type=kind, class_agnostic=agnostic) if test.count else None
    except UserError as error:
        faults.append(f"its predictions cannot be shown: {error}")
        return None
    matches = matches_of(matchings, results) if matchings is not None else None
    return Material(test, rows, matches, score=_score(known["run"], known["metrics"]), **known)


def _score(run: dict[str, Any], metrics: dict[str, Any]) -> float:
    """From which score on a particle counts in this run: what was measured, else what was evaluated."""
    measured = ((run.get("stages") or {}).get("measure") or {}).get("min_score")
    scored = metrics.get("at_iou50") or {}
    chosen = scored.get("best") or scored.get("fixed") or {}
    return float(measured if measured is not None else chosen.get("score") or DEFAULT_SCORE)
