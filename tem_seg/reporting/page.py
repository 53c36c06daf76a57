"""One HTML page that opens offline: a template of templates/ with styles and script inside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tem_seg.reporting import tables

SCRIPT = "report.js"


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One large number. note says n and the conditions under which it holds."""

    label: str
    value: str
    note: str


def page(template: str, styles: Sequence[str] = ("report.css",), **values: Any) -> str:
    """The template filled in. It also gets script, script_hash (for its Content-Security-Policy) and style."""
    environment = Environment(
        loader=PackageLoader("tem_seg.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = tables.cell
    script = _source(environment, SCRIPT)
    return environment.get_template(template).render(
        **values,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup("\n").join(_source(environment, name) for name in styles),
    )


def _source(environment: Environment, name: str) -> Markup:
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])
