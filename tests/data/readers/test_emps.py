from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from tem_seg.core.errors import UserError
from tem_seg.data import coco, rle
from tem_seg.data.images import write_png
from tem_seg.data.readers import emps
from tem_seg.data.readers.emps import Emps, instances_of
from tem_seg.data.readers.protocol import Reader, convert


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Eight train and two test images of five papers, laid out as EMPS is; no shapes.csv."""
    root = tmp_path / "emps"
    for k in range(10):
        labels = np.zeros((20, 30), np.uint16)
        labels[2:6, 3:9], labels[10:14, k : k + 5] = 1, 300
        write_png(root / "segmaps" / f"i{k}.png", labels)
        write_png(root / "images" / f"i{k}.png", np.full((20, 30), k, np.uint8))
    rows = "".join(f"i{k}.png,10.1.x{k // 2},gr1,[]\n" for k in range(10))
    (root / "metadata.csv").write_text("filename,doi,locator,regions\n" + rows)
    (root / "train.csv").write_text("".join(f"i{k}\n" for k in range(8)))
    (root / "test.csv").write_text("i8\ni9")
    return root


def shapes(root: Path) -> None:
    rows = "".join(
        f"i{k}.png,{'rod' if k % 2 else 'spherical'},{'SEM/dark-field' if k < 4 else 'TEM-bright-field'}\n"
        for k in range(10)
    )
    (root / "shapes.csv").write_text("filename,shape,modality\n" + rows)


def names(reader: Emps, split: str) -> list[str]:
    return [Path(image["file_name"]).stem for image, _ in reader.read(split)]


def test_splits_and_groups(tiny: Path) -> None:
    reader = Emps(tiny, validation_fraction=0.25)
    found = {split: names(reader, split) for split in reader.splits}
    assert found["test"] == ["i8", "i9"] and len(found["val"]) == 2 and len(found["train"]) == 6
    groups = {split: {image["group_id"] for image, _ in reader.read(split)} for split in reader.splits}
    assert not groups["train"] & groups["val"]


def test_what_an_image_says(tiny: Path) -> None:
    image, instances = next(iter(Emps(tiny).read("test")))
    assert image == {"file_name": str((tiny / "images/i8.png").resolve()), "height": 20, "width": 30,
                     "modality": "unknown",
                     "group_id": "10.1.x4"}  # fmt: skip
    assert [rle.area_px(mask) for mask in instances.segmentations] == [24, 20] and instances.labels.tolist() == [0, 0]
    image, _ = next(iter(Emps(tiny, pixel_size_nm=0.5).read("test")))
    assert (image["pixel_size_nm"], image["pixel_size_source"]) == (0.5, "override")


def test_filters_do_not_move_images_between_splits(tiny: Path) -> None:
    shapes(tiny)
    everything = {split: names(Emps(tiny, 0.25), split) for split in Emps.splits}
    for split in Emps.splits:
        assert names(Emps(tiny, 0.25, shape="rod"), split) == [n for n in everything[split] if int(n[1:]) % 2]
        assert names(Emps(tiny, 0.25, modality="bright_field"), split) == [
            n for n in everything[split] if int(n[1:]) >= 4
        ]
        assert names(Emps(tiny, 0.25, modality="sem_or_dark_field"), split) == [
            n for n in everything[split] if int(n[1:]) < 4
        ]


@pytest.fixture
def grouped(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images 1 to 9 are gray, image 0 is black."""
    table = tiny / "groups.csv"
    rows = "".join(f"i{k},{'gray' if k else 'black'},100\n" for k in range(10))
    table.write_text("name,group,particle_grey\n" + rows)
    monkeypatch.setattr(emps, "GROUPS_FILE", table)
    return tiny


def test_a_group_is_a_filter(grouped: Path) -> None:
    everything = {split: names(Emps(grouped, 0.25), split) for split in Emps.splits}
    for split in Emps.splits:
        assert names(Emps(grouped, 0.25, group="gray"), split) == [n for n in everything[split] if n != "i0"]
    assert Emps(grouped, group="gray").identity() != Emps(grouped).identity()


