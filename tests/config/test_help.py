"""``--help``: every choice of conf/, in lines that fit a terminal, without composing anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tem_seg import run
from tem_seg.config import check, help


def test_help_names_every_option_of_every_group_that_one_chooses() -> None:
    shown = help.text(check.config_folder())
    for file in check.config_folder().glob("*/*.yaml"):
        if file.parent.name not in help.HIDDEN:
            assert f" {file.stem}" in shown, file
    assert max(map(len, shown.splitlines())) <= 120


def test_help_shows_the_first_sentence_of_a_file(tmp_path: Path) -> None:
    for group, name, content in (
        ("experiment", "rods", "# @package _global_\n# Rods on\n# carbon. More of them.\nname: rods\n# later\n"),
        ("experiment", "bare", "name: bare\n"),
        ("profile", "big", f"# {'word ' * 60}\n"),
        ("model", "unet", ""),
    ):
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / f"{name}.yaml").write_text(content, encoding="utf-8")
    lines = help.text(tmp_path).splitlines()
    assert "  rods  Rods on carbon" in lines
    assert "  bare" in [line.rstrip() for line in lines]
    assert next(line for line in lines if line.startswith("  big")).endswith("word …")
    assert "  model         unet" in lines


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_the_command_prints_help_and_starts_nothing(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    run.main(["experiment=gold_aunp", flag])
    assert capsys.readouterr().out == help.text(check.config_folder())
