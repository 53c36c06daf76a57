"""Nested mappings and lists as paths and values."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tem_seg.core.nested import leaves

KEYS = st.text("abc", min_size=1, max_size=3)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text("xyz"))
TREES = st.recursive(VALUES, lambda node: st.dictionaries(KEYS, node) | st.lists(node, max_size=3), max_leaves=20)


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (False, [("a/b", 1), ("a/c", {}), ("d", [{"e": None}, []]), ("f", "text")]),
        (True, [("a/b", 1), ("a/c", {}), ("d/0/e", None), ("d/1", []), ("f", "text")]),
    ],
)
def test_paths_and_values_by_hand(lists: bool, expected: list[tuple[str, Any]]) -> None:
    tree = {"a": {"b": 1, "c": {}}, "d": [{"e": None}, []], "f": "text"}
    assert list(leaves(tree, between="/", lists=lists)) == expected


def test_nothing_has_no_leaves() -> None:
    assert list(leaves({})) == list(leaves([], lists=True)) == []


def test_keys_need_not_be_text() -> None:
    assert list(leaves({1: {2.5: "x"}})) == [("1.2.5", "x")]


@given(tree=st.dictionaries(KEYS, TREES))
def test_every_value_is_found_where_its_path_leads(tree: dict[str, Any]) -> None:
    def step(node: Any, key: str) -> Any:
        return node[int(key)] if isinstance(node, list) else node[key]

    found = list(leaves(tree, lists=True))
    assert len({path for path, _ in found}) == len(found)
    for path, value in found:
        assert reduce(step, path.split("."), tree) is value and (not isinstance(value, (dict, list)) or not value)
