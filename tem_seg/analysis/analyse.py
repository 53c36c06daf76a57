"""An analysis from beginning to end: every micrograph in turn, then the tables, the distribution and the report."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from tem_seg.analysis import inputs, one, remarks, tables
from tem_seg.analysis.inputs import Item
from tem_seg.analysis.one import Done, Read
from tem_seg.analysis.segment import Segmenter, load
from tem_seg.analysis.settings import Settings
from tem_seg.core import provenance, seeds
from tem_seg.core.collector import without_collector
from tem_seg.core.errors import UserError
from tem_seg.data import atomic
from tem_seg.measurement import counting
from tem_seg.measurement.counting import Effect
from tem_seg.measurement.particles import write_table
from tem_seg.reporting import numbered

RECORD = "analysis.json"
OURS = (RECORD, "particles.csv", "images.csv", "distribution.json", "arrangement.json", "report.html", "report.pdf",
        one.FOLDER, one.PICTURES)  # fmt: skip
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an analysis came to. particles: those that count; measured: all; effects: of the counting rules;
    distribution, arrangement, record: what the files of these names hold (record: analysis.json)."""

    out: Path
    particles: pd.DataFrame
    measured: pd.DataFrame
    images: pd.DataFrame
    distribution: dict[str, Any]
    arrangement: dict[str, Any]
    effects: list[Effect]
    record: dict[str, Any]
    done: list[Done]


def analyse(
    paths: Sequence[Path], out: Path, settings: Settings, *, progress: Progress = lambda *_: None,
    segmenter: Segmenter | None = None,
) -> Outcome:  # fmt: skip
    """Micrographs → DIR/analysis.json, particles.csv, distribution.json, pictures. progress: done, of how many, name.

    What is there of the same bytes and settings is not done again. Raises UserError for a folder that holds other
    things under our names, for settings that are impossible, and where no micrograph can be read.
    """
    _refuse_foreign(out)
    found = inputs.find(paths, outside=out)
    with without_collector():
        segmenter = segmenter or load(settings.checkpoint, settings.min_score, settings.magnification)
    with _locked(out):
        record = _begun(settings, segmenter, found)
        atomic.write_json(out / RECORD, record, indent=1)
        done, flags = _each(found.items, out, settings, segmenter, progress)
        if not done:
            raise UserError(f"no micrograph could be analysed: {(found.flags + flags)[0]}")
        return _concluded(out, settings, segmenter, done, record, found.flags + flags)


def _refuse_foreign(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder for the results")
    there = [name for name in OURS if (out / name).exists()]
    if there and RECORD not in there:
        raise UserError(f"{out} holds a {there[0]} that is not of tem-seg analyze: give another folder with -o")


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise UserError(f"another tem-seg analyze writes into {out}: wait for it, or give another folder") from None


def _begun(settings: Settings, segmenter: Segmenter, found: inputs.Inputs) -> dict[str, Any]:
    return {
        "command": provenance.command(), "started": datetime.now(UTC).isoformat(timespec="seconds"), "finished": None,
        "settings": asdict(settings), "rules": asdict(settings.rules), "model": segmenter.identity,
        "min_score": segmenter.min_score, "min_score_source": segmenter.score_source,
        "calibration": segmenter.calibration or None, "versions": provenance.versions(),
        "notes": found.notes, "micrographs": [{"name": item.name, "file": str(item.path)} for item in found.items],
    }  # fmt: skip


def _each(
    items: Sequence[Item], out: Path, settings: Settings, segmenter: Segmenter, progress: Progress
) -> tuple[list[Done], list[str]]:
    """One micrograph is read and one is drawn while the model looks at another; no more are held in memory."""
    keys = {"model": segmenter.identity, "calibration": segmenter.calibration, "min_score": segmenter.min_score,
            "rules": asdict(settings.rules), "pixel_size_nm": settings.pixel_size_nm, "colours": settings.colours,
            "strip": settings.strip, "tem_seg": provenance.versions()["tem_seg"]}  # fmt: skip
    done: list[Done] = []
    flags: list[str] = []
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as finisher:
        ahead: collections.deque[Future[Read]] = collections.deque()
        waiting: Future[Done] | None = None
        for place, item in enumerate(items):
            for other in items[place + len(ahead) : place + 2]:
                key = keys | {"frame": other.frame}
                ahead.append(reader.submit(one.read, other, settings.pixel_size_nm, key, out))
            try:
                seen = ahead.popleft().result()
            except UserError as error:
                flags.append(f"not analysed: {error}")
            else:
                step = _look(seen, segmenter, keys | {"frame": item.frame}, out, settings)
                if waiting is not None:
                    done.append(waiting.result())
                waiting = finisher.submit(step)
            progress(place + 1, len(items), item.name)
        if waiting is not None:
            done.append(waiting.result())
    return done, flags


def _look(seen: Read, segmenter: Segmenter, key: dict[str, Any], out: Path, settings: Settings) -> Callable[[], Done]:
    """The model's part, now; the rest as a step for another thread."""
    if seen.micrograph is None:
        return lambda: one.earlier(seen, out)
    rows, capped = (seen.rows, seen.capped) if seen.rows is not None else segmenter(seen.micrograph.pixels)

    def step() -> Done:
        assert seen.micrograph is not None
        finished = one.finish(seen, rows, capped, segmenter.categories, key, out, settings.rules, segmenter.min_score)
        numbered.write(
            out / one.PICTURES, seen.item.stem, seen.micrograph.pixels, rows, finished.table, meaning=settings.colours
        )
        return finished

    return step


def _concluded(
    out: Path, settings: Settings, segmenter: Segmenter, done: Sequence[Done], record: dict[str, Any],
    flags: list[str],
) -> Outcome:  # fmt: skip
    # with fits and tests a second of imports, not needed to begin
    from tem_seg.analysis.results import distribution
    from tem_seg.measurement.arrangement import agglomerate_table, arrangement

    numbers = dict(enumerate(done, start=1))
    records = {number: replace(each.record, id=number) for number, each in numbers.items()}
    measured = tables.together(done)
    frames = {number: (image.height, image.width) for number, image in records.items()}
    particles, effects = counting.apply(measured.drop(columns="left_out"), settings.rules, frames)
    fields, sizes = ({n: getattr(each, name) for n, each in numbers.items()} for name in ("sha256", "pixel_size"))
    told = distribution(particles, fields, sizes, settings)
    covered = {number: each.covered for number, each in numbers.items() if each.covered is not None}
    rng = seeds.child_rng(0, "arrangement")
    lie = arrangement(measured, list(records.values()), covered, rng, settings.rules.border_px)
    images = tables.images(done, particles)
    record = record | {
        "notes": [*record["notes"], *remarks.notes(done)],
        "red_flags": [*flags, *remarks.flags(done, particles, measured, effects)],
        "effects": [effect.to_json() for effect in effects], "measured": len(measured), "counted": len(particles),
        "micrographs": tables.origins(done), "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    tables.write(out, particles, images, told, record)
    write_table(out / "agglomerates.csv", agglomerate_table(measured))
    atomic.write_json(out / "distribution.json", told, indent=1)
    atomic.write_json(out / "arrangement.json", lie)
    atomic.write_json(out / RECORD, record, indent=1)
    return Outcome(out, particles, measured, images, told, lie, effects, record, list(done))
