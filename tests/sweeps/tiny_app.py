"""A tiny Hydra application of its own, run by the project's sweeper: y = 1 - (x - 0.3)², best at x = 0.3."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tem_seg.config import check

APP = """
import os, sys, time
from pathlib import Path
import hydra
from tem_seg.core.errors import UserError
from tem_seg.stages import sweep_job
from tem_seg.sweeps import plugin

plugin.register()
os.environ["HYDRA_FULL_ERROR"] = "1"


def work(cfg):
    with open(Path(cfg.log), "a") as log:
        log.write(f"{cfg.name} {cfg.x} {cfg.shape} {os.getpid()}\\n")
    if cfg.die_at is not None and abs(cfg.x - cfg.die_at) < 1e-9:
        os._exit(9)
    if cfg.fail_above is not None and cfg.x > cfg.fail_above:
        raise UserError(f"x = {cfg.x} is too large")
    time.sleep(cfg.sleep_s)
    return 1 - (cfg.x - 0.3) ** 2


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def app(cfg):
    return sweep_job.kept(work, cfg) if cfg.keeps_record else work(cfg)


try:
    app()
except UserError as error:
    print(f"tem_seg: {error}", file=sys.stderr)
    sys.exit(2)
"""
CONFIG = """
defaults:
  - _self_
  - sweep: grid
  - experiment: null
  - override hydra/sweeper: tem_seg
  - override hydra/job_logging: none
  - override hydra/hydra_logging: none
name: tiny
x: 0.0
shape: square
fail_above: null
die_at: null
keeps_record: true
sleep_s: 0.0
log: {log}
hydra:
  searchpath: ["file://{conf}"]
  output_subdir: null
  run: {{dir: .}}
  sweep: {{dir: "{sweeps}/${{now:%H-%M-%S-%f}}"}}
"""
EXPERIMENT = "# @package _global_\nname: {name}\nsweep: {{space: {{x: '{space}'}}}}\n"


class TinyApp:
    """Called with a command line, it runs the application; sweeps lie in ``sweeps``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sweeps, self.log = folder, folder / "sweeps", folder / "log.txt"
        (folder / "app.py").write_text(APP)
        conf = folder / "conf"
        (conf / "experiment").mkdir(parents=True)
        (conf / "config.yaml").write_text(CONFIG.format(log=self.log, conf=check.config_folder(), sweeps=self.sweeps))
        for name, space in (("a", "interval(0.0, 1.0)"), ("b", "range(1, 4)")):
            (conf / "experiment" / f"{name}.yaml").write_text(EXPERIMENT.format(name=name, space=space))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(self.folder / "app.py"), "-m", *arguments]
        return subprocess.Popen(command, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __call__(self, *arguments: str, code: int = 0) -> str:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == code, out + err
        return out + err

    def jobs(self, sweep: Path | None = None) -> list[dict[str, Any]]:
        folder = sweep or self.newest()
        found = [json.loads(path.read_text()) for path in folder.glob("*/job.json")]
        return sorted(found, key=lambda job: job["number"])

    def newest(self) -> Path:
        return max(self.sweeps.glob("*/"))

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.is_file() else []
