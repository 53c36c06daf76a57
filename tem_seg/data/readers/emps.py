"""EMPS: 465 micrographs from journals with 11,535 particles (Yildirim & Cole 2021, doi:10.1021/acs.jcim.0c01455).

Annotations are taken as they are: 26 particles have fewer than 20 px (the smallest 7), 59 are in several pieces
(something lies across them) and stay one particle, and ids need not be consecutive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.core.types import Instances, Modality
from tem_seg.data import rle
from tem_seg.data.images import read_micrograph
from tem_seg.data.readers.protocol import check_split
from tem_seg.data.split import split_by_group

NEEDED = ("images", "segmaps", "train.csv", "test.csv", "metadata.csv")
SHAPES = ("spherical", "cubic", "rod", "other")
GROUPS = ("black", "gray", "ordered_rods")
GROUPS_FILE = Path(__file__).with_name("emps_groups.csv")
# shapes.csv knows the sign of the contrast only: dark particles are bright field, bright ones SEM or dark field
CONTRASTS = {"bright_field": "TEM-bright-field", "sem_or_dark_field": "SEM/dark-field"}
MODALITIES = {"TEM-bright-field": Modality.BRIGHT_FIELD, "SEM/dark-field": Modality.UNKNOWN}


class Emps:
    """Reader of the EMPS folder ``root``: official test split, validation part carved out of train by DOI.

    validation_fraction: share of the official train images that validate; a paper's images stay together. The parts
    are made before any filter, so an image is in the same part under every filter.
    shape: only images of that class (spherical, cubic, rod, other); modality: bright_field or sem_or_dark_field.
    by_shape: the shapes, but "other", are the categories, and each particle is of its image's: what a classifier
    learns from; images of other shapes are left out. About nine in ten of these labels are right.
    All three need shapes.csv, which this project made from the masks; without it every image is of unknown modality.
    group: only images of that group of emps_groups.csv beside this file (black, gray, ordered_rods: paper 003's, by the
    rule of scripts/emps_groups.py). one_image: with a group, a seed: train is one image of the group's train part,
    another one for every seed from 0 on, test are all others; the validation part is left out.
    pixel_size_nm: EMPS states none, so lengths are in px unless this is given (one value for all images).
    """

    splits: tuple[str, ...] = ("train", "val", "test")

    def __init__(
        self,
        root: str | Path,
        validation_fraction: float = 0.15,
        shape: str | None = None,
        modality: str | None = None,
        pixel_size_nm: float | None = None,
        group: str | None = None,
        one_image: int | None = None,
        by_shape: bool = False,
    ) -> None:
        for name, value, allowed in (("shape", shape, SHAPES), ("modality", modality, tuple(CONTRASTS))):
            if value is not None and value not in allowed:
                raise UserError(f"emps: {name} must be one of {', '.join(allowed)} or null, got {value!r}")
        if group is not None and group not in GROUPS:
            raise UserError(f"emps: group must be one of {', '.join(GROUPS)} or null, got {group!r}")
        if one_image is not None and group is None:
            raise UserError(
                f"emps: one_image={one_image} draws an image of a group: give group, or leave one_image out"
            )
        if not 0 < validation_fraction < 1:
            raise UserError(f"emps: validation_fraction must lie between 0 and 1, got {validation_fraction}")
        if pixel_size_nm is not None and not 0 < pixel_size_nm < float("inf"):
            raise UserError(f"emps: pixel_size_nm must be positive, got {pixel_size_nm}")
        if by_shape and shape == "other":
            raise UserError("emps: by_shape leaves out the images of other shapes, and shape=other the rest: drop one")
        self.root = Path(root)
        self.by_shape = by_shape
        self.categories: tuple[str, ...] = SHAPES[:-1] if by_shape else ("particle",)
        self.validation_fraction = validation_fraction
        self.shape, self.modality, self.pixel_size_nm = shape, modality, pixel_size_nm
        self.group, self.one_image = group, one_image
        if one_image is not None:
            self.splits = ("train", "test")

    def identity(self) -> dict[str, Any]:
        """Parameters, the tables' bytes, and name and length of every picture."""
        self._check_files()
        digest = hashlib.sha256()
        for path in (p for p in (*map(self.root.joinpath, NEEDED[2:]), self.root / "shapes.csv") if p.is_file()):
            digest.update(path.name.encode() + path.read_bytes())
        for path in sorted(p for folder in NEEDED[:2] for p in (self.root / folder).glob("*.png")):
            digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size}\n".encode())
        return (
            {
                "dataset": "emps",
                "validation_fraction": self.validation_fraction,
                "shape": self.shape,
                "modality": self.modality,
                "pixel_size_nm": self.pixel_size_nm,
                "files": digest.hexdigest(),
            }
            | ({} if self.group is None else {"group": self._members})
            | ({} if self.one_image is None else {"one_image": self._source})
            | ({"by_shape": True} if self.by_shape else {})
        )

    def read(self, split: str) -> Iterator[tuple[dict[str, Any], Instances]]:
        """Images of ``split`` in the order of their names."""
        check_split(self, split)
        table = self._table
        rows = table[(table["split"] == split) & self._selected(table)]
        if self.one_image is not None:
            rows = self._one_and_others(table[self._selected(table)], split)
        for name, doi, modality, shape in zip(rows.index, rows["doi"], rows["modality"], rows["shape"], strict=True):
            yield self._image(name, doi, modality, self.categories.index(shape) if self.by_shape else 0)

    def _one_and_others(self, rows: pd.DataFrame, split: str) -> pd.DataFrame:
        """The one image of the train part that the seed draws, or all others but the validation part."""
        here = np.asarray(rows.index == self._source)
        wanted = here if split == "train" else ~here & (rows["split"] != "val").to_numpy()
        found: pd.DataFrame = rows[wanted]
        return found

    @cached_property
    def _source(self) -> str:
        """Name of the one image: the seed's place in an order that is drawn once, so that seeds in a row differ."""
        table = self._table
        names = table.index[self._selected(table) & (table["split"] == "train")]
        if not len(names):
            raise UserError(f"emps: no image of the train part is left to draw one from, of group {self.group}")
        order = child_rng(0, "one image", self.group or "").permutation(len(names))
        return str(names[order[(self.one_image or 0) % len(names)]])

    @cached_property
    def _members(self) -> list[str]:
        """Names of the group's images."""
        table = pd.read_csv(GROUPS_FILE, usecols=["name", "group"], dtype=str)
        return sorted(table.loc[table["group"] == self.group, "name"])

    def _image(self, name: str, doi: str, modality: str | None, label: int) -> tuple[dict[str, Any], Instances]:
        picture, segmap = self.root / "images" / f"{name}.png", self.root / "segmaps" / f"{name}.png"
        shape, labels = read_micrograph(picture).pixels.shape, read_micrograph(segmap).pixels.astype(np.int32)
        if shape != labels.shape:
            raise UserError(
                f"{picture} is {shape[1]} × {shape[0]} px, but {segmap} {labels.shape[1]} × {labels.shape[0]}"
            )
        image: dict[str, Any] = {
            "file_name": str(picture.resolve()),
            "height": int(shape[0]),
            "width": int(shape[1]),
            "modality": MODALITIES.get(modality or "", Modality.UNKNOWN).value,
            "group_id": doi,
        }
        if self.pixel_size_nm is not None:
            image |= {"pixel_size_nm": self.pixel_size_nm, "pixel_size_source": "override"}
        return image, instances_of(labels, label)

    @cached_property
    def _table(self) -> pd.DataFrame:
        """One row an image: index name; columns split, doi, modality, shape."""
        self._check_files()
        dois = pd.read_csv(self.root / "metadata.csv", usecols=["filename", "doi"], dtype=str)
        doi_of = dict(zip(dois["filename"].str.removesuffix(".png"), dois["doi"], strict=True))
        train, test = (self._names(f"{part}.csv", doi_of) for part in ("train", "test"))
        held = split_by_group([doi_of[name] for name in train], self.validation_fraction)
        parts = dict(zip(train, np.where(held, "val", "train"), strict=True)) | dict.fromkeys(test, "test")
        table = pd.DataFrame({"split": parts}).sort_index()
        table["doi"] = [doi_of[name] for name in table.index]
        return table.join(self._shapes())

    def _names(self, file: str, doi_of: dict[str, str]) -> list[str]:
        names = [line.strip() for line in (self.root / file).read_text(encoding="utf-8").splitlines() if line.strip()]
        faults = [f"{name}: not in metadata.csv" for name in names if name not in doi_of]
        faults += [f"{name}: no {folder}/{name}.png" for name in names for folder in NEEDED[:2]
                   if not (self.root / folder / f"{name}.png").is_file()]  # fmt: skip
        if faults:
            raise UserError(f"{self.root / file} has {len(faults)} fault(s):\n  " + "\n  ".join(faults[:50]))
        return names

    def _shapes(self) -> pd.DataFrame:
        path = self.root / "shapes.csv"
        if path.is_file():
            table = pd.read_csv(path, usecols=["filename", "shape", "modality"], dtype=str)
            return table.assign(name=table["filename"].str.removesuffix(".png")).set_index("name")[
                ["shape", "modality"]
            ]
        if self.shape or self.modality or self.by_shape:
            raise UserError(
                f"no {path}: this table is not part of EMPS (it was made from the masks), so images cannot be chosen "
                "by shape or modality; set dataset.reader.shape=null dataset.reader.modality=null "
                "dataset.reader.by_shape=false"
            )
        return pd.DataFrame(columns=["shape", "modality"], dtype=object)

    def _selected(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        chosen = np.ones(len(table), bool)
        if self.by_shape:
            chosen &= table["shape"].isin(self.categories).to_numpy()
        if self.shape:
            chosen &= (table["shape"] == self.shape).to_numpy()
        if self.modality:
            chosen &= (table["modality"] == CONTRASTS[self.modality]).to_numpy()
        if self.group:
            chosen &= table.index.isin(self._members)
        return chosen

    def _check_files(self) -> None:
        missing = [name for name in NEEDED if not (self.root / name).exists()]
        if missing:
            raise UserError(
                f"no EMPS dataset in {self.root} (missing: {', '.join(missing)}): get it with "
                f"`python scripts/fetch_data.py --into {self.root}`, or set paths.data=<folder that holds emps/>"
            )


def instances_of(labels: NDArray[np.int32], label: int = 0) -> Instances:
    """labels (H, W), 0 = background → one particle (of class ``label``) for each id, pieces of an id together."""
    found = []
    for index, where in enumerate(find_objects(labels), start=1):
        if where is not None:
            rows, columns = where
            found.append(rle.encode_crop(labels[where] == index, columns.start, rows.start, labels.shape))
    return Instances(labels.shape, np.full(len(found), label, np.int64), found)
