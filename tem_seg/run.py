"""``python -m tem_seg.run experiment=…``: compose → check → run the stages in one run directory.

No class lives here: jobs of a sweep are pickled. Nothing heavy is imported before the first line of output.
"""

from __future__ import annotations

import ctypes
import os
import sys
import traceback
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tem_seg.config import check, explain, help, schema
from tem_seg.core.errors import UserError
from tem_seg.stages import slurm
from tem_seg.sweeps import plugin

schema.register()


def has_cuda() -> bool:
    """Whether an NVIDIA driver sees a device, asked without importing torch."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def choose_profile(arguments: list[str]) -> list[str]:
    """Adds ``profile=laptop`` to a local single run that names none on a machine without CUDA.

    Multirun never guesses: jobs may be meant for a cluster, and login nodes have no GPU.
    """
    single = not any(a in ("-m", "--multirun") for a in arguments)
    named = any(a.lstrip("+").startswith(("profile=", "hydra/launcher=")) for a in arguments)
    named = named or any(a.startswith(("--config-name", "-cn")) for a in arguments)  # another config, with its own
    os.environ.pop("TEM_SEG_PROFILE_CHOSEN", None)
    asked = any(a in ("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i") for a in arguments)
    if single and not named and not asked and "SLURM_JOB_ID" not in os.environ and not has_cuda():
        os.environ["TEM_SEG_PROFILE_CHOSEN"] = "laptop"
        return [*arguments, "profile=laptop"]
    return arguments


@hydra.main(version_base="1.3", config_path=str(check.config_folder()), config_name="config")
def _app(cfg: DictConfig) -> float | None:
    from tem_seg.stages import runner, sweep_job

    return sweep_job.kept(runner.run, cfg)


def main(arguments: list[str] | None = None) -> None:
    """Entry point. A fault that the user can mend ends with its text and exit code 2, any other with a traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    if {"--help", "-h"} & set(given):
        print(help.text(check.config_folder()), end="")
        return
    sys.argv = [sys.argv[0], *choose_profile(given)]
    plugin.register()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us as they are, instead of being printed by Hydra
    try:
        slurm.check_launcher(given)
        _app()
    except Exception as error:  # noqa: BLE001 - the rim of the program: every error ends here
        sys.exit(_report(error, given))


def _report(error: Any, overrides: list[str]) -> int:
    cause = error
    while cause is not None and not isinstance(cause, (UserError, OmegaConfBaseException)):
        cause = cause.__cause__
    if isinstance(cause, UserError):
        print(f"tem_seg: {cause}", file=sys.stderr)
        return 2
    if isinstance(cause, OmegaConfBaseException) or isinstance(error, HydraException) or _refused_by_hydra(error):
        print(f"tem_seg: {explain.explain(cause or error, overrides)}", file=sys.stderr)
        return 2
    if (refusal := slurm.refusal(error)) is not None:
        print(f"tem_seg: {refusal}", file=sys.stderr)
        return 2
    traceback.print_exception(error)
    return 1


def _refused_by_hydra(error: Any) -> bool:
    """Some complaints about arguments are plain ValueErrors of Hydra's."""
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, ValueError) and f"{os.sep}hydra{os.sep}" in raised_in


if __name__ == "__main__":
    main()
