"""Networks of other packages: what becomes of their errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tem_seg.core.errors import UserError


@contextmanager
def built_elsewhere(backbone: str, *, imagenet: bool) -> Iterator[None]:
    """Turns what another package raises while it builds a backbone, or fetches ImageNet's weights, into a UserError."""
    try:
        yield
    except Exception as error:  # timm, the hub and its HTTP library share no base class
        if imagenet:
            raise UserError(
                f"the imagenet weights of {backbone} cannot be had ({error}): train from random weights with "
                "model.weights=none, or give model.weights=<file>"
            ) from error
        raise UserError(f"model.backbone={backbone} cannot be built ({error})") from error