def test_one_image_of_a_group_trains_and_the_others_test(grouped: Path) -> None:
    """Every seed draws another one of the train part; the validation part is neither trained nor tested on."""
    whole = Emps(grouped, 0.25, group="gray")
    parts = {split: set(names(whole, split)) for split in Emps.splits}
    drawn = set()
    for seed in range(5):
        reader = Emps(grouped, 0.25, group="gray", one_image=seed)
        assert reader.splits == ("train", "test")
        (one,), others = names(reader, "train"), names(reader, "test")
        assert set(others) == (parts["train"] | parts["test"]) - {one} and one in parts["train"]
        assert names(Emps(grouped, 0.25, group="gray", one_image=seed), "train") == [one]
        drawn.add(one)
    assert drawn == parts["train"], "five seeds reach all of five"
    identities = [Emps(grouped, 0.25, group="gray", one_image=seed).identity() for seed in range(6)]
    assert identities[0] == identities[5] and all(identities[0] != other for other in identities[1:5])


def test_a_group_without_an_image_to_train_on(grouped: Path) -> None:
    (grouped / "train.csv").write_text("".join(f"i{k}\n" for k in range(1, 8)))
    (grouped / "test.csv").write_text("i0\ni8\ni9")
    with pytest.raises(UserError, match="no image of the train part is left"):
        names(Emps(grouped, group="black", one_image=0), "train")


def test_the_table_of_groups_fits_emps() -> None:
    table = pd.read_csv(emps.GROUPS_FILE, dtype={"name": str})
    assert table["name"].is_unique and table["name"].str.fullmatch(r"[0-9a-f]{10}").all()
    assert table["group"].value_counts().to_dict() == {"black": 114, "gray": 106, "ordered_rods": 12}


def test_contrast_is_told_where_it_is_known(tiny: Path) -> None:
    shapes(tiny)
    found = {Path(i["file_name"]).stem: i["modality"] for s in Emps.splits for i, _ in Emps(tiny).read(s)}
    assert (
        found["i9"] == "bright_field" and found["i0"] == "unknown"
    )  # bright particles: SEM or dark field, nobody knows


def test_filters_need_shapes_csv(tiny: Path) -> None:
    for reader in (Emps(tiny, shape="rod"), Emps(tiny, modality="bright_field")):
        with pytest.raises(UserError, match=r"shapes.csv: this table is not part of EMPS .*dataset.reader.shape=null"):
            next(iter(reader.read("train")))


