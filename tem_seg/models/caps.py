"""Whether a cap on proposals may have cost particles, which the number of detections does not tell.

In a crowded field each particle has a dozen proposals. Where the best N of them are kept, whole particles are left
without one, and the detections that follow are few enough to look complete.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

AN_OBJECT = 0.0
"""Objectness, as a logit, above which a place is more likely an object than ground."""


def proposals_capped(levels: Sequence[Tensor], kept: Sequence[Tensor], a_map: int, in_all: int) -> list[bool]:
    """For each of B images, whether a cap dropped proposals that are objects more likely than not.

    levels: objectness logits of every anchor, (B, …) a feature map. kept: those of each image's proposals that came
    through, (n_i,). a_map: how many of a map go on before overlapping ones are dropped; in_all: how many afterwards.
    """
    crowded = torch.stack([(level.flatten(1) > AN_OBJECT).sum(1) > a_map for level in levels]).any(0).tolist()
    full = [len(logits) >= in_all and bool(logits.min() > AN_OBJECT) for logits in kept]
    return [one or other for one, other in zip(crowded, full, strict=True)]
