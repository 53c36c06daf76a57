"""Figures in words: digits that the uncertainty allows, and what it does not contain."""

from __future__ import annotations

import numpy as np
import pytest

from tem_seg.reporting.analysis_words import enough_text, figure_text, name_of, not_included, plain, rounded


@pytest.mark.parametrize(
    ("value", "to", "text"),
    [(181.43, 3.51, "181.4"), (181.43, 35.1, "181"), (9.8765, 0.0123, "9.877"), (12345.6, 350.0, "12,346"),
     (5.0, 0.0, "5.000")],
)  # fmt: skip
def test_as_many_digits_as_the_uncertainty_allows(value: float, to: float, text: str) -> None:
    assert rounded(value, to) == text


def test_sizes_have_no_exponent() -> None:
    assert [plain(value) for value in (0.0163812, 1730.4, 181.43, 2.0, 0.0)] == ["0.0164", "1,730", "181", "2.00", "0"]


def told(value: float = 20.0, expanded: float | None = 2.0, missing: tuple[str, ...] = ()) -> dict:  # type: ignore[type-arg]
    low, high = (None, None) if expanded is None else (value - expanded, value + 2 * expanded)
    return {
        "estimates": {"d50": {"value": value, "standard_uncertainty": None if expanded is None else expanded / 2,
                              "low": low, "high": high, "reason": "one image"}},
        "budget": {"d50": {"expanded_nm": expanded, "low_nm": low, "high_nm": high, "missing": missing}},
    }  # fmt: skip


def test_a_figure_and_what_is_to_be_known_of_it() -> None:
    missing = ("pixel size", "edge, common", "edge, widening")
    assert figure_text(told(missing=missing), "d50", "nm") == (
        "20.0 nm ± 2.0 nm", "k = 2; pixel size and edges not included",
    )  # fmt: skip
    assert figure_text(told(expanded=15.0), "d50", "nm") == ("20.0 nm, 5.00 to 50.0", "interval of 95 %")
    assert figure_text(told(expanded=None), "d50", "nm") == ("20 nm", "no uncertainty: one image")
    assert figure_text(told(value=np.nan), "d50", "nm")[0] == "not known"
    px = told() | {"budget": {}}
    assert figure_text(px, "d50", "px") == ("20.0 px ± 2.0 px", "k = 2; counting alone")
    assert not_included(()) == "" and name_of("min_feret", "nm") == "min Feret (nm)"


def test_enough() -> None:
    known = {"target": 0.05, "met": False, "relative": 0.12, "images_needed": 1300, "more_images": 1290,
             "images_low": 900, "images_high": 3000, "reason": None}  # fmt: skip
    assert "about 1,300 more micrographs like these (900 to 3,000 in all)" in str(
        enough_text({"enough": {"d50": known}}, "d50")
    )
    open_ended = enough_text({"enough": {"d50": known | {"images_high": None}}}, "d50")
    assert "(900 or far more in all)" in str(open_ended)
    assert "yes, ± 3.0%" in str(enough_text({"enough": {"d50": known | {"met": True, "relative": 0.03}}}, "d50"))
    unplanned = known | {"images_needed": None, "reason": "too few"}
    assert "not known, ± 12.0% (k = 2) misses ± 5%; too few." in str(enough_text({"enough": {"d50": unplanned}}, "d50"))
    assert enough_text({"enough": {"d50": None}}, "d50") is None
