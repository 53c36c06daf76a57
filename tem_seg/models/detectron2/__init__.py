"""The reference back end. Detectron2 is not on the package index: this package imports without it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings
from functools import cache

COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"
INSTALL_HINT = (
    "python -m pip install 'setuptools>=77.0.3,<81' && python -m pip install --no-build-isolation "
    f"'detectron2 @ git+https://github.com/facebookresearch/detectron2@{COMMIT}'"
)


@cache
def why_unavailable() -> str | None:
    """None where Detectron2 imports, else the reason in one line (not installed, or installed but broken)."""
    if importlib.util.find_spec("detectron2") is None:
        return "detectron2 is not installed"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources, torch.jit.script: Detectron2's to mend, known and pinned
            # the compiled part breaks with another torch, the zoo without pkg_resources (setuptools >= 81)
            importlib.import_module("detectron2._C")
            importlib.import_module("detectron2.model_zoo")
    except ImportError as error:
        return f"detectron2 is installed but does not import: {error}"
    _hush()
    return None


def _hush() -> None:
    """What Detectron2 calls and torch deprecates is said in every training: nothing that a user can change."""
    warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)


def is_available() -> bool:
    """Whether Detectron2 can be used here (imports it at the first call, not before)."""
    return why_unavailable() is None
