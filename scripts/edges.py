"""What looking at masks again near their edges is worth: the same detections, refined and of 28 x 28 cells.

    python scripts/edges.py emps_test

One row a kind of mask, as Markdown: AP, and how outlines of matched particles agree with the true ones
(``tem_seg.evaluation.boundary``), of all and of those with more than 100 px. The starter weights, or --checkpoint.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import starter_figures

from tem_seg.core.errors import user_errors_exit
from tem_seg.data.coco import CocoDataset
from tem_seg.evaluation.boundary import boundary_figures
from tem_seg.evaluation.coco_ap import average_precision
from tem_seg.evaluation.matching import match_dataset
from tem_seg.inference.predict import Predictor, predict_dataset
from tem_seg.models import checkpoint
from tem_seg.models.contract import SegmentationModel

COLUMNS = ("set", "masks", "AP", "AP75", "n", "boundary IoU", "F1", "distance, px", "bias, px")
WIDTH_PX = 2.0
"""Outlines closer than this agree (conf/evaluation)."""


def row(name: str, kind: str, dataset: CocoDataset, model: SegmentationModel, look: Predictor, score: float) -> str:
    """One line of the table; figures of all particles, and in brackets of the large ones."""
    results, _ = predict_dataset(model, dataset, look)
    ap = average_precision(dataset, results, "segm", 1000)
    found = boundary_figures(dataset, results, match_dataset(dataset, results), score=score, width_px=WIDTH_PX)
    both = [f"{found[key]:.3f} ({found['large'][key]:.3f})" for key in ("iou", "f1", "distance_px", "bias_px")]
    counts = f"{found['n']} ({found['large']['n']})"
    return " | ".join([f"| {name}", kind, f"{ap['ap']:.3f}", f"{ap['ap75']:.3f}", counts, *both, ""]).rstrip()


def table(names: Sequence[str], weights: str, data: Path) -> Iterator[str]:
    """Two rows a set."""
    about = checkpoint.read(checkpoint.path_of(weights))["tem_seg"]
    model, look = starter_figures.predicting(weights, about)
    heads: Any = model.get_submodule("roi_heads")
    refinement = heads.refinement
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|---" * len(COLUMNS) + "|"
    with TemporaryDirectory() as folder:
        for name in names:
            dataset = starter_figures.SETS[name](data, Path(folder) / name)
            for kind, used in (("refined", refinement), ("28 x 28", None)):
                heads.refinement = used
                yield row(name, kind, dataset, model, look, about["counting_score"])


def main(arguments: Sequence[str] | None = None) -> None:
    """The table, on standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=[name for name in starter_figures.SETS if name != "stem_catalysts"])
    parser.add_argument("--checkpoint", default=checkpoint.STARTER, help="(default: the weights of the package)")
    parser.add_argument("--data", type=Path, default=starter_figures.DATA_FOLDER)
    options = parser.parse_args(arguments)
    for line in table(options.sets, options.checkpoint, options.data):
        print(line, flush=True)


if __name__ == "__main__":
    with user_errors_exit("edges"):
        main()
