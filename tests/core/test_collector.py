"""The garbage collector rests inside, and is as before afterwards."""

from __future__ import annotations

import gc

import pytest

from tem_seg.core.collector import without_collector


def test_it_rests_and_comes_back() -> None:
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    with without_collector():
        assert not gc.isenabled()
    with pytest.raises(ZeroDivisionError), without_collector():
        _ = 1 / 0
    assert gc.isenabled() and gc.get_freeze_count() == frozen, "what a caller holds is collected as before"


def test_one_that_rests_already_goes_on_resting() -> None:
    gc.disable()
    try:
        with without_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
