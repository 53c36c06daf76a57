"""The burnt-in scale bar of a micrograph: its length in px, what its label says, and from both the pixel size.

Never a guess: what is not read with certainty is refused, with the reason. How well it does on real figures stands in
docs/pixel-size.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tem_seg.data.scalebar_bars import Bar, Grey, find_bars, overlap
from tem_seg.data.scalebar_text import Label, read_line
from tem_seg.data.scalebar_words import Line, lines_near

MOST_BARS = 16
STRONGER = 3.0
"""A bar's contrast times area over another's, from which on only the first is the bar of a label."""
NEAR_BORDER = 0.34
"""A bar's distance from the upper or lower border at most, over the image's height."""
AGREE = 0.02
"""Two readings are one where their pixel sizes differ by less, beyond their own errors."""
LEAST_CERTAIN, LEAST_MEAN, LEAST_MARGIN = 0.5, 0.75, 2.0
"""Of a label's letters: the least certain one's probability, their geometric mean, and the lead in nats over others."""
UNUSUAL = 1.0
"""Nats that numbers other than 1, 2, 5 × 10ⁿ and the unit mm must lead by beyond the usual."""
SAME_GROUND = 60.0
"""Grey levels by which the backgrounds of a bar and of the label above or below it differ at most."""
PLAUSIBLE_NM = (1e-4, 1e6)
"""Pixel sizes of electron micrographs, nm, with room."""


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A bar that was read: its label ("200 nm"), length_px ± error_px, rectangle (x0, y0, x1, y1 px), certainty 0-1."""

    label: str
    length_nm: float
    length_px: float
    error_px: float
    box: tuple[int, int, int, int]
    certainty: float

    @property
    def pixel_size_nm(self) -> float:
        """nm per px, what the label says over the bar's measured length."""
        return self.length_nm / self.length_px

    @property
    def relative_error(self) -> float:
        """Half-width of the interval in which the pixel size lies, over the pixel size."""
        return self.error_px / self.length_px

    def __str__(self) -> str:
        return f"scale bar: {self.label} = {self.length_px:.4g} px"


@dataclass(frozen=True, slots=True)
class NotRead:
    """Why no scale bar was read: one clause ("no bar with a label was found")."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Reading:
    bar: Bar
    label: Label
    line: Line

    @property
    def beside(self) -> bool:
        """Whether the label stands left or right of the bar, not above or below it."""
        return self.line.beside

    @property
    def strength(self) -> float:
        """The bar's contrast in grey levels times the area of its rectangle in px²."""
        x0, y0, x1, y1 = self.bar.box
        return abs(self.bar.contrast) * (x1 - x0) * (y1 - y0)

    @property
    def certain(self) -> bool:
        """Whether each letter, all together and their lead over other readings suffice, for a plausible pixel size."""
        label = self.label
        letters = len(label.number) + len(label.unit)
        lead = LEAST_MARGIN + UNUSUAL * (not _round(float(label.number))) + UNUSUAL * (label.unit == "mm")
        return (
            label.weakest >= LEAST_CERTAIN
            and label.log_p >= letters * math.log(LEAST_MEAN)
            and label.margin >= lead
            and PLAUSIBLE_NM[0] <= self.pixel_size_nm <= PLAUSIBLE_NM[1]
        )

    @property
    def pixel_size_nm(self) -> float:
        """nm per px, what this label says of this bar."""
        return self.label.value_nm / self.bar.length_px

    def agrees(self, other: _Reading) -> bool:
        """Whether the two pixel sizes differ by no more than AGREE and the errors of both bars' lengths."""
        errors = sum(one.bar.error_px / one.bar.length_px for one in (self, other))
        return abs(math.log(self.pixel_size_nm / other.pixel_size_nm)) <= AGREE + errors


