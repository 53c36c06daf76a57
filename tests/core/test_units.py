from __future__ import annotations

import pytest

from tem_seg.core.errors import UserError
from tem_seg.core.units import to_nm

FACTORS = {  # SI prefixes, 1 Å = 1e-10 m, 1 inch = 25.4 mm: exact by definition
    "nm": 1, "nanometer": 1, "nanometers": 1, "Nanometers": 1, " nm ": 1,
    "um": 1e3, "\u00b5m": 1e3, "\u03bcm": 1e3, "micron": 1e3, "microns": 1e3, "Micron": 1e3, "micrometer": 1e3,
    "\u00b5": 1e3,
    "A": 0.1, "Å": 0.1, "A\u030a": 0.1, "\u212b": 0.1, "angstrom": 0.1, "Angstrom": 0.1,
    "pm": 1e-3, "fm": 1e-6, "m": 1e9, "meter": 1e9, "Meters": 1e9, "mm": 1e6, "cm": 1e7, "inch": 25.4e6,
}  # fmt: skip


@pytest.mark.parametrize(("unit", "factor"), FACTORS.items(), ids=ascii)
def test_spellings(unit: str, factor: float) -> None:
    assert to_nm(1.0, unit) == factor


def test_a_micrometre_is_exactly_a_thousand_nm() -> None:
    assert to_nm(0.5, "µm") == 500.0
    assert to_nm(0.2485, "nm") == 0.2485


@pytest.mark.parametrize("unit", ["1/m", "1/nm", "nm^-1"])
def test_reciprocal_lengths_are_refused(unit: str) -> None:
    with pytest.raises(UserError, match="reciprocal length: a diffraction pattern"):
        to_nm(1.0, unit)


@pytest.mark.parametrize("unit", ["px", "pixel", "dimensionless", "mrad", "eV", "s", "nm**2", "kg", "NA"])
def test_what_is_no_length_is_refused(unit: str) -> None:
    """pint alone takes "px" for the CSS pixel: 264,583 nm."""
    with pytest.raises(UserError, match="no physical length|unknown unit"):
        to_nm(1.0, unit)


@pytest.mark.parametrize("unit", ["", " ", "foo", "5 nm", "-", "(", "nm/", "\x00"])
def test_unknown_text_is_refused(unit: str) -> None:
    with pytest.raises(UserError, match="unknown unit"):
        to_nm(1.0, unit)
