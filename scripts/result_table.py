"""Tables of results that grow by a line a measurement."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def append(table: Path, fields: Sequence[str], line: Mapping[str, Any]) -> None:
    """Adds a line; the head comes with the first. The folder is made where it is missing."""
    new = not table.is_file()
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(line)
