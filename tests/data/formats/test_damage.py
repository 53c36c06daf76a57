"""Files with random damage: read, or refused with a sentence; never another error."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data.formats.model import Annotated, Source
from tem_seg.data.formats.table import FORMATS, WRITABLE, read, write

ODD: list[Any] = [
    None,
    [],
    {},
    "",
    "x",
    -1,
    0,
    1.5,
    float("nan"),
    10**400,
    [[]],
    [None],
    {"a": None},
    True,
    "\0",
    [1, "a"],
]


def places(node: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        found.append((node, key))
        if isinstance(value, (dict, list)):
            places(value, found)
    return found


def try_read(path: Path) -> None:
    try:
        read(Source(path, size_of=lambda _: (90, 120)))
    except UserError as error:
        said = str(error)
    else:
        return
    assert str(path) in said or "masks" in said


@pytest.mark.parametrize("name", [n for n in WRITABLE if FORMATS[n].suffix in (".json", ".geojson")])
def test_json_with_other_values(name: str, apart: Annotated, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write(name, [apart], path)
    content = json.loads(path.read_text(encoding="utf-8"))
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = copy.deepcopy(content)
        found = places(damaged, [])
        shallow = [place for place in found if not isinstance(place[0], list)] or found
        node, key = shallow[rng.integers(len(shallow))] if rng.random() < 0.7 else found[rng.integers(len(found))]
        if rng.random() < 0.2 and isinstance(node, dict):
            del node[key]
        else:
            node[key] = ODD[rng.integers(len(ODD))]
        path.write_text(json.dumps(damaged), encoding="utf-8")
        try_read(path)


@pytest.mark.parametrize("name", WRITABLE)
def test_changed_and_missing_bytes(name: str, apart: Annotated, tmp_path: Path) -> None:
    path = tmp_path / f"a{FORMATS[name].suffix}"
    write(name, [apart], path)
    sound = path.read_bytes()
    rng = np.random.default_rng(2)
    for _ in range(40):
        damaged = bytearray(sound[: rng.integers(len(sound)) if rng.random() < 0.3 else None])
        for place in rng.integers(max(len(damaged), 1), size=rng.integers(1, 6)):
            if place < len(damaged):
                damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try_read(path)


def test_changed_bytes_of_a_region(apart: Annotated, tmp_path: Path) -> None:
    """Without an archive there is no checksum."""
    from tem_seg.data.formats import imagej

    rng = np.random.default_rng(3)
    for mask in apart.masks:
        sound = imagej.region_of(mask).tobytes()
        for _ in range(60):
            damaged = bytearray(sound)
            for place in rng.integers(4, min(len(sound), 90), size=rng.integers(1, 5)):
                damaged[place] = rng.integers(256)
            (tmp_path / "a.roi").write_bytes(damaged)
            try_read(tmp_path / "a.roi")
