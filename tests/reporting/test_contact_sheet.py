"""The sheet's layout, colours and scale bars, looked up in its pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from reporting_scenes import disc

from tem_seg.core.types import Rle
from tem_seg.reporting.contact_sheet import (
    CAPTION_PX,
    CELL_PX,
    COLOURS,
    GAP_PX,
    INK,
    Shown,
    colours,
    contact_sheet,
    write,
)

STEP = CELL_PX + GAP_PX


def shown(
    size: tuple[int, int] = (320, 320), particles: int = 1, labels: list[int] | None = None, **changes: object
) -> Shown:
    """A grey micrograph with discs of radius 20 in a row."""
    found: list[Rle] = [disc(40 + 70 * k, 60, 20, size) for k in range(particles)]
    options = {"name": "0001", "pixel_size_nm": None} | changes
    return Shown(options["name"], np.full(size, 0.5, np.float32), found, labels or [0] * particles,  # type: ignore[arg-type]
                 options["pixel_size_nm"])  # type: ignore[arg-type]  # fmt: skip


def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == np.array(colour)).all(axis=2).sum())


def cell(sheet: np.ndarray, place: int, columns: int = 4) -> np.ndarray:
    row, column = divmod(place, columns)
    y = GAP_PX + row * (STEP + CAPTION_PX)
    return sheet[y : y + CELL_PX, GAP_PX + column * STEP :][:, :CELL_PX]


@pytest.mark.parametrize(("number", "columns", "rows"), [(1, 1, 1), (4, 4, 1), (5, 4, 2), (12, 4, 3)])
def test_micrographs_stand_in_rows_of_four(number: int, columns: int, rows: int) -> None:
    sheet = contact_sheet([shown()] * number, ["particle"])
    assert sheet.dtype == np.uint8 and sheet.shape[1] == columns * STEP + GAP_PX
    assert 0 < sheet.shape[0] - rows * (STEP + CAPTION_PX) - GAP_PX < 80  # the legend
    for place in range(number):
        assert (cell(sheet, place, columns)[300, 300] == 128).all(), "grey"


def test_outlines_have_the_colour_of_their_class() -> None:
    sheet = contact_sheet([shown(particles=3, labels=[0, 1, 1])], ["rod", "cube", "plate"])
    picture = cell(sheet, 0)
    # a disc of radius 20 at twice its size: about 2π 40 pixels, most of them mixed by antialiasing
    near = [int((np.abs(picture.astype(int) - colour).max(axis=2) < 60).sum()) for colour in COLOURS[:3]]
    assert 150 < near[0] < 700 and near[1] == pytest.approx(2 * near[0], rel=0.2) and near[2] == 0


def test_an_outline_lies_on_its_particle() -> None:
    picture = cell(contact_sheet([shown()], ["particle"]), 0).astype(int)
    changed = np.argwhere(np.abs(picture - 128).max(axis=2) > 30)
    assert changed.min(axis=0) == pytest.approx([2 * 40, 2 * 20], abs=3)
    assert changed.max(axis=0) == pytest.approx([2 * 80, 2 * 60], abs=3)


def test_micrographs_of_any_shape_are_fitted_in() -> None:
    wide, small = (
        cell(contact_sheet([shown((100, 400))], ["p"]), 0),
        cell(contact_sheet([shown((64, 64), 0)], ["p"]), 0),
    )
    grey = (wide == 128).all(axis=2)
    assert grey[CELL_PX // 2, 5] and not grey[CELL_PX // 2 - 85].any() and grey.any(axis=0).all()
    assert np.abs(small.astype(int) - 128).max() <= 1


@pytest.mark.parametrize(("pixel_size_nm", "length_nm"), [(1.0, 50), (0.1, 5), (33.0, 2000)])
def test_scale_bars_have_the_right_length(pixel_size_nm: float, length_nm: float) -> None:
    """Of 320 px, a quarter at most: 1, 2, 5 × 10ⁿ nm; drawn at twice the size."""
    sheet = contact_sheet([shown(particles=0, pixel_size_nm=pixel_size_nm)], ["particle"])
    caption = sheet[GAP_PX + CELL_PX : GAP_PX + CELL_PX + CAPTION_PX]
    line = (caption == np.array(INK)).all(axis=2)[CAPTION_PX // 2]
    runs = np.diff(np.flatnonzero(np.diff(np.r_[0, line, 0].astype(int))))[::2]
    assert runs.max() == pytest.approx(2 * length_nm / pixel_size_nm, abs=1)


def test_without_calibration_there_is_no_bar() -> None:
    with_bar, without = (contact_sheet([shown(particles=0, pixel_size_nm=size)], ["p"]) for size in (1.0, None))
    dark = [count(sheet[GAP_PX + CELL_PX :][:CAPTION_PX], INK) for sheet in (with_bar, without)]
    assert dark[0] > dark[1] + 300


def test_twenty_classes_have_twenty_colours_and_all_are_in_the_legend() -> None:
    assert len(set(colours(20))) == 20 and colours(3) == list(COLOURS[:3])
    names = [f"a class with a long name {k}" for k in range(20)]
    sheet = contact_sheet([shown(particles=0)], names)
    legend = sheet[STEP + CAPTION_PX :]
    assert all(count(legend, colour) > 200 for colour in colours(20))


def test_a_long_name_stays_in_its_cell() -> None:
    sheet = contact_sheet([shown(name="x" * 500, pixel_size_nm=1.0), shown(particles=0)], ["particle"])
    border = sheet[GAP_PX + CELL_PX :][:CAPTION_PX, GAP_PX + CELL_PX : 2 * GAP_PX + CELL_PX]
    assert (border == 255).all()


def test_it_is_written_whole(tmp_path: Path) -> None:
    write(tmp_path / "new" / "sheet.png", [shown()], ["particle"])
    read = cv2.cvtColor(cv2.imread(str(tmp_path / "new" / "sheet.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(read, contact_sheet([shown()], ["particle"]))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one micrograph"):
        contact_sheet([], ["particle"])
    with pytest.raises(ValueError, match="0001: 2 masks, but 1 labels"):
        shown(particles=2, labels=[0])
