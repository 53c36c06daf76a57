"""Weights & Biases beside metrics.csv: never a prompt, never a hang; without an API key the run is kept on disk."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.data.annotations import outline_of
from tem_seg.data.coco import CocoDataset
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.data.results import by_image
from tem_seg.reporting.figures import panel

if TYPE_CHECKING:
    from wandb import Run, Settings

MODES = ("auto", "online", "offline", "disabled")
INIT_TIMEOUT_S = 30.0
"""A server that does not answer for so long is taken for unreachable."""
FINISH_TIMEOUT_S = 120.0
"""What is not sent so long after the end stays on disk."""
STEP = "trainer/global_step"
"""W&B's own step starts at 0 again in a resumed run; this one, which Lightning's WandbLogger adds, does not."""
_RUNNING: list[str] = []
"""Ids of this process's open runs: several where a training is part of another job's chain."""
_SILENT: set[str] = set()
"""Servers that did not answer."""
PANELS = "val/panels"
PANEL_SCORE = 0.5
"""Predictions of less are not drawn."""
PANEL_WIDTH_PX = 1600


@dataclass(frozen=True, slots=True)
class Wandb:
    """What conf/logger/wandb.yaml builds. Raises UserError for a mode or a number that cannot be.

    mode: auto (WANDB_MODE, else online with an API key and offline without), online, offline or disabled.
    panels: validation micrographs shown at every validation, and test micrographs at the end. model: keep the
    checkpoint as an artifact.
    """

    project: str = "tem_seg"
    entity: str | None = None
    mode: str = "auto"
    panels: int = 4
    model: bool = True

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"logger.mode must be one of {', '.join(MODES)}, got '{self.mode}'")
        if self.panels < 0:
            raise UserError(f"logger.panels must not be negative, got {self.panels}")

    @contextmanager
    def session(
        self,
        run_dir: Path,
        name: str,
        config: Mapping[str, Any],
        *,
        tags: Sequence[str] = (),
        run_id: str | None = None,
    ) -> Iterator[Run | None]:
        """A W&B run in run_dir/wandb that is finished in any case, with exit code 1 where the block fails.

        None for mode disabled. run_id: of the run to go on with. A server that does not answer turns online into
        offline, and this is said. Raises UserError for mode online without an API key, and for one that cannot be one.
        """
        about = {"group": name, "config": dict(config), "tags": list(tags), "id": run_id or secrets.token_hex(4)}
        run = self._start(run_dir, about)
        if run is None:
            yield None
            return
        exit_code = 1
        _RUNNING.append(run.id)
        try:
            run.define_metric(STEP)
            run.define_metric("*", step_metric=STEP, step_sync=True)
            yield run
            exit_code = 0
        finally:
            _RUNNING.remove(run.id)
            run.finish(exit_code=exit_code)

    def _start(self, run_dir: Path, about: dict[str, Any]) -> Run | None:
        import wandb

        mode = self._resolved_mode()
        if mode == "disabled":
            return None
        about |= {"project": self.project, "entity": self.entity, "dir": run_dir, "name": run_dir.resolve().name}
        if mode == "online" and (run := self._online(about)) is not None:
            return run
        run = wandb.init(**about, mode="offline", settings=_settings())
        print(
            f"  W&B: offline; to send the run: wandb sync {run_dir / 'wandb' / f'offline-run-*-{run.id}'}", flush=True
        )
        return run

    def _online(self, about: dict[str, Any]) -> Run | None:
        """None where the server does not answer; then it is not asked again by this process."""
        import wandb

        server = wandb.setup().settings.base_url
        if server in _SILENT:
            print(f"  W&B: {server} did not answer before: offline", flush=True)
            return None
        try:
            run = wandb.init(**about, mode="online", resume="allow", settings=_settings())
        except wandb.errors.CommError as error:
            reason = str(error).splitlines()[0]
            print(f"  W&B: no connection to {server} within {INIT_TIMEOUT_S:.0f} s ({reason}): offline", flush=True)
            _SILENT.add(server)
            if _RUNNING:
                about["id"] = secrets.token_hex(4)  # the id of the failed attempt is taken
            else:
                wandb.teardown()  # gives the id free
            return None
        print(f"  W&B: {run.url}", flush=True)
        return run

    def _resolved_mode(self) -> str:
        wanted = os.environ.get("WANDB_MODE", "auto") if self.mode == "auto" else self.mode
        if wanted == "auto":
            return "online" if has_key() else "offline"
        if wanted not in MODES:
            raise UserError(f"WANDB_MODE must be one of {', '.join(MODES[1:])}, got '{wanted}'")
        if wanted == "online" and not has_key():
            raise UserError(
                "W&B is to be online, but no API key is known: set WANDB_API_KEY or run `wandb login`, or take "
                "logger.mode=offline"
            )
        return wanted


def has_key() -> bool:
    """Whether W&B finds credentials (environment, netrc, settings), asked without a prompt and without network.

    wandb.login(prompt=False) would do, but it asks the server who we are.
    """
    import wandb
    from wandb.sdk.lib import wbauth

    try:
        host = wandb.setup().settings.base_url
        return wbauth.authenticate_session(host=host, source="tem_seg", prompt=False, update_session=False) is not None
    except wandb.errors.AuthenticationError as error:
        raise UserError(f"W&B: {error}. Correct the key, unset it, or take logger.mode=offline") from error


def _settings() -> Settings:
    import wandb

    return wandb.Settings(init_timeout=INIT_TIMEOUT_S, finish_timeout=FINISH_TIMEOUT_S, console="off", silent=True,
                          reinit="create_new")  # fmt: skip


# -------------------------------------------------------------------------------------------------- panels


def log_panels(run: Run, dataset: CocoDataset, results: Sequence[Mapping[str, Any]], count: int) -> None:
    """Adds panels of ``count`` micrographs to the figures that are logged next."""
    import wandb

    drawn = draw_panels(dataset, results, count)
    if drawn:
        run.log({PANELS: [wandb.Image(picture, caption=caption) for picture, caption in drawn]}, commit=False)


def draw_panels(
    dataset: CocoDataset, results: Sequence[Mapping[str, Any]], count: int
) -> list[tuple[NDArray[np.uint8], str]]:
    """Predictions (left) beside truth (right) of ``count`` micrographs spread over the dataset, each with a caption.

    Pictures are (h, w <= 1600, 3) uint8 RGB; results are those of the whole dataset, drawn from score 0.5.
    """
    rows = by_image([dict(row) for row in results], [image.id for image in dataset.images])
    pictures = []
    for image in dataset.subset(count).images if count else []:
        pixels, truths = normalise(read_micrograph(image.path).pixels), dataset.annotations[image.id]
        found = [row for row in rows[image.id] if row["score"] >= PANEL_SCORE]
        masks, known = ([outline_of(entry, (image.height, image.width)) for entry in some] for some in (found, truths))
        picture = panel(pixels, masks, known)
        caption = f"{image.path.name}: {len(found)} predicted at score ≥ {PANEL_SCORE}, {len(truths)} annotated"
        pictures.append((_narrowed(picture), caption))
    return pictures


def _narrowed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    if width <= PANEL_WIDTH_PX:
        return picture
    size = (PANEL_WIDTH_PX, max(1, round(height * PANEL_WIDTH_PX / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
