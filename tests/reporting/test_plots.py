"""Plots: bins that hold every particle, SVG that is well formed, inert and the same every time."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from tem_seg.reporting import plots
from tem_seg.reporting.tables import Sample

PR = {"score": [0.9, 0.5], "precision": [1.0, None], "recall": [0.2, 0.6], "f1": [0.3, 0.7]}


def equal(values: np.ndarray) -> Sample:
    return Sample(values, np.ones(len(values)))


@pytest.mark.parametrize(
    "sample",
    [
        np.array([3.0]),
        np.full(9, 2.5),
        np.zeros(4),
        np.arange(1, 50.0),
        np.r_[np.ones(50), 900.0],
        np.array([0.1, 0.30000000000000004]),
    ],
)
def test_every_value_falls_into_a_bin(sample: np.ndarray) -> None:
    edges, _ = plots.shared_bins(sample, np.zeros(0))
    assert (np.diff(edges) > 0).all()
    assert np.histogram(sample, edges)[0].sum() == len(sample)
    assert 8 <= len(edges) - 1 <= 60


def test_bins_follow_freedman_and_diaconis() -> None:
    sample = np.random.default_rng(3).normal(100, 5, 1000)
    edges, logarithmic = plots.shared_bins(sample[:400], sample[400:])
    expected = np.histogram_bin_edges(sample, "fd")
    assert not logarithmic
    assert edges == pytest.approx(expected)


def test_wide_distributions_get_logarithmic_bins() -> None:
    edges, logarithmic = plots.shared_bins(np.exp(np.random.default_rng(0).normal(3, 1, 500)))
    assert logarithmic
    assert np.ptp(np.diff(np.log(edges))) < 1e-9


def test_no_values_at_all() -> None:
    assert plots.shared_bins(np.zeros(0), np.zeros(0))[0].tolist() == [0.0, 1.0]
    ET.fromstring(plots.size_histogram(equal(np.zeros(0)), equal(np.zeros(0)), "d (nm)"))


def test_weighted_particles_are_drawn_with_their_weights() -> None:
    svg = plots.size_histogram(Sample(np.arange(1, 9.0), np.arange(1, 9.0)), None, "d (nm)")
    assert "particles, weighted" in svg and "predicted, n = 8" in svg
    assert "weighted" not in plots.size_histogram(equal(np.arange(1, 9.0)), None, "d (nm)")


def test_a_plot_is_an_image_with_a_text_alternative_and_the_page_s_colours() -> None:
    svg = plots.size_histogram(equal(np.arange(1, 30.0)), equal(np.arange(2, 31.0)), "d (nm)")
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == "Histogram of d (nm) of 29 predicted and of 29 annotated particles"
    assert root.get("width") is None
    assert "currentColor" in svg
    assert plots.INK not in svg
    assert plots.RULE not in svg
    assert "var(--rule)" in svg
    assert "predicted, n = 29" in svg  # text stays text
    assert "http" not in svg.replace("http://www.w3.org/", "")


def test_the_same_data_give_the_same_bytes_and_leave_matplotlib_alone() -> None:
    before = dict(mpl.rcParams)
    first = plots.scatter(np.array([[1.0, 1.1], [20.0, 19.0]]), "nm")
    assert first == plots.scatter(np.array([[1.0, 1.1], [20.0, 19.0]]), "nm")
    assert dict(mpl.rcParams) == before


def test_names_are_text_not_formulas_or_markup() -> None:
    curves = pd.DataFrame({"step": [1, 2], "val/ap": [0.1, 0.2], "train/loss_$x_<b>": [1.0, 2.0]})
    svg = "".join(markup for _, markup in plots.training_curves(curves))
    assert "train/loss_$x_&lt;b&gt;" in svg
    assert "<b>" not in svg


def test_training_curves_are_sorted_into_losses_scores_and_rate() -> None:
    steps = np.arange(200)
    curves = pd.DataFrame({
        "step": steps, "epoch": 0, "train/loss": np.exp(-steps / 50), "train/mask": 0.5, "val/loss": np.nan,
        "lr-SGD/pg1": 0.01,
        "val/segm_ap50": np.where(steps % 50 == 0, 0.5, np.nan), "train/f1": np.where(steps == 50, 0.6, np.nan),
        "grad": 1.0,
    })  # fmt: skip
    drawn = plots.training_curves(curves)
    assert [caption.split()[0] for caption, _ in drawn] == ["Losses;", "Solid:", "Learning"]
    assert "train/mask" in drawn[0][1]
    assert "val/loss" not in "".join(svg for _, svg in drawn)
    assert "val/segm_ap50" in drawn[1][1]
    assert "train/f1" in drawn[1][1]


@pytest.mark.parametrize(
    "curves", [pd.DataFrame(), pd.DataFrame({"step": [1]}), pd.DataFrame({"step": [], "val/ap": []})]
)
def test_without_curves_there_is_nothing_to_draw(curves: pd.DataFrame) -> None:
    assert plots.training_curves(curves) == []


def test_losses_below_zero_do_not_break_the_axis() -> None:
    curves = pd.DataFrame({"step": [1, 2, 3], "train/loss": [0.5, -0.5, -1.0]})
    assert len(plots.training_curves(curves)) == 1


def test_detection_plots_show_thresholds_and_survive_null() -> None:
    thresholds = {
        "papers": {"score": 0.9, "recall": 0.2, "precision": None},
        "best": {"score": 0.5, "recall": 0.6, "precision": 1.0},
    }
    assert "papers: score ≥ 0.9" in plots.precision_recall(PR, thresholds)
    ET.fromstring(plots.f1_over_score(PR, thresholds))
    ET.fromstring(plots.precision_recall(PR, {}))
    ET.fromstring(plots.scatter(np.zeros((0, 2)), "px"))
