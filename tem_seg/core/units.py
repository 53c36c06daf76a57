"""Lengths to nanometres. pint knows the units; what follows are the traps of microscope files."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from tem_seg.core.errors import UserError

if TYPE_CHECKING:
    import pint

# On a micrograph's axis "A" is ångström (pint: ampere); pint also takes "px" for the CSS pixel of 1/96 inch.
ALIASES = {"A": "angstrom", "å": "angstrom", "u": "micron", "μ": "micron", '"': "inch"}
LENGTH_UNITS = ("meter", "angstrom", "micron", "inch", "fermi")


def to_nm(value: float, unit: str) -> float:
    """A length ``value`` in ``unit`` ("nm", "um", "µm", "Å", "A", "micron", "inch", …) → nm.

    Raises UserError for pixels, reciprocal lengths (diffraction patterns), other dimensions and unknown text.

    >>> to_nm(0.5, "µm")
    500.0
    """
    return value * _factor(
        unicodedata.normalize("NFKC", unit).strip()
    )  # one ångström sign, one micro sign of the several


@cache
def _factor(unit: str) -> float:
    parsed = _parse(unit)
    if parsed is None:
        raise UserError(f"unknown unit {unit!r}: expected a length such as nm, µm, Å or pm")
    if parsed.dimensionality == {"[length]": -1}:
        raise UserError(f"unit {unit!r} is a reciprocal length: a diffraction pattern, not a micrograph")
    if parsed.dimensionality != {"[length]": 1} or not str(parsed).endswith(LENGTH_UNITS):
        raise UserError(f"unit {unit!r} is no physical length: expected nm, µm, Å, pm, mm, …")
    factor = float(_registry().Quantity(1.0, parsed).to("nanometer").magnitude)
    return float(f"{factor:.14g}")  # 1 µm is 999.9999999999999 nm in binary arithmetic


def _parse(unit: str) -> pint.Unit | None:
    """pint's reading of ``unit``; words (longer than a symbol) in any case; None where it has none."""
    for text in (ALIASES.get(unit, unit), unit.lower() if len(unit) > 2 else ""):
        try:
            if text:
                return _registry().Unit(text)
        except Exception:  # noqa: BLE001 - pint raises AssertionError, ValueError, TokenError, … for odd text
            continue
    return None


@cache
def _registry() -> pint.UnitRegistry[float]:
    import pint  # half a second: not before the first length is converted

    return pint.UnitRegistry()
