"""The module is generation/dataset.py; training/dataset.py has the name test_dataset.py."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import psutil
import pytest

from tem_seg.core.errors import UserError
from tem_seg.data import coco
from tem_seg.data.store import canonical, ensure
from tem_seg.generation import dataset
from tem_seg.generation.dataset import build_dataset, dataset_identity
from tem_seg.generation.microscope.imaging import Imaging
from tem_seg.generation.recipes.gold_aunp import GoldAuNP

COUNTS = {"train": 5, "val": 2, "test": 3}
SIZE = (96, 112)
HERE = Path(__file__).resolve().parent
SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from conftest import build
from tem_seg.data.store import ensure
from tem_seg.generation.dataset import build_dataset, dataset_identity
if __name__ == "__main__":
    recipe = build("recipe", "gold_aunp", particles=[2, 6], diameter_px=[9, 16], empty_fraction=0.2)
    imaging = build("imaging", "bright_field")
    arguments = (recipe, imaging, {{"train": {count}}}, (96, 112), 7)
    made = ensure(Path(sys.argv[1]), "gold", dataset_identity(*arguments),
                  lambda folder: build_dataset(folder, *arguments, int(sys.argv[2]), False))
    print(made)
"""


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def script(tmp_path: Path, count: int) -> Path:
    path = tmp_path / "make_it.py"
    path.write_text(SCRIPT.format(paths=[str(HERE), str(HERE.parents[1])], count=count))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, small_gold: GoldAuNP, bright_field: Imaging) -> Path:
    folder = tmp_path_factory.mktemp("one_worker")
    build_dataset(folder, small_gold, bright_field, COUNTS, SIZE, 7, workers=1, progress=False)
    return folder


def test_every_split_is_a_valid_dataset_with_truths(made: Path) -> None:
    for split, count in COUNTS.items():
        read = coco.read(made / split / "dataset.json")
        assert len(read) == count and read.categories == ["particle"]
        for image in read.images:
            pixels = cv2.imread(str(image.path), cv2.IMREAD_UNCHANGED)
            assert pixels.shape == SIZE and pixels.dtype == "uint8"
            assert image.pixel_size_nm and image.pixel_size_source == "generator" and image.modality == "bright_field"
            assert image.group_id == f"synthetic-7-{split}-{image.id - 1}" and image.seed is not None
    keys = {
        "true_equivalent_diameter_nm",
        "true_min_feret_nm",
        "true_max_feret_nm",
        "true_height_nm",
        "true_area_nm2",
        "shape",
    }
    keys |= {"visible_fraction", "overlapped_fraction", "full_segmentation", "rotated_box", "truncated"}
    found = [a for image in coco.read(made / "train" / "dataset.json").annotations.values() for a in image]
    assert found and all(keys <= set(annotation) for annotation in found)
    assert sorted(a["id"] for a in found) == list(range(1, len(found) + 1))


def test_nothing_but_images_and_dataset_json_is_left(made: Path) -> None:
    assert {Path(name).suffix for name in contents(made)} == {".png", ".json"}
    assert sum(name.endswith(".json") for name in contents(made)) == len(COUNTS)


