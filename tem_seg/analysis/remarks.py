"""What an analysis says of itself: red flags, and notes."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from tem_seg.analysis.one import Done
from tem_seg.analysis.segment import CAPS
from tem_seg.measurement.counting import Effect


def flags(
    done: Sequence[Done], particles: pd.DataFrame, measured: pd.DataFrame, effects: Sequence[Effect]
) -> list[str]:
    """What a reader must know before believing a figure."""
    found = [f"{each.item.name}: {warning}" for each in done for warning in each.pixel_size.warnings]
    found += _capped([each.item.name for each in done if each.capped])
    by_bytes: dict[tuple[str, int | None], list[str]] = {}
    for each in done:
        by_bytes.setdefault((each.sha256, each.item.frame), []).append(str(each.item.path))
    found += [f"the same micrograph {len(files)} times, its particles count as often: {', '.join(files[:3])}"
              for files in by_bytes.values() if len(files) > 1]  # fmt: skip
    if len(measured) and not len(particles):
        found.append(
            f"none of {len(measured)} measured particles counts: {next(one for one in effects if not one.after)}"
        )
    elif effects and effects[-1].effective < 0.5 * len(particles):
        found.append(f"{len(particles)} particles are worth {effects[-1].effective:.0f}: take larger fields of view")
    return found


def _capped(names: Sequence[str]) -> list[str]:
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return [f"more particles than a look may return ({CAPS[-1]:,}) in {shown}: some may be missing"] if names else []


def notes(done: Sequence[Done]) -> list[str]:
    """What is good to know, and no cause for alarm."""
    found = []
    empty = [each.item.name for each in done if not len(each.table)]
    if empty:
        found.append(f"no particle found in {len(empty)} of {len(done)} micrographs: {', '.join(empty[:5])}")
    unknown = [each for each in done if each.pixel_size.value_nm is None]
    if unknown:
        found.append(
            f"pixel size unknown in {len(unknown)} of {len(done)} micrographs ({unknown[0].pixel_size.source}): "
            "lengths are in px there"
        )
    strips = sum(each.strip_px > 0 for each in done)
    if strips:
        found.append(
            f"a strip of writing below {strips} of {len(done)} micrographs is no part of the field (--no-strip)"
        )
    if any(each.item.frame is not None for each in done):
        found.append("frames of one file count as one field of view in all uncertainties")
    return found
