"""The uncertainty budget of a size in nm, after the GUM (JCGM 100:2008): components, combined, expanded.

    D = s · d_px,      u²(D) = u²(pixel size) + u²(edge, common) + u²(edge, widening) + u²(counting)

taken as uncorrelated. docs/uncertainty.md has each with its source, and what is not included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from tem_seg.core.errors import UserError
from tem_seg.measurement.edges import widening
from tem_seg.measurement.intervals import Estimate

DIVISORS = {"normal": 1.0, "rectangular": float(np.sqrt(3)), "triangular": float(np.sqrt(6))}
COVERAGE_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Component:
    """One row. value: what was stated or found, with its unit in ``unit``; standard = value / divisor in the same
    unit; contribution_nm = sensitivity · standard; share of u². Rows that nothing is known of hold None and say so in
    ``note``.
    """

    name: str
    value: float | None
    unit: str
    distribution: str
    divisor: float
    standard: float | None
    sensitivity: float
    sensitivity_unit: str
    contribution_nm: float | None
    degrees: float
    note: str
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Relative uncertainty of the pixel size, where it comes from, and how it was stated.

    divisor turns it into a standard one: 1 of a standard uncertainty, 2 of an expanded one with k = 2; None: that of
    the distribution (normal 1, rectangular √3, triangular √6).
    """

    relative: float
    source: str
    distribution: str = "normal"
    divisor: float | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.relative) and self.relative >= 0):
            raise UserError(f"a relative uncertainty of the pixel size of {self.relative:g}: give 0.01 for 1 %")
        if self.distribution not in DIVISORS:
            raise UserError(f"no distribution {self.distribution!r} of an uncertainty: use {', '.join(DIVISORS)}")
        if self.divisor is not None and not self.divisor > 0:
            raise UserError(f"a divisor of {self.divisor:g}: it is more than 0, such as 2 where k = 2 was stated")
        if not self.source.strip():
            raise UserError("an uncertainty of the pixel size without a source: say where it comes from")


@dataclass(frozen=True, slots=True)
class Edge:
    """What is known of outlines, in nm. edge_sd_nm: typical edge_sd (particles.csv), in which the calibration of edges
    on validation is already contained; factor: Δdiameter per outward step, 2 of discs and Feret diameters (``edges``).

    bias_nm and its standard uncertainty: where outlines were compared with annotations (outward positive, nm); the
    figure is not corrected, so that the bias counts as well (JCGM 100, F.2.4.5). Without it, ± edge_sd_nm, rectangular.
    random_sd_nm: of one diameter from its edge (``edges.random_diameter_sd``), sd_nm: of all measured diameters.
    """

    edge_sd_nm: float
    factor: float = 2.0
    bias_nm: float | None = None
    bias_standard_nm: float = 0.0
    random_sd_nm: float = 0.0
    sd_nm: float | None = None
    source: str = "edge_sd of the predictions"

    def __post_init__(self) -> None:
        for name in ("edge_sd_nm", "factor", "bias_standard_nm", "random_sd_nm", "sd_nm"):
            given = getattr(self, name)
            if given is not None and not (np.isfinite(given) and given >= 0):
                raise UserError(f"{name} of {given:g}: it is a number of 0 or more")
        if self.bias_nm is not None and not np.isfinite(self.bias_nm):
            raise UserError(f"bias_nm of {self.bias_nm:g}: it is a number, outward positive, or left out")
        if self.random_sd_nm and self.sd_nm is None:
            raise UserError("random_sd_nm widens a distribution of known SD: give sd_nm of all measured diameters too")


@dataclass(frozen=True, slots=True)
class Budget:
    """Uncertainty of one figure, nm. expanded_nm = 2 · combined_nm (k = 2); coverage_of_2: what k = 2 covers at
    ``degrees`` (Welch-Satterthwaite; 0.954 when large, 0.82 of two); factor_95: the k that covers 95 %.

    low_nm, high_nm: 95 %, each side √(counting's own reach² + (1.96 · all others)²), so that they are counting's
    interval where nothing else is uncertain. missing: components of which nothing was stated; the figures do not
    contain them.
    """

    quantity: str
    value_nm: float
    components: tuple[Component, ...]
    combined_nm: float | None
    expanded_nm: float | None
    degrees: float | None
    factor_95: float | None
    coverage_of_2: float | None
    low_nm: float | None
    high_nm: float | None
    missing: tuple[str, ...]
    reason: str | None = None


