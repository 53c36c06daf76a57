"""Annotated real micrographs that recipes take their material from: substrates, particles, or whole images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Instances, Micrograph, Modality
from tem_seg.data.images import read_micrograph
from tem_seg.data.readers.protocol import Reader, check_split

EXTRAS = ("group_id", "sequence_id", "frame")


@dataclass(frozen=True)
class RealImages:
    """Some or all images of a reader's split, in a fixed order.

    images: how many, drawn by ``seed``; null: all. With one seed a smaller number is a part of a larger one.
    """

    reader: Reader
    split: str = "train"
    images: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_split(self.reader, self.split)
        if self.images is not None and not self.images > 0:
            raise UserError(f"RealImages.images must be a number of at least 1, or null for all, got {self.images}")

    @cached_property
    def items(self) -> list[tuple[dict[str, Any], Instances]]:
        """(COCO image entry, its particles) of the chosen images; pixels are not read."""
        found = list(self.reader.read(self.split))
        if any(instances.has_boxes_only for _, instances in found):
            raise UserError(f"particles of boxes cannot be cut out, masks are needed: {self.reader.identity()}")
        if self.images is None:
            return found
        if self.images > len(found):
            raise UserError(
                f"RealImages.images asks for {self.images} images, but split {self.split!r} holds {len(found)}: "
                f"{self.reader.identity()}"
            )
        order = child_rng(self.seed, "real images", self.split).permutation(len(found))
        return [found[i] for i in sorted(order[: self.images])]

    def __len__(self) -> int:
        return len(self.items)

    def micrograph(self, index: int) -> Micrograph:
        """Image ``index`` as the file has it."""
        entry = self.items[index][0]
        pixels = read_micrograph(Path(entry["file_name"])).pixels
        modality = Modality(entry.get("modality", Modality.UNKNOWN))
        return Micrograph(pixels, entry.get("pixel_size_nm"), entry.get("pixel_size_source"), modality)

    def at(
        self, number: int, categories: tuple[str, ...]
    ) -> tuple[Micrograph, Instances, NDArray[np.bool_] | None, dict[str, Any], Path]:
        """What render.Drawn holds, of image ``number`` modulo their number; labels are positions in categories."""
        index = number % len(self.items)
        entry, instances = self.items[index]
        labels = np.array([categories.index(self.reader.categories[i]) for i in instances.labels], np.int64)
        instances = Instances(
            instances.size, labels, instances.segmentations, instances.full_segmentations, instances.truths
        )
        keys = {key: entry[key] for key in EXTRAS if key in entry}
        return self.micrograph(index), instances, None, keys, Path(entry["file_name"])

    def identity(self) -> dict[str, Any]:
        """What the images depend on, JSON-able; their place, since files that are used whole stay there."""
        place = {"place": str(getattr(self.reader, "root", "")), "reader": self.reader.identity()}
        return place | {"split": self.split, "images": self.images, "seed": self.seed}


def grey_levels(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """8-bit pictures as they are; others scaled so that their 99.9 percentile is 230, and nothing is negative.

    Black stays black: transmission is a ratio, which a stretch from the darkest pixel would change.
    """
    if pixels.min() >= 0 and pixels.max() <= 255 and pixels.max() > 1:
        return pixels
    above = pixels - min(float(pixels.min()), 0.0)
    scale = np.float32(230.0 / max(float(np.percentile(above, 99.9)), 1e-12))
    return np.asarray(np.minimum(above * scale, np.float32(255.0)), np.float32)
