"""Makes the starter weights: trains the experiment and writes them into the package, in half precision.

    python scripts/make_starter.py                  trains first: hours on two cores; resumes what was interrupted
    python scripts/make_starter.py --run RUN_DIR    takes a finished training

What they do on real micrographs is measured by scripts/starter_figures.py and stated in tem_seg/weights/README.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tem_seg.data import atomic
from tem_seg.models import checkpoint

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "tem_seg" / "weights" / "starter.safetensors"
LARGEST_BYTES = 16 * 10**6
DATA = "EMPS train (MIT; Yildirim and Cole 2021) and synthetic micrographs (conf/recipe/starter.yaml)"


def trained(profile: str) -> Path:
    """The run directory of a finished training: an interrupted one is resumed, by the run itself."""
    given = ["experiment=starter", f"profile={profile}", "stages=[generate,train]"]
    subprocess.run([sys.executable, "-m", "tem_seg.run", *given], cwd=ROOT, check=True)
    outputs = Path(os.environ.get("TEM_SEG_OUTPUTS", ROOT / "outputs"))
    return max((outputs / "runs" / "starter").iterdir(), key=lambda path: path.name)


def write(run_dir: Path) -> None:
    """RUN_DIR/checkpoints/last.ckpt → the package's file."""
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


def main() -> None:
    """Trains where there is no run given, then writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, metavar="RUN_DIR", help="a finished training")
    parser.add_argument("--profile", default="laptop")
    options = parser.parse_args()
    write(options.run or trained(options.profile))


if __name__ == "__main__":
    main()
