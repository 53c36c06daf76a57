"""From which score on a detection counts: rules compared on the validation micrographs of finished runs, as a table.

    python scripts/counting_score.py outputs/runs/emps_spheres_*/*

40 times a run, a random half of its validation micrographs chooses a score by each rule, and the other half is counted
at it. Columns: means over the runs of the F1 at mask IoU 0.5, of its SD over the halves, and of the SD of the score's
logit. Runs are taken in the order of their paths, and test predictions never looked at.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from tem_seg.core.errors import UserError, user_errors_exit
from tem_seg.data import coco, results
from tem_seg.evaluation.calibration import HALF_DIGIT, counting_score, fit, outcomes
from tem_seg.evaluation.matching import Matching, best_f1, counts_at, match_dataset, sweep
from tem_seg.stages import common

HALVES = 40
NEAR = 0.01
"""F1 that differs by no more is as good as the best."""
RULES = (
    "the score with the best F1",
    f"the median of all scores within {NEAR} of the best F1",
    "confidence = 0.5 (Platt, two parameters)",
    "confidence = half the best F1 (Lipton et al. 2014)",
    "the other half's own best score (nobody knows it)",
)


def chosen(half: Sequence[Matching], other: Sequence[Matching]) -> list[float] | None:
    """The score of each of RULES; None where a half has nothing to choose by, or its scores cannot be calibrated."""
    (best, f1), (theirs, _), known = best_f1(half), best_f1(other), fit(*outcomes(half))
    if known is None or not np.isfinite([f1, theirs]).all():
        return None
    swept = sweep(half)
    near = swept.scores[swept.f1() >= f1 - NEAR]
    return [best, float(expit(np.median(_logits(near)))), known.score(0.5), counting_score(half), theirs]


def compared(matchings: Sequence[Matching], rng: np.random.Generator) -> NDArray[np.float64]:
    """(halves, rules, 2): F1 of the other half, and the logit of the score, for every half that can choose one."""
    found = []
    for _ in range(HALVES):
        order = [matchings[place] for place in rng.permutation(len(matchings))]
        half, other = order[: len(order) // 2], order[len(order) // 2 :]
        scores = chosen(half, other)
        if scores is not None:
            f1 = [counts_at(other, score)["f1"] for score in scores]
            found.append(np.stack([f1, _logits(np.array(scores))], axis=1))
    return np.array(found).reshape(-1, len(RULES), 2)


def read(run_dir: Path) -> list[Matching]:
    """One matching a validation micrograph. Raises UserError for a folder without a validation split or predictions."""
    split = common.splits(run_dir).get("val")
    if split is None:
        raise UserError(f"{run_dir} has no validation split: give folders of runs, outputs/runs/<experiment>/<run>")
    rows, info = results.read(run_dir / common.PREDICTION_FILES["val"])
    return list(match_dataset(coco.read(Path(split)).only(info.get("image_ids")), rows).values())


def table(run_dirs: Sequence[Path], seed: int) -> Iterator[str]:
    """Lines of Markdown. Raises UserError for a run of which no half can be calibrated."""
    rng = np.random.default_rng(seed)
    runs = []
    for run_dir in sorted(run_dirs):
        found = compared(read(run_dir), rng)
        if not len(found):
            raise UserError(f"{run_dir}: no half of its validation micrographs can be calibrated: they are too few")
        runs.append([found[..., 0].mean(axis=0), *found.std(axis=0).T])
    yield "| rule | F1 on the other half | its SD over halves | SD of the threshold, logit |"
    yield "|---|---|---|---|"
    for rule, (f1, spread, moved) in zip(RULES, np.mean(runs, axis=0).T, strict=True):
        yield f"| {rule} | {f1:.4f} | {spread:.3f} | {moved:.2f} |"


def _logits(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(logit(np.clip(scores, HALF_DIGIT, 1 - HALF_DIGIT)), np.float64)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table. Exit code 2: a folder that is no run, or one that cannot be judged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="folders of runs with predictions")
    parser.add_argument("--seed", type=int, default=0, help="of the halves (default: %(default)s)")
    options = parser.parse_args(arguments)
    with user_errors_exit("counting_score"):
        print("\n".join(table(options.runs, options.seed)))


if __name__ == "__main__":
    main()
