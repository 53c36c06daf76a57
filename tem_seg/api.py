"""For notebooks: micrographs in, a table, a distribution and a figure out (docs/analyze.md)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tem_seg.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from tem_seg.analysis.analyse import Outcome


@dataclass(frozen=True)
class Analysis:
    """What was found. folder: where the tables, pictures and the report lie (until this is dropped, if temporary)."""

    folder: Path
    particles: pd.DataFrame
    images: pd.DataFrame
    red_flags: list[str]
    notes: list[str]
    _told: dict[str, Any] = field(repr=False)
    _temporary: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    def distribution(self) -> pd.DataFrame:
        """Figures of the size distributions, a row a measurand, unit and weighting."""
        from tem_seg.analysis.tables import summary

        return summary(self._told)

    def uncertainty(self) -> pd.DataFrame:
        """The budgets, a row a component; empty without a pixel size."""
        from tem_seg.analysis.tables import budget_rows

        return budget_rows(self._told)

    def figure(self) -> Figure:
        """The size distributions with their intervals."""
        from tem_seg.reporting.analysis_plots import distribution_figure

        return distribution_figure(self._told)


def analyze(
    paths: str | Path | Sequence[str | Path], pixel_size: str | float | None = None, *, out: str | Path | None = None,
    checkpoint: str | Path = "starter", pixel_size_error: float | None = None, min_score: float | None = None,
    magnification: float | None = None, border: str = "weight", min_size: float = 5.0, touching: str = "count",
    overlapping: str = "count", aggregated: str = "count", weights: str = "number", colours: str = "flag",
    strip: bool = True,
) -> Analysis:  # fmt: skip
    """As ``tem-seg analyze``. pixel_size: "0.5nm", "2.1Å", or a number of nm. out: None, a temporary folder.
    checkpoint: the folder of a run, a file, or "starter".

    Raises UserError with one sentence for what the user can mend.
    """
    from tem_seg.analysis.analyse import analyse
    from tem_seg.analysis.report import write_reports
    from tem_seg.analysis.settings import Settings
    from tem_seg.commands.options import pixel_size_nm

    given = pixel_size_nm(pixel_size) if isinstance(pixel_size, str) else pixel_size
    settings = Settings(
        str(checkpoint), given, pixel_size_error, min_score, magnification, border, min_size, touching, overlapping,
        aggregated, weights, colours, strip,
    )  # fmt: skip
    names = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    if not names:
        raise UserError("no micrographs: give files or folders")
    temporary = tempfile.TemporaryDirectory(prefix="tem_seg_") if out is None else None
    folder = Path(temporary.name if temporary is not None else str(out))
    outcome: Outcome = analyse(names, folder, settings)
    write_reports(outcome)
    told = outcome.record
    return Analysis(
        folder, outcome.particles, outcome.images, told["red_flags"], told["notes"], outcome.distribution, temporary
    )
