"""What a user may choose of an analysis, checked as soon as it is said."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tem_seg.core.errors import UserError
from tem_seg.data.pixel_size import check_pixel_size
from tem_seg.measurement.counting import Rules
from tem_seg.measurement.distributions import WEIGHTINGS
from tem_seg.reporting.particle_colours import MEANINGS

LEAST_PX = 5.0
"""Equivalent diameter below which nothing is measured unless asked for: an edge half a pixel off is 20 % there."""
BORDER_PX = 2
"""Outlines that come so close to the frame are cut by it: where it cuts particles of EMPS's validation part, 82 of 258
outlines stop short of it, 16 of them by more than this; 17 whole particles come as close."""
MAGNIFICATIONS = (0.05, 8.0)


@dataclass(frozen=True, slots=True)
class Settings:
    """checkpoint: the folder of a run, a file, or "starter". pixel_size_nm: in place of what the files say.
    pixel_size_error: relative standard uncertainty of the pixel size. min_score: None, that of the run or checkpoint.
    magnification: micrographs are looked at so many times their size; None, as the run did or the checkpoint asks:
    found for each, or 1. border, min_size_px, touching, overlapping, aggregated: counting rules. weights: what
    the distribution is weighted by, "number", "area" or "volume". colours: what outlines' say, "flag" or "size".
    strip: a strip of writing below a micrograph is no part of it.
    """

    checkpoint: str = "starter"
    pixel_size_nm: float | None = None
    pixel_size_error: float | None = None
    min_score: float | None = None
    magnification: float | None = None
    border: str = "weight"
    min_size_px: float = LEAST_PX
    touching: str = "count"
    overlapping: str = "count"
    aggregated: str = "count"
    weights: str = "number"
    colours: str = "flag"
    strip: bool = True

    def __post_init__(self) -> None:
        if self.pixel_size_nm is not None:
            check_pixel_size(self.pixel_size_nm)
        error = self.pixel_size_error
        if error is not None and not (math.isfinite(error) and 0 <= error < 1):
            raise UserError(f"an uncertainty of the pixel size of {error:g}: give its share, such as 0.01 for 1 %")
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise UserError(f"min_score lies between 0 and 1, got {self.min_score:g}")
        low, high = MAGNIFICATIONS
        if self.magnification is not None and not low <= self.magnification <= high:
            raise UserError(f"a magnification of {self.magnification:g}: give one between {low:g} and {high:g}")
        if self.aggregated == "split":
            raise UserError("aggregated: split is for a run (measurement.aggregated=split); here count or exclude")
        for name, chosen, choices in (("weights", self.weights, WEIGHTINGS), ("colours", self.colours, MEANINGS)):
            if chosen not in choices:
                raise UserError(f"{name}: '{chosen}' is none of {', '.join(choices)}")
        _ = self.rules  # refuses what it does not know

    @property
    def rules(self) -> Rules:
        """The counting rules."""
        return Rules(
            border=self.border, min_size_px=self.min_size_px, touching=self.touching, overlapping=self.overlapping,
            aggregated=self.aggregated, border_px=BORDER_PX,
        )  # fmt: skip
