"""How particles lie, in a table and a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tem_seg.data.coco import ImageRecord
from tem_seg.measurement.arrangement import arrangement
from tem_seg.reporting.arrangement_page import arrangement_figure, arrangement_table, sections, verdict


def lying(points: np.ndarray) -> dict:  # type: ignore[type-arg]
    """Particles of 4 px at these places of a frame of 200 × 200 px, 5 nm each."""
    x, y = points.T
    table = pd.DataFrame({
        "image_id": 1, "centroid_x_px": x, "centroid_y_px": y, "x_size_nm": 20.0, "y_size_nm": 20.0,
        "equivalent_diameter_nm": 20.0, "ellipse_major_nm": 20.0, "ellipse_minor_nm": 20.0, "pixel_size_nm": 5.0,
        "touches_border": False, "agglomerate": np.arange(len(points)),
    })  # fmt: skip
    return arrangement(
        table, [ImageRecord(1, Path("a.tif"), 200, 200, 5.0, "test")], {1: 500.0}, np.random.default_rng(0)
    )


def test_density_in_square_micrometres() -> None:
    rng = np.random.default_rng(1)
    found = lying(rng.uniform(0, 200, (80, 2)))["nm"]
    rows = {row[0].text: row[1].text for row in arrangement_table(found, "nm").rows}
    # 80 particles of 20 nm on 1 µm x 1 µm; weights for the border: 1 / (195 / 200)² of each
    assert float(rows["particles per µm²"]) == pytest.approx(80 * (200 / 195) ** 2, rel=1e-3)
    assert rows["field seen, µm²"] == "1" and rows["area covered by particles"] == "1.2%"
    assert "No sign" in verdict(found)


def test_verdicts() -> None:
    rng = np.random.default_rng(2)
    clustered = np.concatenate([centre + rng.normal(0, 3, (20, 2)) for centre in ((40, 40), (150, 60), (90, 150))])
    apart = np.stack(np.meshgrid(np.arange(10, 200, 20), np.arange(10, 200, 20)), axis=-1).reshape(-1, 2).astype(float)
    assert verdict(lying(clustered)["nm"]).startswith("They cluster")
    assert verdict(lying(apart)["nm"]).startswith("They keep apart")
    few = lying(clustered[:4])
    assert verdict(few["nm"]).startswith("Too few particles") and arrangement_figure(few) is None
    assert sections(few)[0]["plot"] is None and "<svg" in str(sections(lying(apart))[0]["plot"])
