"""Rotated AP of runs side by side; masks of an upright model are judged by the smallest rectangle around each.

python scripts/turned_boxes.py RUN_DIR [RUN_DIR ...]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tem_seg.data import annotations, coco, results
from tem_seg.evaluation.coco_ap import average_precision


def turned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """COCO results with the rotated box of each, that of its mask where it has none of its own."""
    boxes = annotations.rotated_boxes_of(rows)
    return [row | {"rotated_box": box.tolist()} for row, box in zip(rows, boxes, strict=True)]


def figures(run_dir: Path) -> dict[str, Any]:
    """Rotated AP on the run's test split."""
    config = json.loads((run_dir / "run.json").read_text())["config"]
    place = json.loads((run_dir / "datasets.json").read_text())["test"]
    rows, info = results.read(run_dir / "predictions.json")
    dataset = coco.read(Path(place)).only(info.get("image_ids"))
    return average_precision(dataset, turned(rows), "rotated", config["max_instances"])


def main() -> None:
    """Prints a row a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR")
    print("| run | rotated AP | AP50 | AP75 | particles | predictions |\n|---|---|---|---|---|---|")
    for run_dir in parser.parse_args().runs:
        found = figures(run_dir)
        cells = [f"{found[key]:.3f}" for key in ("ap", "ap50", "ap75")] + [found["n_truths"], found["n_predictions"]]
        print(f"| {run_dir.name} | {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
