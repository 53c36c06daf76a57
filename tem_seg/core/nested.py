"""Nested settings and figures, flat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(
    node: Mapping[Any, Any] | list[Any], *, between: str = ".", lists: bool = False
) -> Iterator[tuple[str, Any]]:
    """Every value of nested mappings with the path of its keys, in their order. An empty mapping is a value.

    between: stands between two keys. lists: lists are entered too, by places from 0; else a list is a value.

    >>> list(leaves({"train": {"steps": 3, "crop": {}}, "stages": ["a"]}))
    [('train.steps', 3), ('train.crop', {}), ('stages', ['a'])]
    >>> list(leaves({"bins": [{"n": 10}, {"n": 12}], "flags": []}, between="/", lists=True))
    [('bins/0/n', 10), ('bins/1/n', 12), ('flags', [])]
    """
    for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
        if isinstance(value, (Mapping, list) if lists else Mapping) and value:
            yield from ((f"{key}{between}{path}", leaf) for path, leaf in leaves(value, between=between, lists=lists))
        else:
            yield str(key), value