def read_scale_bar(pixels: NDArray[np.floating] | NDArray[np.integer]) -> ScaleBar | NotRead:
    """pixels (H, W), a whole micrograph as it was stored → its scale bar, or why none was read."""
    grey = grey_levels(pixels)
    height = grey.shape[0]
    bars = [bar for bar in find_bars(grey) if min(bar.box[1], height - bar.box[3]) <= NEAR_BORDER * height][:MOST_BARS]
    if not bars:
        return NotRead("no bar was found")
    readings = [reading for bar in bars for reading in _readings(grey, bar)]
    return _decide(readings)


def grey_levels(pixels: NDArray[np.floating] | NDArray[np.integer]) -> Grey:
    """Any values → 0-255; 8-bit ones stay what they are."""
    low, high = float(pixels.min()), float(pixels.max())
    if low >= 0 and 1 < high <= 255:
        return np.asarray(np.rint(pixels), np.uint8)
    low, high = (float(v) for v in np.percentile(pixels, (0.01, 99.99)))
    if not high > low:
        return np.zeros(pixels.shape, np.uint8)
    return np.asarray(np.rint(np.clip((pixels - low) * (255.0 / (high - low)), 0, 255)), np.uint8)


def _readings(grey: Grey, bar: Bar) -> list[_Reading]:
    out = []
    for line in lines_near(grey, bar):
        if not line.beside and abs(line.ground - bar.ground) > SAME_GROUND:
            continue  # the label of another bar, on a box that this one is not on, or that this one is the margin of
        if line.beside and _goes_on(grey, bar, line):
            continue  # |—— 2 µm ——|: only the part before the label was measured
        label = read_line(line.ink, line.boxes)
        if label is not None:
            out.append(_Reading(bar, label, line))
    return out


def _goes_on(grey: Grey, bar: Bar, line: Line) -> bool:
    """Whether the bar goes on behind the label beside it: in its rows, a run of its grey longer than letters have."""
    x0, _, x1, _ = line.place
    letter = int((line.boxes[:, 3] - line.boxes[:, 1]).max())
    columns = slice(x0 + 4, x1 + 2 * letter) if bar.box[0] < x0 else slice(max(0, x0 - 2 * letter), x1 - 4)
    rows = grey[bar.box[1] : bar.box[3], columns].astype(np.float32)
    ink = (np.abs(rows - bar.grey) < abs(bar.contrast) / 2.0).mean(axis=0) > 0.5
    edges = np.flatnonzero(np.diff(np.r_[0, ink, 0]))
    return bool((edges[1::2] - edges[::2] >= max(letter, 4)).any())


def _decide(readings: list[_Reading]) -> ScaleBar | NotRead:
    """The best certain reading, unless another certain one contradicts it."""
    if not readings:
        return NotRead("no bar with a legible label was found")
    certain = sorted(_strongest([r for r in readings if r.certain]), key=lambda r: (r.beside, -r.label.log_p))
    if not certain:
        best = max(readings, key=lambda r: r.label.log_p)
        return NotRead(f"the label beside the bar may say {best.label}, but that is not certain")
    best = certain[0]
    for other in certain[1:]:
        if not best.agrees(other) and other.beside == best.beside:
            return NotRead(f"two readings contradict each other: {_said(best)} and {_said(other)}")
    if best.bar.cut:
        return NotRead(f"the bar of {best.label} reaches the image's border and may have been cut")
    return ScaleBar(
        str(best.label), best.label.value_nm, best.bar.length_px, best.bar.error_px, best.bar.box,
        math.exp(best.label.log_p),
    )  # fmt: skip


def _strongest(readings: list[_Reading]) -> list[_Reading]:
    """Without readings of a label that another reading gives to a much stronger bar (halos, lines of a frame)."""

    def beaten(one: _Reading, other: _Reading) -> bool:
        return other.strength > STRONGER * one.strength and overlap(one.line.place, other.line.place) > 0.5

    return [one for one in readings if not any(beaten(one, other) for other in readings)]


def _said(reading: _Reading) -> str:
    return f"{reading.label} = {reading.bar.length_px:.4g} px"


def _round(number: float) -> bool:
    """1, 2 or 5 × 10ⁿ."""
    digits = f"{number:e}".split("e")[0].rstrip("0").rstrip(".")
    return digits in ("1", "2", "5")
