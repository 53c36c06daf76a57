"""Several processes train one model (docs/slurm.md). The first one leads: it runs every stage, and calls the others to
each training; they do nothing else.

SLURM starts the others, one task each; where it does not, the leader starts them. They hear from the leader through a
store of torch.distributed, the one over which the processes of the training find each other as well.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from tem_seg.config.schema import Config
from tem_seg.core.errors import UserError
from tem_seg.stages import rundir
from tem_seg.stages.place import Place, in_environment, place_of, store_of

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

FOREVER = timedelta(days=100)
GRACE_S = 60.0
"""A process that still computes so long after another one failed, waiting for it, ends itself."""


def together(cfg: DictConfig, lead: Callable[[Team], Path]) -> Path:
    """``lead(team)`` in the first process; the others train with it. All return the run directory."""
    place = place_of(cfg)
    if place.ranks == 1:
        return lead(Team(place, None))
    if place.rank > 0:
        return _follow(place)
    store = store_of(place, serves=True)
    place = replace(place, port=store.port)
    with in_environment(place):
        team = Team(place, store)
        finished: Path | None = None
        try:
            finished = lead(team)
            return finished
        finally:
            team.dismiss(finished)


class Team:
    """What the leader knows of the others. store: None where there are none."""

    def __init__(self, place: Place, store: TCPStore | None) -> None:
        self._place, self._store = place, store
        self._orders = 0
        self._started: list[BaseProcess] = []
        self._watches: list[threading.Thread] = []

    @contextmanager
    def training(self, cfg: DictConfig, run_dir: Path) -> Iterator[None]:
        """All of them do the training that the block does. What one of the others says is wrong is raised here."""
        if self._store is None:
            yield
            return
        over = threading.Event()
        self._watches.append(_watch(self._place, "fault", over))
        with _share_of_threads(self._place) as threads:
            self._start(threads)
            self._order({"config": rundir.plain(cfg), "run_dir": str(run_dir)})
            try:
                yield
            except Exception as error:
                if (fault := self._fault()) is not None:
                    raise fault from error
                raise
            finally:
                over.set()

    def _start(self, threads: int) -> None:
        if self._place.started_by_slurm or self._started:
            return
        context = multiprocessing.get_context("spawn")
        for index in range(1, self._place.devices):
            process = context.Process(target=_started, args=(replace(self._place, index=index), threads))
            process.start()
            self._started.append(process)

    def _order(self, order: dict[str, Any]) -> None:
        assert self._store is not None
        self._store.set(f"order/{self._orders}", json.dumps(order))
        self._orders += 1

    def _fault(self) -> UserError | None:
        assert self._store is not None
        if not self._store.check(["fault"]):
            return None
        return UserError(self._store.get("fault").decode())

    def dismiss(self, finished: Path | None) -> None:
        """Sends the others home; None: with nothing to show. Those that it started are gone when this returns."""
        if self._store is None:
            return
        self._order({"run_dir": str(finished) if finished else None})
        for sign in ("end", "fault"):
            self._store.set(sign, "")
        for watch in self._watches:
            watch.join(timeout=10)
        _leave_the_group()
        present = bool(self._started) or self._place.started_by_slurm
        if present and (finished or self._place.started_by_slurm):
            with suppress(RuntimeError):  # one that has ended itself says nothing more
                names = [f"left/{rank}" for rank in range(1, self._place.ranks)]
                self._store.wait(names, timedelta(seconds=GRACE_S))
        for process in self._started:
            process.join(timeout=10 if finished else 0)
            process.kill()
            process.join()


def _started(place: Place, threads: int) -> None:
    """The main function of a process that the leader started."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them; the leader ends the others
    torch.set_num_threads(threads)
    try:
        _follow(place)
    except Exception:  # noqa: BLE001 - the leader was told
        sys.exit(1)


def _follow(place: Place) -> Path:
    """Trains whenever the leader does. Returns its run directory when it has finished."""
    with in_environment(place):
        store, leaving = store_of(place, serves=False), threading.Event()
        _watch(place, "end", leaving)
        try:
            for number in count():
                store.wait([f"order/{number}"], FOREVER)
                order = json.loads(store.get(f"order/{number}"))
                if "config" not in order:
                    break
                _train(order)
        except Exception as error:
            _tell(store, place, error)
            raise
        finally:
            _leave_the_group()
            leaving.set()
            with suppress(RuntimeError):
                store.set(f"left/{place.rank}", "")
    if order["run_dir"] is None:
        raise UserError("the first process of this job has failed: its own output says why")
    return Path(order["run_dir"])


def _train(order: dict[str, Any]) -> None:
    cfg = OmegaConf.merge(OmegaConf.structured(Config), order["config"])
    train = importlib.import_module("tem_seg.stages.train")
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # the leader says it all
        train.run(cfg, Path(order["run_dir"]))


def _tell(store: TCPStore, place: Place, error: Exception) -> None:
    """The first fault counts: those of others follow from it. None of it where the leader has failed or gone."""
    with suppress(RuntimeError):
        if store.check(["end"]):
            return
        known = isinstance(error, UserError)
        if not known and not place.started_by_slurm:
            traceback.print_exception(error)
        store.compare_set("fault", "", str(error) if known else f"process {place.rank} of the training: {error!r}")


def _watch(place: Place, sign: str, leaving: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=_end_if_stuck, args=(place, sign, leaving), daemon=True)
    thread.start()
    return thread


def _end_if_stuck(place: Place, sign: str, leaving: threading.Event) -> None:
    """Ends this process where it goes on waiting for one that has failed: GPUs wait for each other without an end."""
    with suppress(RuntimeError):  # the leader is gone: a sign too
        store_of(place, serves=False).wait([sign], FOREVER)
    if not leaving.wait(GRACE_S):
        print(f"tem_seg: process {place.rank} waited in vain for one that has failed", file=sys.stderr, flush=True)
        os._exit(1)


@contextmanager
def _share_of_threads(place: Place) -> Iterator[int]:
    """Processes on one machine divide its threads; SLURM gives each task its own."""
    import torch

    threads = torch.get_num_threads()
    share = threads if place.started_by_slurm else max(1, threads // place.devices)
    torch.set_num_threads(share)
    try:
        yield share
    finally:
        torch.set_num_threads(threads)


def _leave_the_group() -> None:
    """A later run of this process makes its own."""
    if "torch" in sys.modules:
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()