def test_three_workers_write_the_same_bytes(
    tmp_path: Path, made: Path, small_gold: GoldAuNP, bright_field: Imaging, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(dataset, "AT_LEAST_A_WORKER", 1)
    build_dataset(tmp_path, small_gold, bright_field, COUNTS, SIZE, 7, workers=3, progress=False)
    assert contents(tmp_path) == contents(made)


def test_images_differ_between_splits_seeds_and_indices(
    tmp_path: Path, made: Path, small_gold: GoldAuNP, bright_field: Imaging
) -> None:
    build_dataset(tmp_path, small_gold, bright_field, {"train": 2}, SIZE, 8, progress=False)
    images = [
        digest for folder in (made, tmp_path) for name, digest in contents(folder).items() if name.endswith("png")
    ]
    assert len(images) == 12 == len(set(images))


def test_more_images_leave_the_first_ones_alone(
    tmp_path: Path, made: Path, small_gold: GoldAuNP, bright_field: Imaging
) -> None:
    build_dataset(tmp_path, small_gold, bright_field, {"train": 6}, SIZE, 7, progress=False)
    now, before = contents(tmp_path), contents(made)
    assert all(now[f"train/images/{i:05d}.png"] == before[f"train/images/{i:05d}.png"] for i in range(5))


def test_split_of_no_images_is_not_written(tmp_path: Path, small_gold: GoldAuNP, bright_field: Imaging) -> None:
    build_dataset(tmp_path, small_gold, bright_field, {"train": 1, "val": 0}, SIZE, 7, progress=False)
    assert not (tmp_path / "val").exists()


def test_kill_in_the_middle_then_resume_gives_the_same_bytes(tmp_path: Path) -> None:
    make, count = script(tmp_path, 40), 40
    whole = subprocess.run([sys.executable, make, tmp_path / "whole", "1"], capture_output=True, text=True, check=True)
    job = subprocess.Popen([sys.executable, make, tmp_path / "killed", "2"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("killed/.gold-*.partial/train/images/*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    children = psutil.Process(job.pid).children(recursive=True)
    job.kill()
    job.wait()
    assert not list(tmp_path.glob("killed/gold-*")), "killed too late to tell anything"
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "workers must not outlive their parent"
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.glob("killed/.gold-*.partial/train/images/*.png")}
    assert 3 <= len(kept) < count
    resumed = subprocess.run(
        [sys.executable, make, tmp_path / "killed", "1"], capture_output=True, text=True, check=True
    )
    first, second = Path(whole.stdout.strip()), Path(resumed.stdout.strip())
    assert contents(first) == contents(second)
    assert sum((second / "train" / "images" / p.name).stat().st_mtime_ns == t for p, t in kept.items()) >= len(kept) - 2


def test_killed_worker_is_an_error_and_not_a_hang(
    tmp_path: Path, small_gold: GoldAuNP, bright_field: Imaging, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(dataset, "_task", _die)
    with pytest.raises(UserError, match="a worker process .* died .* same command again"):
        build_dataset(tmp_path, small_gold, bright_field, {"train": 8}, SIZE, 7, workers=2, progress=False)


def _die(split: str, index: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_disk_full_in_a_worker_reaches_the_user(
    tmp_path: Path, small_gold: GoldAuNP, bright_field: Imaging, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(dataset, "_task", _full)
    arguments = (small_gold, bright_field, {"train": 8}, SIZE, 7)
    with pytest.raises(UserError, match="no space left while making the dataset gold-"):
        ensure(tmp_path, "gold", {}, lambda folder: build_dataset(folder, *arguments, 2, False))


def _full(split: str, index: int) -> None:
    raise OSError(28, "No space left on device", "somewhere.png")


def test_disk_that_fills_up_while_drawing(tmp_path: Path, small_gold: GoldAuNP, bright_field: Imaging) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    arguments = (small_gold, bright_field, {"train": 30}, SIZE, 7)
    try:
        with pytest.raises(UserError, match=f"no space left.*disk mounted at {disk}"):
            ensure(disk, "gold", {}, lambda folder: build_dataset(folder, *arguments, 1, False))
        assert not list(disk.glob("gold-*"))
        assert not list(disk.rglob("*.tmp"))
        finished = list(disk.rglob("*.png"))
        assert finished and all(cv2.imread(str(path)) is not None for path in finished)
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        done = ensure(disk, "gold", {}, lambda folder: build_dataset(folder, *arguments, 1, False))
        assert len(coco.read(done / "train" / "dataset.json")) == 30
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("counts", "workers", "message"),
    [
        ({"train": 0}, 1, "asks for no image"),
        ({"train": -1}, 1, "counts.train must be a whole number from 0 to 99999, got -1"),
        ({"train": 2.5}, 1, "counts.train must be a whole number"),
        ({"train": 2}, 0, "workers must be at least 1, got 0"),
    ],
)
def test_bad_numbers(
    tmp_path: Path, small_gold: GoldAuNP, bright_field: Imaging, counts: dict[str, int], workers: int, message: str
) -> None:  # fmt: skip
    with pytest.raises(UserError, match=message):
        build_dataset(tmp_path, small_gold, bright_field, counts, SIZE, 7, workers)
    assert not list(tmp_path.iterdir())


def test_identity_is_json_and_tells_arguments_apart(small_gold: GoldAuNP, bright_field: Imaging) -> None:
    texts = {
        canonical(dataset_identity(small_gold, bright_field, counts, size, seed))
        for counts in ({"train": 1}, {"train": 2}) for size in ((96, 96), (96, 97)) for seed in (0, 1)
    }  # fmt: skip
    assert len(texts) == 8
