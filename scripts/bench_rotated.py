"""Rotated boxes: our pure torch against Detectron2's C++, on one thread of a CPU."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import bench_common
import torch
from torch import Tensor

from tem_seg.models import detectron2
from tem_seg.models.torchvision.rotated_ops import pairwise_iou, rotated_nms


def _boxes(count: int, extent_px: float, generator: torch.Generator) -> Tensor:
    """(N, 5): rods of 8 to 120 px in any direction, anywhere in a square field."""
    centre = torch.rand(count, 2, generator=generator) * extent_px
    sides = 8 * 15 ** torch.rand(count, 2, generator=generator)
    return torch.cat([centre, sides, torch.rand(count, 1, generator=generator) * 180 - 90], dim=1)


def _timed(ours: Callable[[], Any], theirs: Callable[[], Any], blocks: int) -> tuple[float, float]:
    """Median seconds of each, in turns."""
    times: list[list[float]] = [[], []]
    for _ in range(blocks):
        for taken, call in zip(times, (ours, theirs), strict=True):
            start = bench_common.clock()
            call()
            taken.append(bench_common.clock() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def rotated(quick: bool) -> Iterator[str]:
    """IoU of all pairs and suppression, of boxes in a dense field and of boxes that all lie on each other."""
    if reason := detectron2.why_unavailable():
        yield f"rotated boxes: not compared, {reason}"
        return
    from detectron2.layers import nms_rotated
    from detectron2.layers.rotated_boxes import pairwise_iou_rotated

    threads, count = torch.get_num_threads(), 100 if quick else 2000
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    for name, extent_px in (("in 1024² px", 1024.0), ("on each other", 60.0)):
        a, b = (_boxes(count, extent_px, generator) for _ in range(2))
        scores = torch.rand(count, generator=generator)
        iou = _timed(
            lambda a=a, b=b: pairwise_iou(a, b), lambda a=a, b=b: pairwise_iou_rotated(a, b), 1 if quick else 3
        )  # type: ignore[misc]
        nms = _timed(
            lambda a=a, s=scores: rotated_nms(a, s, None, 0.5), lambda a=a, s=scores: nms_rotated(a, s, 0.5),  # type: ignore[misc]
            1 if quick else 3,
        )  # fmt: skip
        for what, (ours, theirs) in (("IoU", iou), ("NMS", nms)):
            yield f"rotated {what} of {count} boxes {name}: {1000 * ours:.0f} ms"
            yield f"rotated {what} of {count} boxes {name} over Detectron2's C++: {ours / theirs:.3f} x"
    torch.set_num_threads(threads)