def budget(
    estimate: Estimate, calibration: Calibration | None, edge: Edge | None, *, median_nm: float | None = None
) -> Budget:
    """The budget of a mean or quantile in nm. median_nm: of the same distribution, needed for the widening of
    quantiles.

    Without an interval of counting (fewer than 3 images) nothing is combined, and ``reason`` says why.
    """
    rows = (_pixel_size(estimate, calibration), *_edges(estimate, edge, median_nm), _counting(estimate))
    missing = tuple(row.name for row in rows if row.contribution_nm is None)
    if estimate.standard_uncertainty is None or estimate.low is None or estimate.high is None:
        nothing = (None,) * 7
        return Budget(estimate.quantity, estimate.value, rows, *nothing, missing, f"counting: {estimate.reason}")
    variances = [(row.contribution_nm or 0.0) ** 2 for row in rows]
    combined = float(np.sqrt(sum(variances)))
    degrees = welch_satterthwaite(variances, [row.degrees for row in rows])
    others = float(np.sqrt(max(sum(variances[:-1]), 0.0))) * float(special.ndtri((1 + estimate.level) / 2))
    return Budget(
        estimate.quantity, estimate.value, _shared(rows, combined), combined, COVERAGE_FACTOR * combined, degrees,
        factor_95=student(degrees, 0.95), coverage_of_2=coverage_of(COVERAGE_FACTOR, degrees),
        low_nm=estimate.value - float(np.hypot(estimate.value - estimate.low, others)),
        high_nm=estimate.value + float(np.hypot(estimate.high - estimate.value, others)), missing=missing,
    )  # fmt: skip


def welch_satterthwaite(variances: Sequence[float], degrees: Sequence[float]) -> float:
    """Effective degrees of freedom of a sum of variances (JCGM 100:2008, G.4.1); infinite where none is estimated."""
    divisor = sum(v**2 / nu for v, nu in zip(variances, degrees, strict=True) if v > 0 and np.isfinite(nu))
    return float(sum(variances) ** 2 / divisor) if divisor > 0 else float("inf")


def student(degrees: float, level: float) -> float:
    """Two-sided critical value of Student's t; the normal distribution's for infinite degrees."""
    point = (1 + level) / 2
    return float(special.ndtri(point) if np.isinf(degrees) else special.stdtrit(degrees, point))


def coverage_of(factor: float, degrees: float) -> float:
    """Probability that Student's t lies within ± factor."""
    below = special.ndtr(factor) if np.isinf(degrees) else special.stdtr(degrees, factor)
    return float(2 * below - 1)


def _pixel_size(estimate: Estimate, calibration: Calibration | None) -> Component:
    if calibration is None:
        note = f"not stated: each 1 % of the pixel size is {0.01 * abs(estimate.value):.3g} nm"
        return _unknown("pixel size", "relative", estimate.value, "nm", note)
    divisor = calibration.divisor or DIVISORS[calibration.distribution]
    standard = calibration.relative / divisor
    return Component(
        "pixel size", calibration.relative, "relative", calibration.distribution, divisor, standard, estimate.value,
        "nm", abs(estimate.value) * standard, float("inf"), calibration.source,
    )  # fmt: skip


def _edges(estimate: Estimate, edge: Edge | None, median_nm: float | None) -> tuple[Component, Component]:
    if edge is None:
        note = "not stated: the predictions carry no edge_sd"
        return _unknown("edge, common", "nm", 2.0, "nm/nm", note), _unknown("edge, widening", "nm", 1.0, "nm/nm", note)
    if edge.bias_nm is None:
        value, law, note = edge.edge_sd_nm, "rectangular", f"at most {edge.source}, either way"
        standard = value / DIVISORS[law]
    else:
        value, law, note = edge.bias_nm, "normal", f"measured bias ± {edge.bias_standard_nm:.3g} nm, not corrected"
        standard = float(np.hypot(edge.bias_nm, edge.bias_standard_nm))
    common = Component(
        "edge, common", value, "nm", law, DIVISORS[law], standard, edge.factor, "nm/nm", edge.factor * standard,
        float("inf"), note,
    )  # fmt: skip
    return common, _widening(estimate, edge, median_nm)


def _widening(estimate: Estimate, edge: Edge, median_nm: float | None) -> Component:
    note = "by the edges' random part, not corrected; the mean and the median do not widen"
    shift = 0.0
    if estimate.quantity in ("d10", "d90"):
        if median_nm is None:
            raise UserError(f"the budget of {estimate.quantity} needs the median: give median_nm")
        shift = abs(widening(estimate.value, median_nm, edge.sd_nm or 0.0, edge.random_sd_nm))
        note = "by the edges' random part, not corrected; an upper bound"
    return Component("edge, widening", shift, "nm", "normal", 1.0, shift, 1.0, "nm/nm", shift, float("inf"), note)


def _counting(estimate: Estimate) -> Component:
    known = estimate.standard_uncertainty
    note = f"{estimate.particles} particles of {estimate.images} images" if known is not None else str(estimate.reason)
    degrees = float("inf") if estimate.degrees is None else estimate.degrees
    return Component("counting", known, "nm", "Student's t", 1.0, known, 1.0, "nm/nm", known, degrees, note)


def _unknown(name: str, unit: str, sensitivity: float, sensitivity_unit: str, note: str) -> Component:
    return Component(name, None, unit, "", 1.0, None, sensitivity, sensitivity_unit, None, float("inf"), note)


def _shared(rows: tuple[Component, ...], combined: float) -> tuple[Component, ...]:
    total = combined**2
    return tuple(
        row if row.contribution_nm is None else _with_share(row, row.contribution_nm**2 / total if total > 0 else 0.0)
        for row in rows
    )


def _with_share(row: Component, share: float) -> Component:
    return replace(row, share=share)