def test_missing_folder_and_files(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no EMPS dataset in .*nowhere \(missing: images, .*fetch_data.py --into .*paths.data="
    ):
        Emps(tmp_path / "nowhere").identity()
    (tiny / "metadata.csv").unlink()
    with pytest.raises(UserError, match=r"missing: metadata.csv"):
        next(iter(Emps(tiny).read("train")))


def test_tables_that_name_what_is_not_there(tiny: Path) -> None:
    (tiny / "segmaps" / "i3.png").unlink()
    (tiny / "train.csv").write_text("i1\ni3\nzz\n")
    with pytest.raises(UserError, match=r"train.csv has 4 fault\(s\)") as caught:
        next(iter(Emps(tiny).read("train")))
    assert "zz: not in metadata.csv" in str(caught.value) and "i3: no segmaps/i3.png" in str(caught.value)


def test_a_map_of_another_size(tiny: Path) -> None:
    write_png(tiny / "segmaps" / "i8.png", np.zeros((20, 31), np.uint16))
    with pytest.raises(UserError, match=r"i8.png is 30 × 20 px, but .*i8.png 31 × 20"):
        next(iter(Emps(tiny).read("test")))


def test_a_truncated_image(tiny: Path) -> None:
    path = tiny / "images" / "i8.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match="i8.png is truncated or damaged"):
        convert(Emps(tiny), tiny / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": "round"}, "shape must be one of spherical, cubic, rod, other or null, got 'round'"),
        ({"modality": "sem"}, "modality must be one of bright_field, sem_or_dark_field or null, got 'sem'"),
        ({"validation_fraction": 0.0}, "validation_fraction must lie between 0 and 1"),
        ({"pixel_size_nm": -1.0}, "pixel_size_nm must be positive"),
        ({"group": "grey"}, "group must be one of black, gray, ordered_rods or null, got 'grey'"),
        ({"one_image": 3}, "one_image=3 draws an image of a group: give group"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Emps("x", **options)  # type: ignore[arg-type]


def test_identity_follows_content_and_options_not_the_place(tiny: Path, tmp_path: Path) -> None:
    first = Emps(tiny).identity()
    json.dumps(first)
    moved = tmp_path / "elsewhere"
    tiny.rename(moved)
    assert Emps(moved).identity() == first and str(tmp_path) not in json.dumps(first)
    assert Emps(moved, validation_fraction=0.3).identity() != first
    write_png(moved / "images" / "i0.png", np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8))
    assert Emps(moved).identity() != first


def test_instances_of_a_map() -> None:
    """Ids with gaps, an id in two pieces, a one-pixel particle; and nothing at all."""
    labels = np.zeros((6, 8), np.int32)
    labels[0, 0], labels[2, 1:3], labels[4, 5:7], labels[5, 0:3] = 2, 5, 5, 70000
    found = instances_of(labels)
    assert [
        (rle.decode(mask) == (labels == k)).all() for mask, k in zip(found.segmentations, (2, 5, 70000), strict=True)
    ] == [True] * 3
    assert len(instances_of(np.zeros((6, 8), np.int32))) == 0


# ------------------------------------------------------------------------------------------ the real dataset


@pytest.fixture(scope="module")
def reader(data_dir: Path) -> Emps:
    return Emps(data_dir / "emps")


def test_official_numbers(reader: Emps, data_dir: Path) -> None:
    """366 and 99 images (Yildirim & Cole 2021); the validation part is 15 % of 366."""
    count = Counter(reader._table["split"])
    assert count["test"] == 99 and count["train"] + count["val"] == 366 and count["val"] == pytest.approx(55, abs=1)
    groups = {split: set(part["doi"]) for split, part in reader._table.groupby("split")}
    assert not groups["train"] & groups["val"] and not groups["test"] & (groups["train"] | groups["val"])
    official = pd.read_csv(data_dir / "emps" / "test.csv", header=None)[0]
    assert set(official) == set(reader._table.index[reader._table["split"] == "test"])


def test_every_particle_of_the_test_split(reader: Emps, tmp_path: Path) -> None:
    """2,608 instances, counted in the maps; shapes.csv counts them too."""

    class TestOnly(Emps):
        splits = ("test",)

    only: Reader = TestOnly(reader.root)
    convert(only, tmp_path)
    dataset = coco.read(tmp_path / "test" / "dataset.json")
    table = pd.read_csv(reader.root / "shapes.csv", index_col="filename")
    assert dataset.count == 2608
    for image in dataset.images:
        row = table.loc[image.path.name]
        assert len(dataset.annotations[image.id]) == row["n_particles"] and (image.height, image.width) == (
            row["height"],
            row["width"],
        )
        assert image.pixel_size_nm is None and image.group_id == row["doi"]
    areas = [a["area"] for found in dataset.annotations.values() for a in found]
    assert min(areas) == 7


def test_all_particles_are_11535(reader: Emps) -> None:
    """Ids counted in all 465 maps, without this package."""
    paths = sorted((reader.root / "segmaps").iterdir())
    maps = [np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)) for path in paths]
    assert len(maps) == len(reader._table) == 465
    assert sum(int(np.count_nonzero(np.bincount(m.ravel())[1:])) for m in maps) == 11535


def test_yaml_fits_the_reader(data_dir: Path) -> None:
    content = yaml.safe_load((Path(__file__).parents[3] / "conf" / "dataset" / "emps.yaml").read_text())
    options = content["reader"]
    assert options.pop("_target_") == "tem_seg.data.readers.emps.Emps" and content["pixel_size_nm"] is None
    options |= {"root": data_dir / "emps", "pixel_size_nm": content["pixel_size_nm"]}
    assert Emps(**options).identity() == Emps(data_dir / "emps").identity()


def test_shapes_as_classes(tiny: Path) -> None:
    shapes(tiny)
    (tiny / "shapes.csv").write_text((tiny / "shapes.csv").read_text().replace("i8.png,spherical", "i8.png,other"))
    reader = Emps(tiny, 0.25, by_shape=True)
    assert reader.categories == ("spherical", "cubic", "rod") and Emps(tiny).categories == ("particle",)
    assert names(reader, "test") == ["i9"], "other shapes are no class"
    for split in reader.splits:
        for image, instances in reader.read(split):
            odd = int(Path(image["file_name"]).stem[1:]) % 2
            assert instances.labels.tolist() == [2 if odd else 0] * 2
    assert names(Emps(tiny, 0.25, by_shape=True, shape="rod"), "test") == ["i9"]
    assert Emps(tiny).identity() | {"by_shape": True} == Emps(tiny, by_shape=True).identity()


def test_shapes_as_classes_need_the_table_and_a_class(tiny: Path) -> None:
    with pytest.raises(UserError, match=r"no .*shapes.csv.*dataset.reader.by_shape=false"):
        names(Emps(tiny, by_shape=True), "test")
    with pytest.raises(UserError, match="by_shape leaves out the images of other shapes"):
        Emps(tiny, by_shape=True, shape="other")
