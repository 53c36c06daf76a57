"""The peak of memory, of a stage and not of all before it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tem_seg.core import provenance

HELD = 300_000_000


def test_the_peak_holds_what_was_held() -> None:
    before = provenance.peak_memory_gb()
    held = np.ones(HELD, np.uint8)
    assert provenance.peak_memory_gb() >= max(before, held.nbytes / 1e9)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_each_stage_has_a_peak_of_its_own() -> None:
    held = np.ones(HELD, np.uint8)
    high = provenance.peak_memory_gb()
    del held
    provenance.begin_peak_memory()
    if provenance.peak_memory_gb() == high:
        pytest.skip("this system does not let a process forget its peak (/proc/self/clear_refs)")
    assert provenance.peak_memory_gb() < high - HELD / 2e9
