"""What eight annotated micrographs add to the starter weights, and what they give from random ones: two curves.

    python scripts/fine_tune.py [--into outputs/fine_tune.csv]

Eight frames of insitu_sintering train; the other two are scored every forty steps, and choose nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from starter_figures import insitu

ROOT = Path(__file__).resolve().parents[1]
OUTPUTS = Path(os.environ.get("TEM_SEG_OUTPUTS", ROOT / "outputs"))
DATA = Path(os.environ.get("TEM_SEG_DATA", ROOT.parent / "shared/data"))
STARTS = {"starter": [], "none": ["optimizer.lr=1e-3"]}
"""model.weights, and what else is told: random weights get the learning rate that they are trained with elsewhere."""


def trained(pairs: Path, start: str, steps: int) -> pd.DataFrame:
    """AP and AP50 of the other two by step, and seconds of the training, scores included."""
    given = ["experiment=fine_tune", "profile=laptop", f"model.weights={start}", f"dataset.reader.images={pairs}",
             "dataset.reader.splits={train: 0.8, val: 0.2, test: 0}", "dataset.reader.modality=bright_field",
             f"train.steps={steps}", "dataset.name=insitu_sintering", "stages=[generate,train]"]  # fmt: skip
    subprocess.run([sys.executable, "-m", "tem_seg.run", *given, *STARTS[start]], cwd=ROOT, check=True)
    run_dir = max((OUTPUTS / "runs" / "fine_tune").iterdir(), key=lambda path: path.name)
    curve = pd.read_csv(run_dir / "metrics.csv").dropna(subset=["val/ap50"])[["step", "val/ap", "val/ap50"]]
    run = json.loads((run_dir / "run.json").read_text())
    return curve.assign(start=start, train_wall_s=run["stages"]["train"]["wall_s"], run=run_dir.name)


def main() -> None:
    """Trains twice, appends the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=OUTPUTS / "fine_tune.csv")
    parser.add_argument("--steps", type=int, default=240)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        insitu(DATA, Path(folder) / "insitu")
        found = pd.concat([trained(Path(folder) / "insitu" / "pairs", start, options.steps) for start in STARTS])
    options.into.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(options.into, mode="a", index=False, header=not options.into.is_file())
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
