"""Real micrographs to hold each recipe against. Test splits are for reported figures: they are not looked at here."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from realism_measures import Image

from tem_seg.core.errors import UserError
from tem_seg.core.types import Rle
from tem_seg.data import rle
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.data.readers.emps import Emps


@dataclass(frozen=True)
class Looked:
    """A micrograph as models see it; particles (H, W): where they are, if known; group: what shares an origin."""

    pixels: Image
    particles: NDArray[np.bool_] | None
    group: str


@dataclass(frozen=True)
class EmpsImages:
    """Training micrographs of EMPS (its test split is for reported figures); faint: the half with less contrast."""

    shape: str
    modality: str
    faint: bool = False

    def __call__(self, data: Path) -> list[Looked]:
        """All of them, spread over the dataset."""
        found = list(Emps(data / "emps", shape=self.shape, modality=self.modality).read("train"))
        looked = [_looked(Path(image["file_name"]), None, found.segmentations, str(image["group_id"]))
                  for image, found in found]  # fmt: skip
        if self.faint:
            looked = sorted(looked, key=_contrast)[: len(looked) // 2]
        return looked

    def __str__(self) -> str:
        return f"EMPS train, {self.shape}, {self.modality}" + (", fainter half" if self.faint else "")


@dataclass(frozen=True)
class Folder:
    """Files of a pattern below the data folder. rows: from the top (an info bar follows); without: left out."""

    pattern: str
    rows: int | None = None
    without: tuple[str, ...] = ()
    one_group: bool = False

    def __call__(self, data: Path) -> list[Looked]:
        """All of them; one_group: frames of one video."""
        paths = [Path(p) for p in sorted(glob.glob(str(data / self.pattern))) if Path(p).stem not in self.without]
        if not paths:
            raise UserError(f"no micrograph at {data / self.pattern}")
        return [_looked(path, self.rows, [], "all" if self.one_group else path.stem) for path in paths]

    def __str__(self) -> str:
        return self.pattern


REAL: dict[str, EmpsImages | Folder] = {
    "gold_aunp": EmpsImages("spherical", "bright_field"),
    "polylatex_silica": EmpsImages("spherical", "bright_field", faint=True),
    "nanorods_haadf": EmpsImages("rod", "sem_or_dark_field"),
    "vesicles": Folder("vesicles/*/*.jpg", without=("sample_vis",)),  # sample_vis has outlines burnt in
    "sem_agglomerates": Folder("bam_tio2/SEM/*.tif", rows=704),
    "tsem_agglomerates": Folder("bam_tio2/TSEM/*.tif", rows=704),
    "catalyst_haadf": Folder("stem_catalysts/images/*.jpg", without=("PtC1", "PtCo1", "PtCo3")),
    "insitu_video": Folder("insitu_sintering/train/images/*.png"),
}  # fmt: skip
"""Real micrographs of each experiment's kind. Without bright-field ones where the recipe draws dark field."""


def _looked(path: Path, rows: int | None, masks: list[Rle], group: str) -> Looked:
    pixels = normalise(read_micrograph(path).pixels[:rows])
    return Looked(pixels, union(masks, pixels.shape) if masks else None, group)


def union(masks: list[Rle], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(H, W): pixels of any of the masks."""
    covered = np.zeros(shape, bool)
    for mask in masks:
        crop, x0, y0 = rle.decode_crop(mask)
        covered[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]] |= crop
    return covered


def _contrast(one: Looked) -> float:
    assert one.particles is not None
    return abs(float(one.pixels[one.particles].mean() - one.pixels[~one.particles].mean()))
