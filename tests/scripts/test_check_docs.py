"""scripts/check_docs.py on small projects with one fault each, and on this one."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "check_docs.py"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A Makefile, one config group, one module, a page docs/more.md with a heading."""
    (tmp_path / "Makefile").write_text(".PHONY: demo\ndemo: setup ## all\n\techo\nsetup:\n")
    for name in ("conf/experiment/gold.yaml", "conf/profile/laptop.yaml", "tem_seg/data/coco.py", "docs/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "docs" / "more.md").write_text("# Sizes, in `nm`!\n\n```\n# no heading\n```\n")
    return tmp_path


def faults(project: Path, text: str) -> list[str]:
    """Faults of a README.md of this text."""
    (project / "README.md").write_text(text)
    return SCRIPT["check"](project)[1]


@pytest.mark.parametrize("text", [
    "",
    "[more](docs/more.md) ![picture](docs/a.png) [web](https://x.org/y) [mail](mailto:a@b.c)",
    "[part](docs/more.md#sizes-in-nm) [own](#title)\n# Title",
    "`tem_seg/data/coco.py`, tem_seg/data/coco.py. conf/experiment, `conf/model*/x`, conf/<group>/<name>.yaml",
    "`../shared/docs/none.md` and outputs/conf/none.yaml are not ours",
    "`make demo`, `make PYTHON=python3.12 setup`\n```\nmake demo   # make coffee\n```",
    "make coffee is prose",
    "`python -m tem_seg.run experiment=gold,gold profile=laptop train.steps=3 seed=1,2 profile=null`",
    "`conf/experiment/my_rods.yaml`, `experiment=my_rods`, `experiment=NAME`",
    "`[a](none.md)` is code\n~~~\n[b](none.md)\n~~~",
])  # fmt: skip
def test_what_is_there_passes(project: Path, text: str) -> None:
    assert faults(project, text) == []


@pytest.mark.parametrize(("text", "expected"), [
    ("[x](docs/none.md)", "link to docs/none.md, which does not exist"),
    ("![x](none.png 'title')", "link to none.png"),
    ("[x](docs/more.md#no-heading)", "more.md has no such heading"),
    ("[x](#nowhere)", "README.md has no such heading"),
    ("see tem_seg/data/cocoa.py.", "tem_seg/data/cocoa.py does not exist"),
    ("```\npython scripts/none.py\n```", "scripts/none.py does not exist"),
    ("`make coffee`", "make coffee: no such target"),
    ("```\ncd x && make demo coffee\n```", "make coffee: no such target"),
    ("`experiment=golf`", "experiment=golf: conf/experiment has gold, null"),
    ("`-m experiment=gold,golf`", "experiment=golf"),
    ("```\npython -m tem_seg.run profile=desktop\n```", "profile=desktop: conf/profile has laptop, null"),
])  # fmt: skip
def test_what_is_missing_is_named_with_its_line(project: Path, text: str, expected: str) -> None:
    found = faults(project, f"one\n{text}")
    assert len(found) == 1
    assert expected in found[0]
    assert found[0].startswith("README.md:2:" if "```" not in text else "README.md:3:")


def test_links_are_relative_to_their_page_and_folders_are_searched(project: Path) -> None:
    (project / "docs" / "results").mkdir()
    (project / "docs" / "results" / "run.md").write_text("[up](../more.md) [wrong](docs/more.md)")
    pages, found = SCRIPT["check"](project)
    assert [page.name for page in pages] == ["more.md", "run.md"]
    assert found == ["docs/results/run.md:1: link to docs/more.md, which does not exist"]


def test_exit_code_and_output(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert SCRIPT["main"](project) == 0
    assert "1 pages" in capsys.readouterr().out
    (project / "README.md").write_text("[x](none.md)")
    assert SCRIPT["main"](project) == 1
    assert capsys.readouterr().err == "README.md:1: link to none.md, which does not exist\n"


def test_this_project_has_no_fault() -> None:
    pages, found = SCRIPT["check"](ROOT)
    assert found == []
    assert {"README.md", "architecture.md", "conventions.md", "results-format.md"} <= {page.name for page in pages}
