"""How often stated 95 % intervals of a size distribution hold the truth: simulated sets of particles, known truth.

    python scripts/coverage_of_intervals.py                 all cases, 2,000 sets each: four minutes of one idle core
    python scripts/coverage_of_intervals.py --cases usual --sets 200 --into outputs/coverage

Writes coverage.csv and coverage.svg into docs/results (or --into). A set: G images; the log size of particle j in
image i is μ + a_i + e_ij, a_i normal with SD ``between``, e_ij with SD ``within``; numbers of particles differ between
images as a gamma mixture of Poisson numbers with the coefficient of variation ``unequal`` (at least 1 particle).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import ndtri

from tem_seg.measurement.distributions import weights_by
from tem_seg.measurement.intervals import LEVELS, QUANTITIES, estimates

ROOT = Path(__file__).resolve().parents[1]
IMAGES = (3, 5, 10, 20, 40)
MEDIAN_NM = 20.0
FIELDS = ("case", "images", "quantity", "sets", "held", "truth_below", "truth_above", "relative_width", "refused")


@dataclass(frozen=True)
class Case:
    """What particles are drawn from; sizes are standard deviations of ln size."""

    between: float = 0.10
    within: float = 0.25
    per_image: float = 40.0
    unequal: float = 0.5
    weighting: str = "number"

    def draw(self, images: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Sizes (N,) in nm and the image that each is of (N,)."""
        shape = self.unequal**-2
        counts = np.maximum(rng.poisson(self.per_image * rng.gamma(shape, 1 / shape, images)), 1)
        owner = np.repeat(np.arange(images), counts)
        logs = self.between * rng.standard_normal(images)[owner] + self.within * rng.standard_normal(len(owner))
        return MEDIAN_NM * np.exp(logs), owner

    def truth(self) -> dict[str, float]:
        """Of all particles that could be drawn: log-normal; a weight d^k moves ln size by k times its variance."""
        variance = self.between**2 + self.within**2
        middle = np.log(MEDIAN_NM) + {"number": 0, "area": 2, "volume": 3}[self.weighting] * variance
        found = {name: float(np.exp(middle + ndtri(level) * np.sqrt(variance))) for name, level in LEVELS.items()}
        return {"mean": float(np.exp(middle + variance / 2))} | found


CASES = {
    "usual": Case(),
    "independent": Case(between=0.0),
    "differing": Case(between=0.20, within=0.20),
    "few_particles": Case(per_image=10.0),
    "very_unequal": Case(unequal=1.0),
    "by_volume": Case(weighting="volume"),
}


def rows_of(name: str, images: int, sets: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """One row a quantity: shares of sets whose interval holds the truth, or lies above or below it, in %."""
    case, rng = CASES[name], np.random.default_rng([seed, sorted(CASES).index(name), images])
    truth = case.truth()
    found: dict[str, list[tuple[bool, bool, float]]] = {quantity: [] for quantity in QUANTITIES}
    for _ in range(sets):
        sizes, owner = case.draw(images, rng)
        for quantity, one in estimates(sizes, owner, weights_by(sizes, case.weighting)).items():
            if one.low is not None and one.high is not None:
                low, high = one.low, one.high
                found[quantity].append((truth[quantity] < low, truth[quantity] > high, (high - low) / one.value))
    for quantity, seen in found.items():
        below, above = (100 * float(np.mean([row[place] for row in seen])) for place in (0, 1))
        yield {
            "case": name, "images": images, "quantity": quantity, "sets": sets,
            "held": round(100 - below - above, 2), "truth_below": round(below, 2), "truth_above": round(above, 2),
            "relative_width": round(float(np.median([width for *_, width in seen])), 4), "refused": sets - len(seen),
        }  # fmt: skip


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Coverage over the number of images, a panel a case; the band is what was wanted."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure = Figure(figsize=(3.4 * min(len(cases), 3), 2.8 * -(-len(cases) // 3)), layout="constrained")
    panels = figure.subplots(-(-len(cases) // 3), min(len(cases), 3), squeeze=False, sharey=True, sharex=True)
    for axes, case in zip(panels.flat, cases, strict=False):
        axes.axhspan(93.5, 96.5, color="#009e73", alpha=0.18, linewidth=0)
        for quantity, mark in zip(QUANTITIES, "os^v", strict=True):
            mine = [row for row in rows if (row["case"], row["quantity"]) == (case, quantity)]
            axes.plot([r["images"] for r in mine], [r["held"] for r in mine], marker=mark, markersize=4, label=quantity)
        axes.set(xscale="log", xticks=IMAGES, xticklabels=IMAGES, title=case.replace("_", " "), ylim=(84, 100))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel("images")
    for axes in panels[:, 0]:
        axes.set_ylabel("95 % intervals that hold, %")
    panels[0, 0].legend(fontsize=8, loc="lower right", ncols=2)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "coverage"}):
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "results")
    args = parser.parse_args()
    args.into.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name in args.cases:
        for images in IMAGES:
            new = list(rows_of(name, images, args.sets, args.seed))
            rows += new
            held = "  ".join(f"{row['quantity']} {row['held']:.1f} %" for row in new)
            print(f"{name:14} {images:3} images  {held}", flush=True)
    with (args.into / "coverage.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    plot(rows, args.into / "coverage.svg")


if __name__ == "__main__":
    main()
