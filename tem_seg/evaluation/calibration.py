"""Confidence that means something: of the predictions with confidence 0.8, four in five are particles.

A detector's scores are ranks, not probabilities (Guo et al., ICML 2017). Two numbers, fitted on the validation split,
make them so: confidence = σ(logit(score) / temperature + bias), the probability that the prediction matches a particle
at IoU 0.5. The order of predictions stays, so no other figure changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.evaluation.matching import Matching, best_f1

BINS = 10
FEWEST_IN_BIN = 10
"""A bin of fewer says nothing of a share: there are fewer bins then."""
FEWEST_OF_EACH = 20
"""Right and wrong predictions that a fit needs: fewer leave the temperature open by more than a factor of two."""
CARRIED = ("temperature", "bias", "fitted_on", "n", "n_true", "edge_sd_factor", "edge_n", "edge_note", "look")
"""Of a calibration: what weights that come with one carry (``calibration`` of metrics.json says each)."""
HALF_DIGIT = 5e-6
"""Scores are written with five decimals, so that 1 may be 0.999995."""

Scores = NDArray[np.float64]
Hits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fit:
    """confidence = σ(logit(score) / temperature + bias)."""

    temperature: float
    bias: float

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and np.isfinite(self.temperature) and np.isfinite(self.bias)):
            raise ValueError(f"temperature must be positive and both finite, got {self.temperature}, {self.bias}")

    def confidence(self, scores: Scores) -> Scores:
        """scores (D,) in [0, 1] → (D,) in (0, 1), in the same order."""
        return _sigmoid(_logits(scores) / self.temperature + self.bias)

    def score(self, confidence: float) -> float:
        """The score that has this confidence in (0, 1)."""
        from scipy.special import (
            expit,
            logit,
        )  # here and below: 0.1 s, which the start of an analysis need not wait for

        return float(expit((logit(confidence) - self.bias) * self.temperature))


def outcomes(matchings: Iterable[Matching]) -> tuple[Scores, Hits]:
    """Every prediction of some images: score (D,) and whether it matched a particle (D,)."""
    images = list(matchings)
    scores = np.concatenate([np.zeros(0), *(m.scores for m in images)])
    return scores, np.concatenate([np.zeros(0, bool), *(m.matched >= 0 for m in images)])


def fit(scores: Scores, hits: Hits) -> Fit | None:
    """Maximum likelihood (Platt 1999, with his targets, which keep it finite where scores separate right from wrong).

    None where there are fewer than 20 right or 20 wrong predictions, and where a higher score is no better sign.
    """
    from scipy.optimize import minimize  # 0.3 s, which what applies a fit need not wait for

    right, wrong = int(hits.sum()), int((~hits).sum())
    if min(right, wrong) < FEWEST_OF_EACH:
        return None
    wanted = np.where(hits, (right + 1) / (right + 2), 1 / (wrong + 2))
    x = _logits(scores)

    def cost(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = values[0] * x + values[1]
        residual = _sigmoid(z) - wanted
        return float(np.mean(np.logaddexp(0, z) - wanted * z)), np.array([np.mean(residual * x), np.mean(residual)])

    slope, bias = minimize(cost, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    return Fit(float(1 / slope), float(bias)) if slope > 1e-3 else None


def counting_score(validation: Iterable[Matching], carried: float | None = None) -> float:
    """The score in [0, 1] from which a prediction counts as a particle; NaN without predictions or without truths.

    Where the confidence is half the best F1 of validation: for calibrated probabilities that threshold maximises F1
    (Lipton et al., ECML 2014). Of scores that cannot be calibrated, ``carried``, which the weights come with, or the
    one with the best F1: over few micrographs the top of that curve is flat and noisy
    (docs/results/2026-11-21-counting-score.md).
    """
    images = list(validation)
    found = fit(*outcomes(images))
    score, f1 = best_f1(images)
    if found is not None and f1 > 0:
        return found.score(f1 / 2)
    return score if carried is None else carried


def reliability(scores: Scores, confidences: Scores | None, hits: Hits) -> list[dict[str, Any]]:
    """Bins of equal count (at most 10, of at least 10 predictions), lowest first: mean score, mean confidence (None
    without a fit), precision, n. No bins for fewer than 10 predictions."""
    count = min(BINS, len(scores) // FEWEST_IN_BIN)
    order = np.argsort(scores, kind="stable")
    return [
        {
            "score": float(scores[part].mean()),
            "confidence": None if confidences is None else float(confidences[part].mean()),
            "precision": float(hits[part].mean()),
            "n": len(part),
        }
        for part in (np.array_split(order, count) if count else [])
    ]


def expected_error(bins: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Expected calibration error (Guo et al. 2017, eq. 3): the mean of |key - precision| over predictions; None
    without bins. Theirs have equal widths; with equal counts none rests on a handful of predictions."""
    if not bins or bins[0][key] is None:
        return None
    total = sum(entry["n"] for entry in bins)
    return float(sum(entry["n"] * abs(entry[key] - entry["precision"]) for entry in bins) / total)


