"""``tem-seg measure`` and ``tem-seg convert`` on real files, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from typer.testing import CliRunner

from tem_seg.cli import app
from tem_seg.core.errors import UserError
from tem_seg.data.formats.model import Source
from tem_seg.data.formats.table import read

SIZE = (80, 100)


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def labels(*radii: float) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    made = np.zeros(SIZE, np.uint16)
    for number, radius in enumerate(radii, start=1):
        made[(columns - 25 * number) ** 2 + (rows - 40) ** 2 <= radius**2] = number
    return made


def save(path: Path, values: np.ndarray, pixel_size_nm: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scale = {} if pixel_size_nm is None else {"resolution": (1 / pixel_size_nm,) * 2, "metadata": {"unit": "nm"}}
    tifffile.imwrite(path, values, imagej=True, **scale)  # type: ignore[arg-type]
    return path


def test_discs_have_their_diameters(tmp_path: Path) -> None:
    mask = save(tmp_path / "a_mask.tif", labels(10, 8, 6))
    image = save(tmp_path / "a.tif", (labels(10, 8, 6) > 0).astype(np.uint16) * 500)
    said = run("measure", mask, "--image", image, "--pixel-size", "0.5 nm/px", "-o", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "particles.csv")
    np.testing.assert_allclose(table["equivalent_diameter_nm"], [10, 8, 6], rtol=0.02)
    assert set(table["image"]) == {"a.tif"} and (table["grey_mean"] == 500).all()
    assert set(table["pixel_size_source"]) == {"given (--pixel-size)"}
    assert "3 particles in 1 micrograph" in said and "median equivalent diameter 8" in said


def test_the_pixel_size_of_a_file_is_used_and_named(tmp_path: Path) -> None:
    run("measure", save(tmp_path / "a.tif", labels(10), 0.25), "-o", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "particles.csv")
    assert table["equivalent_diameter_nm"][0] == pytest.approx(5, rel=0.02)
    assert "ImageJ" in table["pixel_size_source"][0]


def test_without_a_pixel_size_lengths_are_px(tmp_path: Path) -> None:
    said = run("measure", save(tmp_path / "a.tif", labels(10)), "-o", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "particles.csv")
    assert "equivalent_diameter_px" in table and "equivalent_diameter_nm" not in table
    assert "pixel size unknown" in said


def test_pixel_sizes_that_differ_are_a_red_flag(tmp_path: Path) -> None:
    mask = save(tmp_path / "a.tif", labels(10), 0.25)
    said = run("measure", mask, "--pixel-size", "0.5nm", "-o", tmp_path / "out", code=3)
    assert "RED FLAG a.tif: two pixel sizes differ by a factor of 0.5" in said


def test_twenty_files_of_one_name_and_an_empty_one(tmp_path: Path) -> None:
    for k in range(20):
        save(tmp_path / "masks" / f"day{k}" / "粒子.tif", labels(*[3 + k / 2] * (k > 0)))
        save(tmp_path / "images" / f"day{k}" / "粒子.tif", np.full(SIZE, k, np.uint16))
    (tmp_path / "masks" / "readme.txt").write_text("x")
    said = run("measure", tmp_path / "masks", "--image", tmp_path / "images", "-o", tmp_path / "out")
    assert "19 particles in 20 micrographs (1 file skipped)" in said
    table, images = (pd.read_csv(tmp_path / "out" / name) for name in ("particles.csv", "images.csv"))
    assert table["image"].nunique() == 19 and images["image"].nunique() == 20
    assert images["particles"].tolist().count(0) == 1
    joined = table.merge(images, on="image_id")
    day = joined["micrograph"].str.extract(r"day(\d+)")[0].astype(int)
    np.testing.assert_array_equal(joined["grey_background"], day)  # each was measured on its own micrograph
    np.testing.assert_allclose(joined["equivalent_diameter_px"], 6 + day, atol=1)
    run("convert", tmp_path / "masks", tmp_path / "rois", "--to", "imagej")
    assert len(list((tmp_path / "rois").iterdir())) == 20


def test_no_particles_at_all(tmp_path: Path) -> None:
    said = run("measure", save(tmp_path / "a.tif", labels()), "-o", tmp_path / "out")
    assert "0 particles in 1 micrograph" in said
    assert len(pd.read_csv(tmp_path / "out" / "particles.csv")) == 0


def test_a_mask_of_another_size_than_its_micrograph(tmp_path: Path) -> None:
    image = save(tmp_path / "a.tif", np.zeros((50, 50), np.uint16))
    with pytest.raises(UserError, match=r"a_mask.tif .* is 100 × 80 px, its micrograph .*a.tif 50 × 50"):
        run("measure", save(tmp_path / "a_mask.tif", labels(9)), "--image", image, "-o", tmp_path / "out")


@pytest.mark.parametrize(
    "text", ["0.5", "0nm", "nm", "1,5nm", "0.5 px", "nan nm", "1e999nm", "-1nm", "0.5 kg", "1..5nm"]
)
def test_pixel_sizes_that_are_none(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a|impossible|no physical length|unknown unit"):
        run("measure", save(tmp_path / "a.tif", labels(9)), f"--pixel-size={text}", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_table_from_every_format(tmp_path: Path) -> None:
    mask = save(tmp_path / "a.tif", labels(10, 8, 6), 0.25)
    run("measure", mask, "-o", tmp_path / "first")
    first = pd.read_csv(tmp_path / "first" / "particles.csv")
    for name in ("coco", "labelme", "via", "via_csv", "via3", "qupath", "imagej", "labels"):
        run("convert", mask, tmp_path / name, "--to", name)
        run("measure", tmp_path / name, "-o", tmp_path / f"{name}_out")
        other = pd.read_csv(tmp_path / f"{name}_out" / "particles.csv")
        pd.testing.assert_frame_equal(other[first.columns.drop(["image", "pixel_size_source"])],
                                      first.drop(columns=["image", "pixel_size_source"]))  # fmt: skip


def test_convert_one_file_to_one_file(tmp_path: Path) -> None:
    mask = save(tmp_path / "a.tif", labels(10))
    run("convert", mask, tmp_path / "b.geojson", "--to", "qupath")
    assert len(read(Source(tmp_path / "b.geojson")).images[0]) == 1
    with pytest.raises(UserError, match="is there already: choose another place, or give --overwrite"):
        run("convert", mask, tmp_path / "b.geojson", "--to", "qupath")
    run("convert", mask, tmp_path / "b.geojson", "--to", "qupath", "--overwrite")
    with pytest.raises(UserError, match="is one of the files that are read"):
        run("convert", mask, mask, "--to", "labels", "--overwrite")
    with pytest.raises(UserError, match="'png' is no format that can be written"):
        run("convert", mask, tmp_path / "c", "--to", "png")


def test_convert_knows_the_micrographs(tmp_path: Path) -> None:
    """COCO names them from where it lies; our own reader then finds them."""
    save(tmp_path / "images" / "a.tif", np.ones(SIZE, np.uint16), 0.25)
    mask = save(tmp_path / "masks" / "a_mask.tif", labels(10, 8))
    run("convert", mask, tmp_path / "sets" / "d.json", "--to", "coco", "--image", tmp_path / "images")
    (image,) = json.loads((tmp_path / "sets" / "d.json").read_text())["images"]
    assert (image["file_name"], image["pixel_size_nm"]) == ("../images/a.tif", pytest.approx(0.25))
    run("measure", tmp_path / "sets" / "d.json", "-o", tmp_path / "out")
    assert (pd.read_csv(tmp_path / "out" / "particles.csv")["grey_mean"] == 1).all()


def test_stacks(tmp_path: Path) -> None:
    pages = np.stack([labels(10), labels(), labels(8, 6)])
    mask = tmp_path / "stack.tif"
    tifffile.imwrite(mask, pages, photometric="minisblack")
    image = tmp_path / "images" / "stack.tif"
    image.parent.mkdir()
    tifffile.imwrite(image, np.stack([np.full(SIZE, k, np.uint16) for k in range(3)]), photometric="minisblack")
    run("measure", mask, "--image", image, "-o", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "particles.csv")
    assert table["image"].tolist() == ["stack_0001.tif", "stack_0003.tif", "stack_0003.tif"]
    assert table["grey_mean"].tolist() == [0, 2, 2]
    run("convert", mask, tmp_path / "out2", "--to", "labelme")
    assert sorted(p.name for p in (tmp_path / "out2").iterdir()) == [f"stack_000{k}.json" for k in (1, 2, 3)]


def test_rois_need_a_size(tmp_path: Path) -> None:
    from roifile import ImagejRoi

    path = tmp_path / "a.roi"
    path.write_bytes(ImagejRoi.frompoints(np.array([[10, 20], [30, 20], [30, 50], [10, 50]])).tobytes())
    with pytest.raises(UserError, match="--image, or the size with --size"):
        run("measure", path, "-o", tmp_path / "out")
    with pytest.raises(UserError, match="--size '5': expected width and height"):
        run("measure", path, "--size", "5", "-o", tmp_path / "out")
    run("measure", path, "--size", "100x80", "-o", tmp_path / "out")
    assert pd.read_csv(tmp_path / "out" / "particles.csv")["area_px"].tolist() == [600]


def test_real_masks_go_through_every_format(data_dir: Path, tmp_path: Path) -> None:
    """A manual SEM mask of BAM: agglomerates with holes and ragged edges, some hundred pixels wide."""
    from tem_seg.data.formats.table import FORMATS, write

    mask = sorted((data_dir / "bam_tio2" / "masks_manual").iterdir())[0]
    found = read(Source(mask)).images
    for name in ("coco", "labelme", "via3", "qupath", "imagej"):
        path = tmp_path / f"a{FORMATS[name].suffix}"
        write(name, found, path)
        assert read(Source(path)).images[0].masks == found[0].masks
