"""COCO run-length masks, made from and cut to crops: the cost is a particle's, never the micrograph's.

Runs are column-major (COCO's order). pycocotools is the oracle in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from tem_seg.core.types import Rle


def encode_crop(crop: NDArray[np.bool_], x0: int, y0: int, size: tuple[int, int]) -> Rle:
    """crop (h, w) bool whose top-left pixel is (x0, y0) in a frame of ``size`` (H, W) → Rle of the whole frame.

    What of the crop lies outside the frame is cut off.
    """
    return encode_crops([crop], np.array([x0]), np.array([y0]), size)[0]


def encode_crops(
    crops: Sequence[NDArray[np.bool_]], x0: NDArray[np.int64], y0: NDArray[np.int64], size: tuple[int, int]
) -> list[Rle]:
    """As :func:`encode_crop` for N crops with their top-left pixels (N,): two dozen numpy calls for all of them."""
    height, width = size
    inside = [
        crop[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)]
        for crop, x, y in zip(crops, x0.tolist(), y0.tolist(), strict=True)
    ]
    owner, starts, ends = _runs(inside, np.maximum(x0, 0), np.maximum(y0, 0), height)
    runs = np.bincount(owner, minlength=len(crops))
    first = np.concatenate([[0], np.cumsum(2 * runs + 2)])
    edges = np.zeros(first[-1], np.int64)  # of each mask: 0, start and end of every run, H·W
    place = 2 * (np.arange(len(starts)) + owner) + 1
    edges[place], edges[place + 1], edges[first[1:] - 1] = starts, ends, height * width
    kept = np.ones(len(edges), bool)
    kept[first[:-1]] = False  # a count is the way from the edge before
    kept[first[1:] - 1] &= (np.diff(edges)[first[1:] - 2] > 0) | (runs == 0)  # a mask that ends in the last pixel
    counts = np.diff(edges, prepend=0)[kept]
    texts = compress_many(counts, np.concatenate([[0], np.cumsum(kept)[first[1:] - 1]]))
    return [{"size": [height, width], "counts": text} for text in texts]


def _runs(
    crops: list[NDArray[np.bool_]], x0: NDArray[np.int64], y0: NDArray[np.int64], height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Crop, first and one-past-last flat index of every run of True, neighbours across columns merged."""
    stride = np.array([len(crop) + 1 for crop in crops], np.int64)  # a False below every column keeps columns apart
    area = stride * np.array([crop.shape[1] for crop in crops], np.int64)
    first = np.concatenate([[0], np.cumsum(area)])
    flat = np.zeros(first[-1] + 1, np.bool_)  # and one before all
    for crop, begin, end in zip(crops, (first[:-1] + 1).tolist(), (first[1:] + 1).tolist(), strict=True):
        if crop.size:
            columns = cv2.transpose(np.ascontiguousarray(crop).view(np.uint8))  # numpy's takes several times as long
            flat[begin:end].reshape(len(columns), -1)[:, :-1] = columns.view(np.bool_)
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    starts, lengths = changes[::2], changes[1::2] - changes[::2]
    owner = np.searchsorted(first, starts, side="right") - 1
    column, row = np.divmod(starts - first[owner], stride[owner])
    starts = (column + x0[owner]) * height + row + y0[owner]
    ends = starts + lengths
    apart = (starts[1:] != ends[:-1]) | (owner[1:] != owner[:-1])
    opens, closes = np.ones(len(starts), bool), np.ones(len(starts), bool)
    opens[1:], closes[:-1] = apart, apart
    return owner[opens], starts[opens], ends[closes]


def compress(counts: NDArray[np.int64]) -> str:
    """COCO's variable-length text: each count as the difference to the one two before, 5 bits a character."""
    return compress_many(counts, np.array([0, len(counts)]))[0]


def compress_many(counts: NDArray[np.int64], first: NDArray[np.int64]) -> list[str]:
    """As :func:`compress` for N masks at once: mask i has counts[first[i]:first[i + 1]], first is (N + 1,)."""
    place = np.arange(len(counts)) - np.repeat(first[:-1], np.diff(first))
    deltas = counts.copy()
    deltas[2:] -= np.where(place[2:] > 2, counts[:-2], 0)
    # n characters hold -2^(5n-1) … 2^(5n-1) - 1; frexp gives the number of bits without the sign
    digits = np.frexp(np.where(deltas < 0, ~deltas, deltas).astype(np.float64))[1] // 5 + 1
    ends = np.concatenate([[0], np.cumsum(digits)])
    digit = np.arange(ends[-1]) - np.repeat(ends[:-1], digits)
    codes = (np.repeat(deltas, digits) >> (5 * digit)) & 0x1F
    codes += np.where(digit < np.repeat(digits, digits) - 1, 0x20 + 48, 48)
    text = codes.astype(np.uint8).tobytes().decode("ascii")
    bounds = ends[first].tolist()
    return [text[begin:end] for begin, end in pairwise(bounds)]


def expand(text: str) -> NDArray[np.int64]:
    """The counts behind COCO's text (inverse of :func:`compress`)."""
    counts = _numbers(text)[0]
    # count[i] = value[i] + count[i - 2] for i > 2: two interleaved running sums
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts


