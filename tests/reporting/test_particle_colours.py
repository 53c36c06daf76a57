"""Colours by flag and by size."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tem_seg.reporting.particle_colours import FLAGS, coloured


def table(sizes: list[float], reasons: list[str], unit: str = "nm") -> pd.DataFrame:
    return pd.DataFrame({f"equivalent_diameter_{unit}": sizes, "max_feret_nm": sizes, "left_out": reasons})


def test_by_flag() -> None:
    found = coloured(table([3.0, 4.0, 5.0, 6.0], ["", "border", "", "min_size_px"]), "flag")
    assert found.of == [FLAGS[reason][1] for reason in ("", "border", "", "min_size_px")]
    assert [entry.text for entry in found.legend] == ["counts: 2", "cut by the border: 1", "too small: 1"]
    assert len({colour for _, colour in FLAGS.values()}) == len(FLAGS)


def test_by_size_of_what_counts() -> None:
    found = coloured(table([4.0, 90.0, 8.0, 6.0], ["", "border", "", ""]), "size")
    assert found.of[1] == FLAGS["border"][1]
    greens = [found.of[k][1] for k in (0, 3, 2)]
    assert greens == sorted(greens) and len(set(greens)) == 3  # viridis grows lighter with size
    scale, border = found.legend
    assert scale.text == "3 count: 4 to 8 nm" and len(scale.colours) > 10 and border.text == "cut by the border: 1"


def test_sizes_that_say_nothing() -> None:
    same = coloured(table([5.0, 5.0], ["", ""]), "size")
    assert same.of[0] == same.of[1] and same.legend[0].text == "2 count: 5 to 5 nm"
    assert coloured(table([], []), "size").of == [] and coloured(table([], []), "flag").legend == []
    none = coloured(table([5.0], ["border"]), "size")
    assert [entry.text for entry in none.legend] == ["cut by the border: 1"]
    unknown = coloured(table([np.nan, 5.0], ["", ""]), "size")
    assert unknown.of[0] == FLAGS[""][1] != unknown.of[1]
