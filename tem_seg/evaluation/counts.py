"""How many particles are counted, against how many there are: what a count is worth, right or wrong one by one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tem_seg.evaluation.matching import Matching


def count_figures(images: Iterable[Matching], score: float) -> dict[str, Any]:
    """Predictions of at least ``score`` and annotated particles, over some micrographs.

    error_percent: of the sum, signed: false ones make up for missed ones. image_error_percent: the mean over the
    ``n_images`` micrographs with particles of |predicted - annotated| / annotated. NaN without any. What lies in a
    crowd region counts as nothing.
    """
    matchings = list(images)
    predicted = np.array([np.count_nonzero(m.scores >= score) for m in matchings], np.float64)
    truths = np.array([m.n_truths for m in matchings], np.float64)
    some = truths > 0
    total = 100 * (predicted.sum() / truths.sum() - 1) if some.any() else np.nan
    each = 100 * np.abs(predicted[some] / truths[some] - 1).mean() if some.any() else np.nan
    return {
        "score": score,
        "predicted": int(predicted.sum()),
        "truths": int(truths.sum()),
        "error_percent": float(total),
        "image_error_percent": float(each),
        "n_images": int(some.sum()),
    }
