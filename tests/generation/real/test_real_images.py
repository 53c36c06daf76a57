from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from real_scenes import Discs

from tem_seg.core.errors import UserError
from tem_seg.generation.real.images import RealImages


def test_a_smaller_number_is_a_part_of_a_larger_one_and_depends_on_the_seed(tmp_path: Path) -> None:
    reader = Discs(tmp_path, count=10)

    def names(images: int | None, seed: int) -> list[str]:
        return [Path(entry["file_name"]).stem for entry, _ in RealImages(reader, images=images, seed=seed).items]

    assert len(names(None, 0)) == 10 and names(4, 3) == names(4, 3)
    for seed in range(5):
        assert set(names(3, seed)) < set(names(7, seed))
    assert len({tuple(names(3, seed)) for seed in range(5)}) > 1


def test_images_come_again_when_they_run_out_with_their_file_and_group(tmp_path: Path) -> None:
    images = RealImages(Discs(tmp_path, count=3))
    micrograph, instances, sampled, keys, path = images.at(4, ("dirt", "particle"))
    assert path == tmp_path / "1.png" and keys == {"group_id": "paper-1"} and sampled is None
    assert micrograph.pixels.shape == (120, 160) and micrograph.modality == "bright_field"
    np.testing.assert_array_equal(instances.labels, [1, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "val"}, "no split 'val': there are train, test"),
        ({"images": 0}, "RealImages.images must be a number of at least 1, or null for all, got 0"),
    ],
)
def test_bad_values(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RealImages(Discs(tmp_path), **changes)  # type: ignore[arg-type]


def test_more_images_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="RealImages.images asks for 5 images, but split 'train' holds 4"):
        _ = RealImages(Discs(tmp_path), images=5).items
