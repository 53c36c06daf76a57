from __future__ import annotations

import subprocess
import sys

import pytest

from tem_seg.core.seeds import child_rng, child_seed


def test_paths_are_told_apart() -> None:
    """numpy pads a SeedSequence with zeros: [7], [7, 0] and [7, 0, 0] are one seed there, and may not be here."""
    paths: list[tuple[str | int, ...]] = [(), (0,), (0, 0), (0, 0, 0), (1,), (1, 0), (0, 1), ("train",), ("train", 0),
                                          ("train", 0, 0), ("val", 0), ("train", 1)]  # fmt: skip
    seeds = {child_seed(seed, *path) for path in paths for seed in (0, 1, 7)}
    assert len(seeds) == 3 * len(paths)


def test_many_children_do_not_collide() -> None:
    assert len({child_seed(0, "train", k) for k in range(20000)}) == 20000


def test_a_seed_fits_a_signed_64_bit_integer() -> None:
    assert all(0 <= child_seed(s, k) < 2**63 for s in (0, 2**63 - 1) for k in range(50))


def test_another_process_draws_the_same() -> None:
    """Python's own hash of a text differs between processes; ours may not."""
    code = "from tem_seg.core.seeds import child_seed; print(child_seed(3, 'train', 17))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) == child_seed(3, "train", 17)


def test_same_path_same_numbers() -> None:
    assert child_rng(5, "noise").random(4).tolist() == child_rng(5, "noise").random(4).tolist()
    assert child_rng(5, "noise").random() != child_rng(6, "noise").random()


def test_negative_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        child_seed(-1)
