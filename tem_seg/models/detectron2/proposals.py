"""What Detectron2's proposal generators let through, looked at without changing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass(slots=True)
class Seen:
    """Objectness logits: of every anchor, (B, A, h, w) a feature map, and of each image's proposals (n,)."""

    levels: list[Tensor] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)


@contextmanager
def watched(generator: nn.Module) -> Iterator[Seen]:
    """What a proposal generator (RPN or RRPN) goes through meanwhile."""
    seen = Seen()

    def head(module: nn.Module, inputs: Any, output: Any) -> None:
        seen.levels = list(output[0])

    def whole(module: nn.Module, inputs: Any, output: Any) -> None:
        seen.kept = [instances.objectness_logits for instances in output[0]]

    rpn_head = generator.get_submodule("rpn_head")
    hooks = [rpn_head.register_forward_hook(head), generator.register_forward_hook(whole)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
