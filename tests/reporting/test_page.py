"""The page's parts that every template gets."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from compare_scenes import write_dataset, write_run
from jinja2 import UndefinedError

from tem_seg.compare import compare
from tem_seg.reporting.page import page


def test_the_policy_lets_the_pages_own_script_run_and_no_other(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "discs-0123")
    compare([write_run(tmp_path / name, dataset, lr=k) for k, name in enumerate("ab")], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in text
    assert text.index(".figures") < text.index("table.compared"), "styles in the order given"


def test_a_value_that_is_missing_is_no_blank() -> None:
    with pytest.raises(UndefinedError, match="undefined"):
        page("compare.html.j2")
