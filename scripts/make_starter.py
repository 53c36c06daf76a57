"""Makes the starter weights: trains the experiment and writes them into the package, in half precision.

    python scripts/make_starter.py                  trains first: hours on two cores; resumes what was interrupted
    python scripts/make_starter.py --run RUN_DIR    takes a finished training
    python scripts/make_starter.py --calibrate      the file that is there: weights as they are, its calibration anew

Calibrated on EMPS's validation part, which trained nothing: the score from which a particle counts, what a score means,
and how far edges may lie, at the magnification that each micrograph asks for (inference/scales.py).

What they do on real micrographs is measured by scripts/starter_figures.py and stated in tem_seg/weights/README.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from starter_figures import DATA_FOLDER, emps, predicting

from tem_seg.data import atomic
from tem_seg.evaluation.calibration import CARRIED, counting_score, score_figures
from tem_seg.evaluation.edge_spread import edge_figures
from tem_seg.evaluation.matching import match_dataset
from tem_seg.inference.predict import predict_dataset
from tem_seg.models import checkpoint

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "tem_seg" / "weights" / "starter.safetensors"
LARGEST_BYTES = 16 * 10**6
CALIBRATED = ("find_scale", "counting_score", "calibration")
FIND_SCALE = True
"""EMPS's validation part at a quarter of its size: AP50 0.84 instead of 0.45 (docs/results)."""
DATA = "EMPS train (MIT; Yildirim and Cole 2021) and synthetic micrographs (conf/recipe/starter.yaml)"


def trained(profile: str) -> Path:
    """The run directory of a finished training: an interrupted one is resumed, by the run itself."""
    given = ["experiment=starter", f"profile={profile}", "stages=[generate,train]"]
    subprocess.run([sys.executable, "-m", "tem_seg.run", *given], cwd=ROOT, check=True)
    outputs = Path(os.environ.get("TEM_SEG_OUTPUTS", ROOT / "outputs"))
    return max((outputs / "runs" / "starter").iterdir(), key=lambda path: path.name)


def write(run_dir: Path) -> None:
    """RUN_DIR/checkpoints/last.ckpt → the package's file; to be calibrated."""
    found = checkpoint.read(run_dir / "checkpoints" / "last.ckpt")
    run = atomic.read_json(run_dir / "run.json")
    about = found["tem_seg"] | {
        "licence": "Apache-2.0", "data": DATA, "run": run_dir.name,
        "commit": (run["git"]["commit"] or "")[:10], "steps": run["config"]["train"]["steps"],
        "seed": run["config"]["seed"],
    }  # fmt: skip
    TARGET.parent.mkdir(exist_ok=True)
    checkpoint.write(TARGET, checkpoint.model_state(found), about)
    size = TARGET.stat().st_size
    if size > LARGEST_BYTES:
        raise SystemExit(
            f"{TARGET} has {size / 1e6:.1f} MB, more than {LARGEST_BYTES / 1e6:.0f}: make the model smaller"
        )
    print(f"{TARGET}: {size / 1e6:.2f} MB")


def calibrate(data: Path) -> None:
    """What EMPS's validation part says of scores and edges → the file's metadata; the weights stay, to the bit."""
    found = checkpoint.read(TARGET)
    state = checkpoint.model_state(found)
    about = {key: value for key, value in found["tem_seg"].items() if key not in CALIBRATED}
    about["find_scale"] = FIND_SCALE
    with TemporaryDirectory() as folder:
        dataset = emps(data, Path(folder) / "val", "val")
        model, look = predicting(str(TARGET), about)
        results, _ = predict_dataset(model, dataset, look)
    matchings = match_dataset(dataset, results)
    score = float(counting_score(matchings.values()))
    calibration: dict[str, Any] = score_figures(matchings.values(), [])
    calibration |= edge_figures(dataset, results, matchings, min_score=score)
    calibration |= {
        "fitted_on": f"EMPS validation part, {len(dataset)} micrographs", "look": look.magnifications_and_views,
    }  # fmt: skip
    kept = {key: calibration[key] for key in CARRIED}
    checkpoint.write(TARGET, state, about | {"counting_score": score, "calibration": kept})
    again = checkpoint.model_state(checkpoint.read(TARGET))
    assert again.keys() == state.keys() and all(torch.equal(again[name], state[name]) for name in state)
    print(f"{TARGET}: counting score {score:.4f}, {kept}")


def main() -> None:
    """Trains where there is no run given, writes, calibrates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, metavar="RUN_DIR", help="a finished training")
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--calibrate", action="store_true", help="trains nothing, writes no weights")
    parser.add_argument("--data", type=Path, default=DATA_FOLDER)
    options = parser.parse_args()
    if not options.calibrate:
        write(options.run or trained(options.profile))
    calibrate(options.data)


if __name__ == "__main__":
    main()
