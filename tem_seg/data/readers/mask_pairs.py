"""Micrographs with label masks beside them: image a.tif, mask a.png. What most annotation tools write."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances, Modality
from tem_seg.data.images import SUFFIXES, read_micrograph, refuse_huge
from tem_seg.data.readers.emps import instances_of
from tem_seg.data.readers.open_formats import open_raster
from tem_seg.data.readers.protocol import check_split
from tem_seg.data.readers.tiff import open_tiff
from tem_seg.data.split import checked_shares, split_by_shares

MASK_SUFFIXES = (".png", ".tif", ".tiff")
FULL_8_BIT = 255
SPECK_PX = 4  # values and colours of fewer pixels are signs of damage where they are many
SPECKS = 8


class MaskPairs:
    """Reader of micrographs and label masks of the same name, but for ``mask_suffix`` and the file's ending.

    images, masks: folders; masks null: the masks lie among the images and differ by mask_suffix (a.tif, a_mask.png).
    splits: share of the images in each; they must add to 1, one that is 0 or missing does not exist. Every pair is a
    group of its own: where images of one sample must stay together, write a COCO file a split instead.
    test_on: names of the images that test, without ending; splits shares out the others.

    Masks (0 or black is background): label maps of 8, 16 or 32 bit, one value a particle; binary masks, one particle
    for each connected region; colour-coded ones, one colour a particle. connectivity: 8, or 4 where regions that
    touch at corners alone are apart (neighbours parted by a line of one pixel).
    """

    def __init__(
        self,
        images: str | Path | None = None,
        masks: str | Path | None = None,
        mask_suffix: str | None = None,
        splits: dict[str, float] | None = None,
        category: str = "particle",
        modality: str = "unknown",
        pixel_size_nm: float | None = None,
        connectivity: int = 8,
        test_on: list[str] | None = None,
    ) -> None:
        if images is None:
            raise UserError("mask_pairs: no folder given: set dataset.reader.images=<folder of micrographs> and masks=")
        self.images, self.masks = Path(images), Path(images if masks is None else masks)
        self.mask_suffix = mask_suffix if mask_suffix is not None else "_mask" if masks is None else ""
        if masks is None and not self.mask_suffix:
            raise UserError("mask_pairs: in one folder images and masks must differ by mask_suffix: give it, or masks=")
        self.test_on = None if test_on is None else [str(name) for name in test_on]
        self.shares = checked_shares(splits, "mask_pairs", self.test_on)
        if modality not in [value.value for value in Modality]:
            raise UserError(f"mask_pairs: modality must be one of {', '.join(Modality)}, got {modality!r}")
        if pixel_size_nm is not None and not 0 < pixel_size_nm < float("inf"):
            raise UserError(f"mask_pairs: pixel_size_nm must be positive, got {pixel_size_nm}")
        if connectivity not in (4, 8):
            raise UserError(f"mask_pairs: connectivity must be 4 or 8, got {connectivity!r}")
        self.categories: tuple[str, ...] = (category,)
        self.modality, self.pixel_size_nm, self.connectivity = modality, pixel_size_nm, connectivity

    @property
    def root(self) -> Path:
        """Folder of the images."""
        return self.images

    @property
    def splits(self) -> tuple[str, ...]:
        """Those with a share, and test where its images are named."""
        return (*self.shares, *([] if self.test_on is None else ["test"]))

    def identity(self) -> dict[str, Any]:
        """Parameters, the masks' bytes, and name and length of every image."""
        digest = hashlib.sha256()
        for image, mask in self._pairs:
            digest.update(f"{image.name} {image.stat().st_size} {mask.name}\n".encode() + mask.read_bytes())
        later = {"connectivity": None if self.connectivity == 8 else self.connectivity, "test_on": self.test_on}
        return {
            "dataset": "mask_pairs", "splits": self.shares, "category": self.categories[0], "modality": self.modality,
            "pixel_size_nm": self.pixel_size_nm, "files": digest.hexdigest(),
        } | {key: value for key, value in later.items() if value is not None}  # fmt: skip

    def read(self, split: str) -> Iterator[tuple[dict[str, Any], Instances]]:
        """Images of ``split`` in the order of their names."""
        check_split(self, split)
        for (image, mask), part in zip(self._pairs, self._parts, strict=True):
            if part == split:
                yield self._pair(image, mask)

    def _pair(self, image: Path, mask: Path) -> tuple[dict[str, Any], Instances]:
        micrograph = read_micrograph(image, pixel_size_nm=self.pixel_size_nm)
        labels = read_labels(mask, self.connectivity)
        height, width = micrograph.pixels.shape
        if labels.shape != (height, width):
            raise UserError(
                f"{image} is {width} × {height} px, but its mask {mask} {labels.shape[1]} × {labels.shape[0]}: "
                "give the mask that was drawn on this image"
            )
        entry: dict[str, Any] = {"file_name": str(image.resolve()), "height": height, "width": width,
                                 "modality": self.modality, "group_id": image.stem}  # fmt: skip
        if micrograph.pixel_size_nm is not None:
            entry |= {"pixel_size_nm": micrograph.pixel_size_nm, "pixel_size_source": micrograph.pixel_size_source}
        return entry, instances_of(labels)

    @cached_property
    def _pairs(self) -> list[tuple[Path, Path]]:
        for folder in (self.images, self.masks):
            if not folder.is_dir():
                raise UserError(f"mask_pairs: no folder {folder}")
        masks = _by_stem(path for path in self.masks.iterdir()
                         if path.suffix.lower() in MASK_SUFFIXES and path.stem.endswith(self.mask_suffix))  # fmt: skip
        masks = {stem.removesuffix(self.mask_suffix): path for stem, path in masks.items()}
        own = set(masks.values())
        images = _by_stem(path for path in self.images.iterdir() if path.suffix.lower() in SUFFIXES and path not in own)
        faults = [f"{images[stem]}: no mask {stem}{self.mask_suffix}.png or .tif in {self.masks}"
                  for stem in sorted(images.keys() - masks)]  # fmt: skip
        faults += [f"{masks[stem]}: no image {stem}.* in {self.images}" for stem in sorted(masks.keys() - images)]
        if faults:
            raise UserError("mask_pairs: files without a partner:\n  " + "\n  ".join(faults[:50]))
        if not images:
            raise UserError(f"mask_pairs: no image with a mask in {self.images}: expected {', '.join(SUFFIXES)}")
        return [(images[stem], masks[stem]) for stem in sorted(images)]

    @cached_property
    def _parts(self) -> list[str]:
        """Which split each pair is in; by the names alone."""
        return split_by_shares([image.stem for image, _ in self._pairs], self.shares, self.test_on)


