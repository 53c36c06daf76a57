"""The peak of memory, of a stage and not of all before it."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from tem_seg.core import provenance

HELD = 300_000_000


@pytest.fixture
def forgets() -> None:
    """Skips where the system does not let a process forget its peak."""
    try:
        provenance.CLEAR_REFS.write_text("5")
    except OSError as error:
        pytest.skip(f"a process cannot forget its peak here: {error}")
    held = np.ones(HELD, np.uint8)
    high = provenance.peak_memory_gb()
    del held
    provenance.CLEAR_REFS.write_text("5")
    if provenance.peak_memory_gb() == high:
        pytest.skip("a process does not forget its peak here, though it may ask for it (/proc/self/clear_refs)")


def test_the_peak_holds_what_was_held() -> None:
    before = provenance.peak_memory_gb()
    held = np.ones(HELD, np.uint8)
    assert provenance.peak_memory_gb() >= max(before, held.nbytes / 1e9)


@pytest.mark.usefixtures("forgets")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives back what it keeps")
def test_what_the_c_library_keeps_of_an_earlier_job_is_no_part_of_the_next_ones() -> None:
    held = [bytearray(b"x" * 60_000) for _ in range(HELD // 60_000)]  # small enough to lie in its heap
    last = bytearray(b"x" * 60_000)  # on top of them, so that the heap does not shrink by itself
    high = provenance.peak_memory_gb()
    del held
    provenance.begin_peak_memory()
    assert provenance.peak_memory_gb() < high - HELD / 2e9 and last


@pytest.mark.usefixtures("forgets")
def test_each_stage_has_a_peak_of_its_own() -> None:
    held = np.ones(HELD, np.uint8)
    high = provenance.peak_memory_gb()
    del held
    provenance.begin_peak_memory()
    assert provenance.peak_memory_gb() < high - HELD / 2e9
