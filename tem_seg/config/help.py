"""The text of ``--help``, from the files of conf/ alone: Hydra's own takes a second, and longer with every group."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from textwrap import fill, shorten

USAGE = """\
python -m tem_seg.run experiment=NAME [profile=NAME] [group=option ...] [key=value ...]

Composes a configuration, checks it, and runs its stages in one folder below outputs/runs. Where no CUDA is found and
no profile is named, a local run takes profile=laptop.

Experiments (experiment=NAME)
{experiments}

Profiles (profile=NAME)
{profiles}

Groups (group=option)
{groups}

Examples
  python -m tem_seg.run experiment=gold_aunp                                  all stages
  python -m tem_seg.run experiment=gold_aunp stages=[predict,evaluate] run_dir=outputs/runs/gold_aunp/...
  python -m tem_seg.run experiment=gold_aunp train.steps=300 logger=wandb     any key of the configuration
  python -m tem_seg.run experiment=gold_aunp --cfg job                        shows all keys and their values
  python -m tem_seg.run -m experiment=gold_aunp seed=1,2,3                    one run a value
  python -m tem_seg.run -m experiment=gold_aunp sweep=random                  random search (docs/sweeps.md)
--hydra-help says what Hydra's own flags do.
"""
WIDTH = 120
LISTED = ("experiment", "profile")
HIDDEN = ("paths", "profile_model", "sweep_space")
"""What nobody chooses by name."""


def text(conf: Path) -> str:
    """The help for the groups and options in the folder ``conf``."""
    groups = {folder.name: sorted(folder.glob("*.yaml")) for folder in sorted(conf.iterdir()) if folder.is_dir()}
    experiments, profiles = ("\n".join(_lines(groups.get(name, []))) for name in LISTED)
    others = [
        fill(f"  {name:<14}{', '.join(file.stem for file in files)}", WIDTH, subsequent_indent=" " * 16)
        for name, files in groups.items()
        if files and name not in (*LISTED, *HIDDEN)
    ]
    return USAGE.format(experiments=experiments, profiles=profiles, groups="\n".join(others))


def _lines(files: list[Path]) -> list[str]:
    column = max((len(file.stem) for file in files), default=0) + 4
    return [f"  {file.stem}".ljust(column) + shorten(_about(file), WIDTH - column, placeholder=" …") for file in files]


def _about(file: Path) -> str:
    """The first sentence of the comment at the head of a YAML."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")]
    comment = takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.removeprefix("#").strip() for line in comment).split(". ")[0]
