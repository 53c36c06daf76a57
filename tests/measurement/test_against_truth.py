"""Predicted against annotated sizes of the same micrographs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tem_seg.measurement.against_truth import against_truth


def table(rng: np.random.Generator, images: int = 6, each: int = 30, unit: str = "nm") -> pd.DataFrame:
    """Whole particles of 6 micrographs, min Feret 0.8 of the diameter."""
    sizes = rng.lognormal(3, 0.25, images * each)
    columns = {f"equivalent_diameter_{unit}": sizes, f"min_feret_{unit}": 0.8 * sizes}
    image = np.repeat(np.arange(images), each)
    return pd.DataFrame({"image_id": image, **columns, "touches_border": False, "weight": 1.0})


def test_three_per_cent_too_large() -> None:
    rng = np.random.default_rng(0)
    truth = table(rng)
    found = against_truth(truth.assign(min_feret_nm=1.03 * truth["min_feret_nm"]), truth, rng)["nm"]
    feret = found["min_feret"]
    assert feret["median_relative"] == pytest.approx(0.03)
    sizes = truth["min_feret_nm"]
    assert feret["annotated"] == pytest.approx(
        {"n": 180, "mean": sizes.mean(), "sd": sizes.std(ddof=1), "median": sizes.median()}
    )
    assert feret["difference"]["mean"]["value"] == pytest.approx(0.03 * sizes.mean())
    assert feret["difference"]["median"]["low"] < 0.03 * sizes.median() < feret["difference"]["median"]["high"]
    same = found["equivalent_diameter"]
    assert (same["median_relative"], same["difference"]["ks"], same["difference"]["wasserstein"]) == (0, 0, 0)


def test_particles_on_the_border_do_not_count() -> None:
    rng = np.random.default_rng(1)
    truth = table(rng)
    cut = truth.assign(touches_border=truth.index % 2 == 0)
    assert against_truth(truth, cut, rng)["nm"]["min_feret"]["annotated"]["n"] == 90


def test_weights_count() -> None:
    rng = np.random.default_rng(2)
    truth = table(rng)
    none_of_the_first = truth.assign(weight=(truth["image_id"] > 0).astype(float))
    assert against_truth(none_of_the_first, truth, rng)["nm"]["min_feret"]["predicted"]["n"] == 150


def test_nothing_found() -> None:
    rng = np.random.default_rng(3)
    truth = table(rng, unit="px")
    feret = against_truth(truth.head(0), truth, rng)["px"]["min_feret"]
    assert (feret["predicted"]["n"], feret["median_relative"], feret["difference"]) == (0, None, None)
    assert against_truth(truth.head(0), truth.head(0), rng) == {}
    assert against_truth(pd.DataFrame(), pd.DataFrame(), rng) == {}


def test_units_apart() -> None:
    rng = np.random.default_rng(4)
    both = pd.concat([table(rng), table(rng, unit="px")], ignore_index=True)
    found = against_truth(both, both, rng)
    assert [found[unit]["min_feret"]["annotated"]["n"] for unit in ("nm", "px")] == [180, 180]


def test_few_images_have_no_interval_and_say_so() -> None:
    rng = np.random.default_rng(5)
    one = table(rng, images=1)
    difference = against_truth(one, one, rng)["nm"]["min_feret"]["difference"]
    assert difference["median"]["low"] is None and "1 images" in difference["median"]["reason"]