def _by_stem(paths: Iterator[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(paths):
        if path.name.startswith("."):
            continue
        if path.stem in found:
            raise UserError(f"mask_pairs: {found[path.stem]} and {path} have the same name: which one is meant?")
        found[path.stem] = path
    return found


# ----------------------------------------------------------------------------------------------------- masks


def read_labels(path: Path, connectivity: int = 8) -> NDArray[np.int32]:
    """A mask file → labels (H, W) int32, 0 = background, one id a particle. UserError for one that cannot be right."""
    labels = labels_of(path, mask_frames(path, 1)[0], connectivity)
    if not labels.any():
        raise UserError(f"{path} holds no particle: every pixel is background (0); draw some, or remove the pair")
    return labels


def labels_of(path: Path, values: NDArray[Any], connectivity: int = 8) -> NDArray[np.int32]:
    """As :func:`read_labels`, from one image of :func:`mask_frames`; all 0 where there is no particle."""
    labels, _ = _from_colours(path, values) if values.ndim == 3 else _from_values(path, values, connectivity)
    if labels.all():
        raise UserError(f"{path} has no background: the value 0 (black) must mark what is no particle")
    return labels


def mask_frames(path: Path, most: int | None = None) -> list[NDArray[Any]]:
    """Of each image in a mask file its values (H, W), or colours (H, W, 3) where they differ from grey."""
    try:
        with path.open("rb") as file:
            is_tiff = file.read(2) in (b"II", b"MM")
        with (open_tiff if is_tiff else open_raster)(path) as stack:
            if most is not None and stack.frames != most:
                raise UserError(f"{path} holds {stack.frames} images: a mask must be one; save one file a micrograph")
            for index in range(stack.frames):
                refuse_huge(path, stack.shape(index))
            return [_values(path, stack.pixels(index)) for index in range(stack.frames)]
    except UserError:
        raise
    except Exception as error:  # the format libraries share no base class
        raise UserError(f"{path} cannot be read as a mask ({type(error).__name__}: {error})") from error


def _values(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    if values.ndim == 3:
        colours = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
        grey = bool((colours == colours[..., :1]).all())
        values = colours[..., 0] if grey else colours
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            raise UserError(f"{path} holds fractions: a mask must hold whole numbers, one for each particle")
        values = values.astype(np.int64)
    return values.astype(np.int64) if values.dtype.kind in "bi" else values


def _from_values(path: Path, values: NDArray[Any], connectivity: int) -> tuple[NDArray[np.int32], int]:
    if values.min() < 0:
        raise UserError(f"{path} holds negative values: a mask holds 0 for background and positive ids")
    used, counts = np.unique(values[values > 0], return_counts=True)
    if len(used) == 1:  # binary: what is connected is a particle
        count, regions = cv2.connectedComponents((values > 0).astype(np.uint8), connectivity=connectivity)
        return np.asarray(regions, np.int32), count - 1
    if values.dtype == np.uint8 and len(used) == FULL_8_BIT and _repeats(values):
        raise UserError(
            f"{path} is an 8-bit mask that uses all 255 values, some of them in several separate places: more than 255 "
            "particles do not fit in 8 bit. Save the mask with 16 bit"
        )
    _refuse_specks(path, counts, "values")
    table = np.zeros(int(values.max()) + 1, np.int32) if values.max() < 2**24 else None
    if table is None:
        _, inverse = np.unique(values, return_inverse=True)
        first = 0 if (values == 0).any() else 1
        return np.asarray(inverse.reshape(values.shape) + first, np.int32), len(used)
    table[used] = np.arange(1, len(used) + 1)
    return table[values], len(used)


def _repeats(values: NDArray[np.uint8]) -> bool:
    """Whether a value occurs in several separate regions."""
    regions = 0
    for value in range(1, FULL_8_BIT + 1):
        regions += cv2.connectedComponents((values == value).view(np.uint8), connectivity=8)[0] - 1
        if regions > value:
            return True
    return False


def _from_colours(path: Path, colours: NDArray[Any]) -> tuple[NDArray[np.int32], int]:
    if colours.dtype.kind != "u" or colours.dtype.itemsize > 2:
        raise UserError(f"{path} holds colours of {colours.dtype} values: save a colour-coded mask with 8 or 16 bit")
    wide = colours.astype(np.int64)
    codes = (wide[..., 0] << 32) | (wide[..., 1] << 16) | wide[..., 2]
    used, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    if used[0] != 0:
        raise UserError(f"{path} is a colour-coded mask without black: black must mark the background")
    _refuse_specks(path, counts[1:], "colours")
    return np.asarray(inverse.reshape(codes.shape), np.int32), len(used) - 1


def _refuse_specks(path: Path, counts: NDArray[np.int64], what: str) -> None:
    """Anti-aliasing and JPEG leave hundreds of values of a few pixels each along every edge."""
    specks = int(np.count_nonzero(counts < SPECK_PX))
    if specks > SPECKS and 2 * specks > len(counts):
        raise UserError(
            f"{path} has {len(counts)} {what}, {specks} of them on fewer than {SPECK_PX} pixels: the mask was "
            f"smoothed, resized or saved as JPEG. Save it as PNG or TIFF with hard edges, one of the {what} a particle"
        )
