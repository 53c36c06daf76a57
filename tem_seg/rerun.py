"""``python -m tem_seg.rerun RUN_DIR``: a finished run once more, and its figures beside those of then."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tem_seg.config.schema import Config
from tem_seg.core.errors import UserError, user_errors_exit
from tem_seg.core.nested import leaves
from tem_seg.data import atomic
from tem_seg.stages import rundir, runner

SHOWN = 20
"""Figures that differ are all in rerun.json; so many are printed."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exit code 0: every figure is equal; 1: some differ; 2: a fault that the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m tem_seg.rerun", description="Repeats a run and compares.")
    parser.add_argument("run_dir", type=Path, help="a finished run: the folder with its run.json")
    parser.add_argument("--outputs", type=Path, help="folder for the new run; default: where the old one was")
    parser.add_argument(
        "--tolerance", type=float, default=0.0, metavar="SHARE", help="figures that differ by no more count as equal"
    )
    given = parser.parse_args(arguments)
    with user_errors_exit("tem_seg"):
        compared = rerun(given.run_dir, given.outputs, given.tolerance)
    print(compared.text())
    sys.exit(0 if compared.equal else 1)


@dataclass(frozen=True, slots=True)
class Comparison:
    """differs: by name, the figure (then, now). circumstances: what was not the same, a line each."""

    then: Path
    now: Path
    compared: int
    differs: dict[str, tuple[Any, Any]]
    circumstances: list[str]

    @property
    def equal(self) -> bool:
        """Whether there were figures, and all were equal."""
        return self.compared > 0 and not self.differs

    def text(self) -> str:
        """For people."""
        lines = [f"not as it was then: {line}" for line in self.circumstances]
        for name, (then, now) in list(self.differs.items())[:SHOWN]:
            lines.append(f"  {name}: then {_shown(then)}, now {_shown(now)}{_change(then, now)}")
        more = len(self.differs) - SHOWN
        lines += [f"  … and {more} more (rerun.json)"] if more > 0 else []
        told = f"{len(self.differs)} of {self.compared} figures differ" if self.differs else None
        nothing = None if self.compared else "there are no figures to compare: neither run has metrics"
        lines.append(told or nothing or f"all {self.compared} figures are equal")
        return "\n".join(lines)


def rerun(run_dir: Path, outputs: Path | None = None, tolerance: float = 0.0) -> Comparison:
    """Runs what ``run_dir``'s run.json says, in a new directory, and writes rerun.json there.

    Config, seed, back end, precision and thread count are those of then; code, packages and machine those of now.
    tolerance: relative, of the larger of the two. Raises UserError where there is nothing that could be repeated.
    """
    run_dir = run_dir.resolve()
    before = rundir.read(run_dir)
    cfg = config_of(run_dir, before)
    if outputs is not None:
        cfg.paths.outputs = str(outputs.resolve())
    path = runner.carry_out(cfg)
    then, now = (dict(_figures(folder)) for folder in (run_dir, path))
    differs = {
        name: (then.get(name), now.get(name))
        for name in [*then, *(name for name in now if name not in then)]
        if not _same(then.get(name), now.get(name), tolerance)
    }
    compared = Comparison(run_dir, path, len({*then, *now}), differs, circumstances(before, rundir.read(path)))
    atomic.write_json(path / "rerun.json", {
        "of": str(run_dir), "compared": compared.compared, "tolerance": tolerance,
        "differs": {name: list(pair) for name, pair in differs.items()}, "circumstances": compared.circumstances,
    }, indent=1)  # fmt: skip
    return compared


def config_of(run_dir: Path, record: dict[str, Any]) -> DictConfig:
    """The config of a finished run, with what it chose by itself fixed. Raises UserError where there is none."""
    if not record:
        raise UserError(f"{run_dir} has no run.json: give the folder of a run, outputs/runs/<experiment>/<time>-<id>")
    if not record.get("finished"):
        raise UserError(f"{run_dir} is not finished: the command that began it goes on with it, {_typed(record)}")
    try:
        cfg = OmegaConf.merge(OmegaConf.structured(Config), record["config"])
    except OmegaConfBaseException as error:
        raise UserError(
            f"{run_dir}/run.json has a config that this version of tem_seg does not know "
            f"({str(error).splitlines()[0]}): check out the commit that made it, "
            f"{(record.get('git') or {}).get('commit')}"
        ) from error
    assert isinstance(cfg, DictConfig)
    cfg.run_dir = None
    stages = record.get("stages") or {}
    chosen: dict[str, Any] = stages.get("train") or stages.get("predict") or {}
    for key, value in (("precision", chosen.get("precision")), ("threads", chosen.get("threads"))):
        if value is not None:
            cfg.trainer[key] = value
    if "backend" in cfg.model and chosen.get("backend"):
        cfg.model.backend = chosen["backend"]
    return cfg


def circumstances(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What was not the same in two runs beside their config: code, packages, machine, data. One line each."""
    found = []
    commits = [(run.get("git") or {}).get("commit") for run in (then, now)]
    if commits[0] != commits[1]:
        found.append(f"commit {commits[0]} then, {commits[1]} now")
    if (then.get("git") or {}).get("diff") != (now.get("git") or {}).get("diff"):
        found.append("uncommitted changes of the code (git.diff in each run.json)")
    for key in ("packages", "hardware"):
        old, new = (run.get(key) or {} for run in (then, now))
        for name in sorted({*old, *new}):
            if old and old.get(name) != new.get(name):
                found.append(f"{name} {old.get(name)} then, {new.get(name)} now")
    data = [((run.get("stages") or {}).get("generate") or {}).get("data_sha256") or {} for run in (then, now)]
    found += [f"data of split {split}" for split in data[0] if data[0][split] != data[1].get(split)]
    return found


def _figures(run_dir: Path) -> Iterator[tuple[str, Any]]:
    """Every figure of metrics.json, by its path, and of metrics.csv, by step and column."""
    metrics, curves = run_dir / "metrics.json", run_dir / "metrics.csv"
    if metrics.is_file():
        found = leaves(atomic.read_json(metrics), lists=True)
        yield from ((path, value) for path, value in found if not isinstance(value, (dict, list)))  # empty ones
    if curves.is_file():
        table = pd.read_csv(curves, dtype=str, keep_default_na=False).set_index("step")  # each digit as it stands there
        for step, row in table.iterrows():
            yield from ((f"step {step} {name}", float(value)) for name, value in row.items() if value)


def _same(then: Any, now: Any, tolerance: float) -> bool:
    if isinstance(then, float) and isinstance(now, float):
        return math.isclose(then, now, rel_tol=tolerance, abs_tol=0.0) or (math.isnan(then) and math.isnan(now))
    return bool(then == now)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _change(then: Any, now: Any) -> str:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (then, now))
    return f" ({now - then:+.3g})" if numbers else ""


def _typed(record: dict[str, Any]) -> str:
    command = record.get("command") or ["python -m tem_seg.run …"]
    return " ".join(command)


if __name__ == "__main__":
    main()