def expand_many(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The counts behind N texts, one after the other, and where each begins, (N + 1,).

    Text i has counts[first[i]:first[i + 1]]. A dozen numpy calls for all, where :func:`expand` makes a dozen for each.
    """
    values, ends = _numbers("".join(texts))
    text_ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    if not np.isin(text_ends[text_ends > 0] - 1, ends).all():
        raise ValueError("a compressed RLE breaks off inside a number")
    first = np.r_[0, np.searchsorted(ends, text_ends)]
    return _undo_differences(values, first), first


def _numbers(text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers written in COCO's text, still differences, and the place of each one's last character."""
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 0x20) == 0)
    if not len(codes):
        return np.zeros(0, np.int64), ends
    starts = np.concatenate([[0], ends[:-1] + 1])
    digits = ends - starts + 1
    place = np.arange(len(codes)) - np.repeat(starts, digits)
    values = np.add.reduceat((codes & 0x1F) << (5 * place), starts)
    return np.where(codes[ends] & 0x10, values - (np.int64(1) << (5 * digits)), values), ends


def _undo_differences(values: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """count[i] = value[i] + count[i - 2] for i > 2, in each text by itself."""
    begin = np.repeat(first[:-1], np.diff(first))
    place = np.arange(len(values)) - begin
    counts = values.copy()
    for chosen in (place % 2 == 1, (place % 2 == 0) & (place > 0)):
        sums = np.r_[0, np.cumsum(np.where(chosen, values, 0))]
        counts[chosen] = (sums[1:] - sums[begin])[chosen]
    return counts


def decode_crop(rle: Rle) -> tuple[NDArray[np.bool_], int, int]:
    """Rle → (crop (h, w) bool, x0, y0): the mask cut to its bounding box; an empty mask gives a (0, 0) crop."""
    height = rle["size"][0]
    counts = expand(rle["counts"])
    edges = np.cumsum(counts)
    starts, ends = edges[:-1:2], edges[1::2]
    keep = ends > starts
    starts, ends = starts[keep], ends[keep]
    if not len(starts):
        return np.zeros((0, 0), bool), 0, 0
    column, last = starts // height, (ends - 1) // height
    x0, x1 = int(column[0]), int(last[-1]) + 1
    y0, y1 = 0, height
    if (column == last).all():  # else a run goes on in the next column, so that both border rows are in the mask
        y0, y1 = int((starts - column * height).min()), int((ends - last * height).max())
    rows = y1 - y0
    edges = np.stack([starts - column * height, ends - last * height], axis=1) - y0
    edges += np.stack([column - x0, last - x0], axis=1) * rows
    inside = (np.arange(2 * len(edges) + 1) & 1).astype(bool)
    flat = np.repeat(inside, np.diff(edges.ravel(), prepend=0, append=(x1 - x0) * rows))
    mask = flat.reshape(x1 - x0, rows)
    return np.ascontiguousarray(mask.T), x0, y0


def column_pieces(
    rles: Sequence[Rle],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of N masks at once: mask number, column, first and one-past-last row of every run, cut where columns end.

    In order of masks, columns, rows.
    """
    counts, first = expand_many([rle["counts"] for rle in rles])
    owner = np.repeat(np.arange(len(rles)), np.diff(first))
    total = np.concatenate([[0], np.cumsum(counts)])
    edges = total[1:] - total[first[owner]]
    ends = np.flatnonzero(((np.arange(len(counts)) - first[owner]) & 1 == 1) & (counts > 0))
    owner, starts, ends = owner[ends], edges[ends - 1], edges[ends]
    height = np.array([rle["size"][0] for rle in rles], np.int64)[owner]
    column, last = starts // height, (ends - 1) // height
    pieces = last - column + 1
    number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    top = np.where(number == 0, np.repeat(starts - column * height, pieces), 0)
    bottom = np.repeat(ends - last * height, pieces)
    bottom = np.where(number == np.repeat(pieces, pieces) - 1, bottom, np.repeat(height, pieces))
    return np.repeat(owner, pieces), np.repeat(column, pieces) + number, top, bottom


def encode(mask: NDArray[np.bool_]) -> Rle:
    """mask (H, W) bool → Rle."""
    return encode_crop(mask, 0, 0, (mask.shape[0], mask.shape[1]))


def decode(rle: Rle) -> NDArray[np.bool_]:
    """Rle → mask (H, W) bool. For tests and crops; a micrograph's particles are decoded with decode_crop."""
    return coco_mask.decode(rle).astype(bool)  # type: ignore[no-any-return]


def area_px(rle: Rle) -> int:
    """Number of pixels in the mask."""
    return int(expand(rle["counts"])[1::2].sum())


def from_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Rle:
    """COCO polygons [[x1, y1, x2, y2, ...], ...] in px → Rle of their union, rasterised as pycocotools does."""
    merged = coco_mask.merge(coco_mask.frPyObjects([list(p) for p in polygons], size[0], size[1]))
    return {"size": [int(v) for v in merged["size"]], "counts": merged["counts"].decode("ascii")}


def runs_of(counts: Any) -> NDArray[np.int64] | None:
    """Run lengths behind COCO's text or an uncompressed list; None for text or a list that is no RLE."""
    if isinstance(counts, list):
        sound = all(isinstance(run, int) and not isinstance(run, bool) and run >= 0 for run in counts)
        return np.asarray(counts, np.int64) if sound and max(counts, default=0) < 2**62 else None
    # 6 bits a character above "0"; bit 0x20 says that the number goes on, so it may not stand on the last one
    if not isinstance(counts, str) or not counts or not all("0" <= c <= "o" for c in counts) or counts[-1] >= "P":
        return None
    runs = expand(counts)
    return runs if (runs >= 0).all() else None
