"""The pixel size of a micrograph and where it comes from (docs/pixel-size.md).

What the user states goes before what the file's metadata state, and these before the burnt-in scale bar. Where two are
known they are compared. Where none is known the answer is "unknown": lengths are then in px, never in guessed nm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from tem_seg.core.errors import UserError
from tem_seg.core.types import Micrograph
from tem_seg.data.images import read_micrograph
from tem_seg.data.scalebar import NotRead, ScaleBar, read_scale_bar

GIVEN = "given (--pixel-size)"
TOLERANCE = 0.03
"""Two pixel sizes agree where they differ by no more than this share, beyond their stated errors."""


@dataclass(frozen=True, slots=True)
class PixelSize:
    """value_nm is None where none is known; source then says why none was read from the picture.

    relative_error: half-width of the interval in which the value lies, over the value (a scale bar's length is known to
    ± 1 px); divided by √3 it is a standard uncertainty. None where the source states none (metadata, the user).
    warnings: sentences for the user, among them each disagreement between two sources.
    """

    value_nm: float | None
    source: str
    relative_error: float | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.value_nm is not None:
            check_pixel_size(self.value_nm)

    def __str__(self) -> str:
        return f"unknown ({self.source})" if self.value_nm is None else f"{self.value_nm:.6g} nm ({self.source})"


def check_pixel_size(value_nm: float) -> float:
    """The value itself, if it is a length; UserError for 0, negative numbers, NaN and infinity."""
    if not (isinstance(value_nm, (int, float)) and math.isfinite(value_nm) and value_nm > 0):
        raise UserError(f"a pixel size of {value_nm} nm is impossible: expected a positive number of nm, such as 0.25")
    return float(value_nm)


def read_with_pixel_size(
    path: Path, *, frame: int | None = None, given_nm: float | None = None, read_bar: bool = True
) -> tuple[Micrograph, PixelSize]:
    """A micrograph that carries its resolved pixel size, and that pixel size with its source, error and warnings.

    given_nm: what the user states. read_bar: whether the picture is searched for a scale bar (about 0.1 s for 512²).
    Raises UserError for what cannot be read, for impossible pixel sizes, and for pixels that are not square unless
    given_nm is there.
    """
    if given_nm is not None:
        check_pixel_size(given_nm)
    problem = None
    try:
        found = read_micrograph(path, frame=frame)
    except UserError as error:
        if given_nm is None:
            raise
        found = read_micrograph(path, frame=frame, pixel_size_nm=given_nm)  # raises again if it cannot be read
        found, problem = Micrograph(found.pixels), f"the file's own calibration is not used: {error}"
    size = resolve(found, given_nm=given_nm, read_bar=read_bar)
    if problem is not None:
        size = PixelSize(size.value_nm, size.source, size.relative_error, (problem, *size.warnings))
    known = size.value_nm is not None
    return Micrograph(found.pixels, size.value_nm, size.source if known else None, found.modality), size


def resolve(micrograph: Micrograph, *, given_nm: float | None = None, read_bar: bool = True) -> PixelSize:
    """The pixel size of a micrograph that was read: given, else its metadata's, else its scale bar's, else unknown."""
    bar = read_scale_bar(micrograph.pixels) if read_bar else NotRead("the picture was not searched for a scale bar")
    found: list[PixelSize] = []
    if given_nm is not None:
        found.append(PixelSize(check_pixel_size(given_nm), GIVEN))
    if micrograph.pixel_size_nm is not None:
        found.append(PixelSize(micrograph.pixel_size_nm, micrograph.pixel_size_source or "metadata"))
    if isinstance(bar, ScaleBar):
        found.append(PixelSize(bar.pixel_size_nm, str(bar), bar.relative_error))
    if not found:
        assert isinstance(bar, NotRead)
        return PixelSize(None, f"no metadata; scale bar: {bar.reason}; give --pixel-size for lengths in nm")
    best = found[0]
    warnings = tuple(text for other in found[1:] if (text := disagreement(best, other)) is not None)
    return PixelSize(best.value_nm, best.source, best.relative_error, warnings)


def disagreement(used: PixelSize, other: PixelSize, tolerance: float = TOLERANCE) -> str | None:
    """A sentence that names both, where they differ by more than tolerance and their own errors; else None."""
    assert used.value_nm is not None and other.value_nm is not None
    allowed = tolerance + (used.relative_error or 0.0) + (other.relative_error or 0.0)
    ratio = other.value_nm / used.value_nm
    if abs(ratio - 1.0) <= allowed:
        return None
    return (
        f"two pixel sizes differ by a factor of {ratio:.4g}: {used} is used, {other} is not; "
        "find out which one is right and give it as --pixel-size"
    )
