"""Which measured particles count, and for how much; what each rule does to their number and median is written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.weighted import effective_number, quantile

FloatArray = NDArray[np.float64]
Frames = Mapping[int, tuple[int, int]]
CHOICES = {
    "border": ("keep", "exclude", "weight"),
    "touching": ("count", "exclude"),
    "overlapping": ("count", "exclude"),
    "aggregated": ("count", "exclude", "split"),
}
SIZES = ("equivalent_diameter", "max_feret")
"""What a particle's size is, the first that is known (a rotated box knows no area)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts as a particle (docs/measurands.md, "Counting rules").

    min_size_px: equivalent diameter (of rotated boxes the length) below which nothing is measured. aggregated: masks
    that hold several particles grown together, told by ``neck`` (tem_seg/measurement/splitting.py). overlapping: that
    share pixels with another. touching: that lie against another. border: that reach the frame's edge, or come as close
    to it as border_px (a model's outline may stop short of it); "weight" leaves them out and weights the others
    (:func:`border_weights`).
    """

    border: str = "keep"
    touching: str = "count"
    overlapping: str = "count"
    aggregated: str = "count"
    min_size_px: float = 0.0
    neck: float = 0.7
    border_px: int = 0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"{name} particles: '{getattr(self, name)}' is none of {', '.join(choices)}")
        if not (np.isfinite(self.min_size_px) and self.min_size_px >= 0):
            raise UserError(f"min_size_px must be 0 or a positive number of pixels, got {self.min_size_px}")
        if self.border_px < 0:
            raise UserError(f"border_px must be 0 or a positive number of pixels, got {self.border_px}")
        if not 0 < self.neck < 1:
            raise UserError(f"neck must lie between 0 and 1 (a share of the smaller part's width), got {self.neck}")

    @property
    def looks_for_necks(self) -> bool:
        """Aggregated masks are treated otherwise than single particles."""
        return self.aggregated != "count"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a rule did: particles before and after it, and the weighted median of each size column (NaN of none).

    effective: equally weighted particles that the weighted ones after it are worth (Kish): far fewer where a few large
    ones weigh much.
    """

    rule: str
    setting: str
    before: int
    after: int
    median_before: dict[str, float]
    median_after: dict[str, float]
    effective: float

    def to_json(self) -> dict[str, Any]:
        """As in measurement.json."""
        return asdict(self) | {"removed": self.before - self.after}

    def __str__(self) -> str:
        changed, worth = self.before - self.after, ""
        if self.effective < 0.999 * self.after:
            worth = f"; worth {self.effective:.0f} of equal weight"
        how = "no particle removed" if not changed else f"{abs(changed)} {'removed' if changed > 0 else 'added'}"
        medians = [f"{_said(name)} {self.median_before[name]:.4g} → {self.median_after[name]:.4g} {name[-2:]}"
                   for name in self.median_after]  # fmt: skip
        return f"{self.rule} {self.setting}: {self.before} → {self.after} ({how}); median {', '.join(medians)}{worth}"


def _said(column: str) -> str:
    return column[:-3].replace("_", " ")


def apply(table: pd.DataFrame, rules: Rules, frames: Frames) -> tuple[pd.DataFrame, list[Effect]]:
    """A table of ``particle_table`` → the particles that count, with their ``weight``, and what each rule did.

    frames: (height, width) px by image_id. Rules that let everything be have no entry. Splitting is done where
    particles are measured (``particles.counted``).
    """
    effects = []
    for rule, setting, step in _steps(rules, frames):
        after = step(table).reset_index(drop=True)
        effects.append(effect_of(rule, setting, table, after))
        table = after
    return table, effects


def left_out(table: pd.DataFrame, rules: Rules, frames: Frames) -> list[str]:
    """Why each particle (N,) does not count: the first rule that leaves it out, "" for one that counts."""
    table = table.reset_index(drop=True)
    found, left = pd.Series("", table.index), table
    for rule, _, step in _steps(rules, frames):
        after = step(left)
        found[left.index.difference(after.index)] = rule
        left = after
    return found.to_list()


def _steps(rules: Rules, frames: Frames) -> list[tuple[str, str, Callable[[pd.DataFrame], pd.DataFrame]]]:
    """The rules that do something, in order: what is no particle first, weights last."""
    steps: list[tuple[str, str, Callable[[pd.DataFrame], pd.DataFrame]]] = []
    if rules.min_size_px > 0:
        steps.append(("min_size_px", f"{rules.min_size_px:g}", lambda t: t[~(size_px(t) < rules.min_size_px)]))
    if rules.aggregated == "exclude":
        steps.append(("aggregated", "exclude", lambda t: t[~(t["parts"] > 1)]))
    if rules.overlapping == "exclude":
        steps.append(("overlapping", "exclude", lambda t: t[~t["overlaps"].eq(True)]))
    if rules.touching == "exclude":
        steps.append(("touching", "exclude", lambda t: t[~t["touches_particle"].eq(True)]))
    if rules.border != "keep":
        steps.append(("border", "exclude", lambda t: t[~t["touches_border"].eq(True)]))
    if rules.border == "weight":
        steps.append(("border", "weight", lambda t: t.assign(weight=border_weights(t, frames, rules.border_px))))
    return steps


def effect_of(rule: str, setting: str, before: pd.DataFrame, after: pd.DataFrame) -> Effect:
    """The numbers and medians of two tables."""
    columns = size_columns(before)
    return Effect(rule, setting, len(before), len(after), _medians(before, columns), _medians(after, columns),
                  effective_number(after["weight"].to_numpy(np.float64)))  # fmt: skip


def size_columns(table: pd.DataFrame) -> list[str]:
    """The columns that stand for the size, one a unit; the equivalent diameter's where no particle has any."""
    there = [[f"{name}_{unit}" for name in SIZES if f"{name}_{unit}" in table] for unit in ("nm", "px")]
    return [next((c for c in columns if table[c].notna().any()), columns[0]) for columns in there if columns]


def size_px(table: pd.DataFrame) -> FloatArray:
    """Size (N,) of particles in pixels, NaN where unknown."""
    first, second = (in_px(table, name) for name in SIZES)
    return np.where(np.isnan(first), second, first)


def in_px(table: pd.DataFrame, name: str) -> FloatArray:
    """A length (N,) of a table in pixels, whatever its unit there."""
    found = np.full(len(table), np.nan)
    if f"{name}_nm" in table:
        found = table[f"{name}_nm"].to_numpy(np.float64) / table["pixel_size_nm"].to_numpy(np.float64)
    other = table[f"{name}_px"].to_numpy(np.float64) if f"{name}_px" in table else found
    return np.where(np.isnan(found), other, found)


def _medians(table: pd.DataFrame, columns: list[str]) -> dict[str, float]:
    weights = table["weight"].to_numpy(np.float64)
    return {name: float(quantile(table[name].to_numpy(np.float64), 0.5, weights)) for name in columns}


def border_weights(table: pd.DataFrame, frames: Frames, border_px: int = 0) -> FloatArray:
    """Miles-Lantuéjoul weights (N,) of particles that lie inside the frame, from the upright boxes around them.

    A particle w × h px large lies inside a frame of W × H px, off its outermost pixels, in (W - w - 1) (H - h - 1) of
    W H places: large ones are seen whole less often, and weights W H / ((W - w - 1) (H - h - 1)) make up for it
    (Miles 1974; Lantuéjoul 1980; ISO 13322-1 treats the same bias). border_px: as in :class:`Rules`, off each side.
    """
    weights: FloatArray = 1.0 / inside_share(table, frames, border_px)
    return weights


def inside_share(table: pd.DataFrame, frames: Frames, border_px: int = 0) -> FloatArray:
    """Share (N,) of places in its frame where a particle of the same size would not touch the border."""
    height, width = np.array([frames[image_id] for image_id in table["image_id"]], np.float64).reshape(-1, 2).T
    x, y = (in_px(table, f"{axis}_size") for axis in "xy")
    # a particle that is inside fits by definition; a contour may exceed its mask by a fraction of a pixel
    room = 1 + 2 * border_px
    return np.maximum(width - x - room, 1.0) * np.maximum(height - y - room, 1.0) / (width * height)