def score_figures(
    validation: Iterable[Matching] | None, test: Iterable[Matching], carried: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Fitted on validation, looked at on test: temperature, bias, n, n_true (validation predictions, right ones),
    ece_before, ece_after, bins (of test), note: why something is None, or None.

    carried: the calibration that the weights come with, which holds where nothing can be fitted here. fitted_on says
    which it is: "validation", the weights' own words, or None.
    """
    scores, hits = outcomes(validation or [])
    fitted = _words(fit(scores, hits), "validation") | {"n": len(scores), "n_true": int(hits.sum())}
    if fitted["temperature"] is None and carried is not None:
        fitted = {key: carried[key] for key in fitted}
    found = None if fitted["temperature"] is None else Fit(fitted["temperature"], fitted["bias"])
    tested, right = outcomes(test)
    bins = reliability(tested, found.confidence(tested) if found else None, right)
    return fitted | {
        "ece_before": expected_error(bins, "score"),
        "ece_after": expected_error(bins, "confidence"),
        "bins": bins,
        "note": _why_not(validation is None, hits) if found is None else _too_few(tested),
    }


def _words(found: Fit | None, fitted_on: str) -> dict[str, Any]:
    if found is None:
        return {"temperature": None, "bias": None, "fitted_on": None}
    return {"temperature": found.temperature, "bias": found.bias, "fitted_on": fitted_on}


def applied(results: Sequence[Mapping[str, Any]], calibration: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Results with ``confidence`` and a calibrated ``edge_sd_px``, as far as the block ``calibration`` of metrics.json
    knows how. An edge_sd_px that has not been calibrated is taken out."""
    known = calibration or {}
    factor = known.get("edge_sd_factor")
    rows = [{key: value for key, value in row.items() if key != "edge_sd_px"} for row in results]
    if known.get("temperature") is not None:
        found = Fit(known["temperature"], known["bias"])
        for row, confidence in zip(rows, found.confidence(np.array([row["score"] for row in rows])), strict=True):
            row["confidence"] = float(confidence)
    if factor is not None:
        for row, given in zip(rows, results, strict=True):
            spread = given.get("edge_sd_px")
            row["edge_sd_px"] = None if spread is None else spread * factor
    return rows


def _logits(scores: Scores) -> Scores:
    from scipy.special import logit

    return np.asarray(logit(np.clip(scores, HALF_DIGIT, 1 - HALF_DIGIT)), np.float64)


def _sigmoid(logits: Scores) -> Scores:
    from scipy.special import expit

    return np.asarray(expit(logits), np.float64)


def _why_not(absent: bool, hits: Hits) -> str:
    if absent:
        return "there are no validation predictions to calibrate scores with"
    right = int(hits.sum())
    if min(right, len(hits) - right) < FEWEST_OF_EACH:
        return (
            f"of {len(hits)} validation predictions {right} are right and {len(hits) - right} wrong: calibrating "
            f"scores needs {FEWEST_OF_EACH} of each"
        )
    return "on validation a higher score is no sign of a better prediction: scores cannot be calibrated"


def _too_few(scores: Scores) -> str | None:
    if len(scores) >= FEWEST_IN_BIN:
        return None
    return f"{len(scores)} test predictions are too few to see how well scores are calibrated"
