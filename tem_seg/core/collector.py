"""Python's garbage collector, out of the way while a command starts."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Imports and weights are a million objects that live as long as the process.

    Looking through them takes a fifth of the import of torch; afterwards the collector leaves them alone.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()
