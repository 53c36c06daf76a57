"""torchvision without torch's compiler, for commands that people wait for."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo.utils"
QUESTION = "is_compile_supported"


class _Later(ModuleType):
    """Stands for the compiler's module; it is imported when its question is asked, or anything else is wanted of it."""

    def __getattr__(self, name: str) -> Any:
        if name == QUESTION:
            return lambda device: getattr(importlib.import_module(COMPILER), QUESTION)(device)
        if sys.modules.get(COMPILER) is self and not name.startswith("__"):
            del sys.modules[COMPILER]
            return getattr(importlib.import_module(COMPILER), name)
        raise AttributeError(name)


def import_torchvision() -> None:
    """Imports torchvision. Its ``ops.roi_align`` (0.29) imports the compiler, a third of all start-up, to ask it one
    question where torchvision has no operators of its own: here that is done when it is asked.
    """
    if COMPILER not in sys.modules:
        sys.modules[COMPILER] = later = _Later(COMPILER)
        try:
            import torchvision  # noqa: F401
        finally:
            if sys.modules.get(COMPILER) is later:
                del sys.modules[COMPILER]
