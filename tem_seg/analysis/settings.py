"""What a user may choose of an analysis, checked as soon as it is said."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tem_seg.core.errors import UserError
from tem_seg.data.pixel_size import check_pixel_size
from tem_seg.measurement.counting import Rules
from tem_seg.measurement.distributions import WEIGHTINGS


@dataclass(frozen=True, slots=True)
class Settings:
    """checkpoint: a file, or "starter". pixel_size_nm: in place of what the files say. pixel_size_error: relative
    standard uncertainty of the pixel size. min_score: None, the checkpoint's own. border, min_size_px: counting rules.
    weights: what the distribution is weighted by, "number", "area" or "volume".
    """

    checkpoint: str = "starter"
    pixel_size_nm: float | None = None
    pixel_size_error: float | None = None
    min_score: float | None = None
    border: str = "weight"
    min_size_px: float = 0.0
    weights: str = "number"

    def __post_init__(self) -> None:
        if self.pixel_size_nm is not None:
            check_pixel_size(self.pixel_size_nm)
        error = self.pixel_size_error
        if error is not None and not (math.isfinite(error) and 0 <= error < 1):
            raise UserError(f"an uncertainty of the pixel size of {error:g}: give its share, such as 0.01 for 1 %")
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise UserError(f"min_score lies between 0 and 1, got {self.min_score:g}")
        if self.weights not in WEIGHTINGS:
            raise UserError(f"weights: '{self.weights}' is none of {', '.join(WEIGHTINGS)}")
        _ = self.rules  # refuses what it does not know

    @property
    def rules(self) -> Rules:
        """The counting rules."""
        return Rules(border=self.border, min_size_px=self.min_size_px)
