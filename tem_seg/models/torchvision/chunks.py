"""Networks for any number of particles, in few shapes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

BOXES, MASKS = (512, 128), (32, 8)
"""Proposals and particles that the heads see at a time, and the multiples that they are filled up to."""


def in_chunks(
    network: Callable[[Tensor], tuple[Tensor, ...]], rows: Tensor, chunk: int, step: int
) -> tuple[Tensor, ...]:
    """What ``network`` makes of rows (K, …), in tensors (K, …): ``chunk`` rows at a time, filled up to a multiple of
    ``step`` with zeros. Each row's result must not depend on the others.

    Particles and proposals are another number in each micrograph. On a processor every number would be another shape,
    for which oneDNN makes code (9 ms for a layer of the box head) and ideep keeps it (1 MB a micrograph).
    """
    if rows.device.type != "cpu" or torch.is_grad_enabled() or torch.onnx.is_in_onnx_export():
        return network(rows)
    parts = []
    for part in rows.split(chunk):
        count = len(part)
        filled = F.pad(part, (0, 0) * (rows.ndim - 1) + (0, -count % step))
        parts.append([found[:count] for found in network(filled)])
    return tuple(torch.cat(found) for found in zip(*parts, strict=True))
