"""Where Hydra hands over: ``-m`` runs through this sweeper (conf/hydra/sweeper/tem_seg.yaml)."""

from __future__ import annotations

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

NAME = "hydra_plugins.tem_seg.Sweeper"


class TemSegSweeper(Sweeper):
    """Grid, random search and TPE, one study an experiment."""

    def __init__(self) -> None:
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's call before :meth:`sweep`. The launcher is made later, when the sweep's folder is known."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        """Runs all jobs. Raises UserError at the end where some failed."""
        from tem_seg.sweeps.run import Sweep  # optuna and the plots wait until a sweep is asked for

        assert self.hydra_context and self.task_function and self.config is not None
        Sweep(self.hydra_context, self.task_function, self.config, arguments).run()


def register() -> None:
    """Makes the sweeper known to Hydra in this process.

    Hydra takes plug-ins from the package ``hydra_plugins`` only. A folder of that name would do in a wheel, but Hydra
    does not see it in an editable install, where such a shared package has no path to walk. So its name is entered.
    """
    Plugins.instance().class_name_to_class[NAME] = TemSegSweeper
