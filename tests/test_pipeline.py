"""The whole program, as a user starts it: one command, files and a report at the end; killed, and started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tem_seg.config.schema import Stage
from tem_seg.data import coco, results
from tem_seg.models.detectron2 import INSTALL_HINT, is_available

ROOT = Path(__file__).resolve().parents[1]
GOLD = ("experiment=gold_aunp", "profile=smoke", "model.backend=torchvision")
PATIENCE_S = 540
pytestmark = pytest.mark.timeout(600)


@dataclass
class Place:
    """A folder to run the program in, with its own outputs."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        self.folder.mkdir(exist_ok=True)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TEM_SEG_OUTPUTS": "outputs"} | self.environment
        return subprocess.Popen(
            [sys.executable, "-m", "tem_seg.run", *arguments], cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def kill_at(self, line_start: str, *arguments: str) -> list[str]:
        """kill -9 as soon as a line begins so; what was said until then."""
        process, said = self.start(*arguments), []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.rstrip("\n"))
            if line.startswith(line_start):
                process.send_signal(signal.SIGKILL)
                process.communicate(timeout=60)
                assert process.returncode == -signal.SIGKILL
                return said
        raise AssertionError(f"'{line_start}' was never said: {said}, {process.communicate()}")

    def run_dirs(self, experiment: str = "gold_aunp") -> list[Path]:
        return sorted((self.folder / "outputs" / "runs" / experiment).iterdir())


@dataclass
class Finished:
    place: Place
    said: subprocess.CompletedProcess[str]
    folder: Path

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


def finish(place: Place, *arguments: str, experiment: str = "gold_aunp") -> Finished:
    said = place.run(*arguments)
    assert said.returncode == 0, said.stderr
    return Finished(place, said, place.run_dirs(experiment)[-1])


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One undisturbed run that many tests look at."""
    return finish(Place(tmp_path_factory.mktemp("gold")), *GOLD)


# ------------------------------------------------------------------------------------------- one undisturbed run


def test_it_says_what_it_does(gold: Finished) -> None:
    lines = gold.said.stdout.splitlines()
    assert lines[0].startswith("tem_seg ") and "gold_aunp · profile smoke · runs in outputs/runs/gold_aunp/" in lines[0]
    assert [line.split(" …")[0] for line in lines if line.endswith(" …")] == [stage.value for stage in Stage]
    assert lines[-1] == f"done: {gold.folder.relative_to(gold.place.folder)}/report.html"
    assert not gold.said.stderr.strip(), "a run that goes well says nothing on stderr"


def test_all_files_are_there_and_nothing_else(gold: Finished) -> None:
    names = {str(path.relative_to(gold.folder)) for path in gold.folder.rglob("*") if path.is_file()}
    assert names == {
        ".lock", "run.json", "datasets.json", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "metrics.csv",
        "metrics.json", "predictions.json", "predictions_val.json", "predictions_train.json", "particles.csv",
        "particles_truth.csv", "agglomerates.csv", "measurement.json", "report.html",
    }  # fmt: skip
    assert {entry.name for entry in gold.place.folder.iterdir()} == {"outputs"}, "nothing is left elsewhere"


def test_run_json_is_complete(gold: Finished) -> None:
    run = gold.json("run.json")
    assert list(run["stages"]) == [stage.value for stage in Stage] and run["finished"]
    assert run["stages"]["train"]["backend"] == run["stages"]["predict"]["backend"] == "torchvision"
    assert (
        run["config"]["train"]["steps"] == 4
        and run["seed"] == 0
        and run["versions"]["torch"] == metadata.version("torch")
    )
    assert run["command"] == ["python", "-m", "tem_seg.run", *GOLD]
    assert all(stage["wall_s"] >= 0 and stage["peak_memory_gb"] > 0 for stage in run["stages"].values())


def test_datasets_hold_what_was_asked_for(gold: Finished) -> None:
    datasets = gold.json("datasets.json")
    counts = {split: len(coco.read(Path(path))) for split, path in datasets.items()}
    assert counts == {"train": 4, "val": 2, "test": 2}
    image = coco.read(Path(datasets["test"])).images[0]
    assert (image.height, image.width) == (160, 160) and image.pixel_size_nm and image.pixel_size_source == "generator"


def test_predictions_of_all_splits_can_be_read(gold: Finished) -> None:
    for name, split in (("", "test"), ("_val", "val"), ("_train", "train")):
        rows, info = results.read(gold.folder / f"predictions{name}.json")
        assert info["split"] == split and info["backend"] == "torchvision" and info["max_instances"] == 1000
        assert len(info["image_ids"]) == 2 and Path(info["checkpoint"]).name == "last.ckpt"
        assert all({"image_id", "category_id", "bbox", "score", "segmentation"} <= set(row) for row in rows)


def test_metrics_have_their_names(gold: Finished) -> None:
    metrics = gold.json("metrics.json")
    for key in ("ap", "ap50", "ap75", "f1", "n_images", "n_truths", "n_predictions", "max_instances", "red_flags"):
        assert key in metrics
    assert metrics["n_images"] == 2 and metrics["n_truths"] > 0 and set(metrics["splits"]) == {"val", "train"}
    assert {"ap", "ap50", "ap75", "ap_small", "per_class"} <= set(metrics["segm"]) & set(metrics["bbox"])


def test_particles_are_measured_in_nm(gold: Finished) -> None:
    truth = pd.read_csv(gold.folder / "particles_truth.csv")
    assert {"image_id", "category", "equivalent_diameter_nm", "min_feret_nm", "max_feret_nm", "pixel_size_nm"} <= set(
        truth
    )
    assert len(truth) == gold.json("metrics.json")["n_truths"]
    dataset = coco.read(Path(gold.json("datasets.json")["test"]))
    areas = [a["area"] * image.pixel_size_nm**2 for image in dataset.images for a in dataset.annotations[image.id]]
    assert sorted(truth["area_nm2"]) == pytest.approx(sorted(areas))
    np.testing.assert_allclose(truth["equivalent_diameter_nm"], np.sqrt(4 * truth["area_nm2"] / np.pi))
    columns = set(pd.read_csv(gold.folder / "particles.csv"))
    assert "area_px2" not in truth and set(truth) <= columns
    assert columns - set(truth) <= {"confidence", "edge_sd_nm"}, "calibrated, where a few steps happen to find any"


def test_curves_hold_every_validation(gold: Finished) -> None:
    curves = pd.read_csv(gold.folder / "metrics.csv")
    assert {"step", "train/loss", "train/lr", "val/ap", "train/ap"} <= set(curves)
    assert curves["val/ap"].notna().sum() == 2 and curves["train/loss"].notna().all()


def test_the_report_is_one_file_that_shows_the_run(gold: Finished) -> None:
    text = (gold.folder / "report.html").read_text()
    assert text.lstrip().lower().startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    assert "gold_aunp" in text and ("data:image" in text or "<svg" in text)
    assert not any(f'{kind}="http' in text for kind in ("src", 'href="stylesheet" href'))


# ------------------------------------------------------------------------------------------ killed, started again


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[str]], Finished]:
    """The same command, killed in generate, in train and in predict; then it may end."""
    place = Place(tmp_path_factory.mktemp("killed"))
    said = [place.kill_at(line, *GOLD) for line in ("generate …", "  step 2/4", "  val: ")]
    return said, finish(place, *GOLD)


def test_a_killed_run_goes_on_in_its_directory(killed: tuple[list[list[str]], Finished]) -> None:
    said, last = killed
    assert len(last.place.run_dirs()) == 1
    starts = [lines[0] for lines in said] + [last.said.stdout.splitlines()[0]]
    assert " · runs in " in starts[0] and all(" · resumes " in line for line in starts[1:])
    for stage in ("generate", "train"):
        assert f"{stage}: done before, kept" in last.said.stdout
    assert "generate: done before, kept" in said[2] and "train …" in said[2]


def test_a_killed_run_ends_like_an_undisturbed_one(gold: Finished, killed: tuple[list[list[str]], Finished]) -> None:
    last = killed[1]
    assert last.json("metrics.json") == gold.json("metrics.json")
    for name in ("metrics.csv", "particles.csv", "particles_truth.csv"):
        assert (last.folder / name).read_text() == (gold.folder / name).read_text(), name
    for name in ("predictions.json", "predictions_val.json"):
        assert last.json(name)["results"] == gold.json(name)["results"], name


def test_a_killed_training_has_the_same_weights(gold: Finished, killed: tuple[list[list[str]], Finished]) -> None:
    ours, theirs = (
        torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True) for run in (killed[1], gold)
    )
    assert ours["global_step"] == theirs["global_step"] == 4
    for part in ("state_dict", "current_model_state"):
        assert all(torch.equal(ours[part][name], theirs[part][name]) for name in theirs[part])


def test_the_datasets_are_the_same_bytes(gold: Finished, killed: tuple[list[list[str]], Finished]) -> None:
    def images(run: Finished) -> dict[str, bytes]:
        folder = run.place.folder / "outputs" / "datasets"
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}

    ours, theirs = images(killed[1]), images(gold)
    assert len(theirs) == 8 and ours == theirs
    assert not list(killed[1].place.folder.rglob("*.partial")) and not list(killed[1].place.folder.rglob("*.tmp"))


# ------------------------------------------------------------------------------------------------- several runs


def test_two_runs_at_once_get_two_directories_and_share_one_dataset(tmp_path: Path) -> None:
    place = Place(tmp_path / "both")
    both = [place.start(*GOLD, "stages=[generate]") for _ in range(2)]
    ends = [process.communicate(timeout=PATIENCE_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert len(place.run_dirs()) == 2
    made = [entry for entry in (place.folder / "outputs" / "datasets").iterdir() if not entry.name.startswith(".")]
    assert len(made) == 1


def test_detectron2_runs_the_same_experiment(gold: Finished) -> None:
    """And with weights of its own back end the run is predicted again, whatever back end is asked for then."""
    if not is_available():
        pytest.skip(f"detectron2 is not installed ({INSTALL_HINT})")
    arguments = ("experiment=gold_aunp", "profile=smoke", "model.backend=detectron2")
    run = finish(gold.place, *arguments, "stages=[generate,train,predict,evaluate]")
    assert run.folder != gold.folder
    assert run.json("run.json")["stages"]["train"]["backend"] == "detectron2"
    assert run.json("metrics.json")["n_truths"] == gold.json("metrics.json")["n_truths"]
    assert "detectron2" in run.said.stdout


def test_real_micrographs(data_dir: Path, tmp_path: Path) -> None:
    """Uncalibrated: every length in px, and the column says so."""
    arguments = ("experiment=emps_mask_rcnn", "profile=smoke", "model.backend=torchvision", f"paths.data={data_dir}")
    run = finish(Place(tmp_path / "emps"), *arguments, experiment="emps_mask_rcnn")
    truth = pd.read_csv(run.folder / "particles_truth.csv")
    assert "equivalent_diameter_px" in truth and not any("_nm" in name and truth[name].notna().any() for name in truth)
    assert run.json("metrics.json")["n_images"] == 3 and (run.folder / "report.html").stat().st_size > 10_000


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("there", [False, True], ids=["missing", "empty"])
def test_a_dataset_folder_without_the_dataset(tmp_path: Path, there: bool) -> None:
    data = tmp_path / "data"
    if there:
        (data / "emps" / "images").mkdir(parents=True)
    missing = (
        "segmaps, train.csv, test.csv, metadata.csv" if there else "images, segmaps, train.csv, test.csv, metadata.csv"
    )
    said = Place(tmp_path / "run").run("experiment=emps_mask_rcnn", "profile=smoke", f"paths.data={data}")
    assert said.returncode == 2 and "Traceback" not in said.stderr
    assert said.stderr.splitlines()[-1] == (
        f"tem_seg: no EMPS dataset in {data}/emps (missing: {missing}): get it with `python scripts/fetch_data.py "
        f"--into {data}/emps`, or set paths.data=<folder that holds emps/>"
    )


@pytest.mark.parametrize("damage", ["truncated", "empty"])
def test_a_damaged_micrograph_ends_the_run_with_its_name(gold: Finished, tmp_path: Path, damage: str) -> None:
    place = Place(tmp_path / "damaged")
    shutil.copytree(gold.place.folder / "outputs" / "datasets", place.folder / "outputs" / "datasets")
    (image,) = place.folder.glob("outputs/datasets/*/val/images/00001.png")
    image.write_bytes(image.read_bytes()[: 300 if damage == "truncated" else 0])
    said = place.run(*GOLD, "train.steps=1", "train.validate_every=1", "train.workers=1")
    assert said.returncode == 2 and "Traceback" not in said.stderr
    text = said.stderr[said.stderr.index("tem_seg: ") :]
    assert "/val/" in text and "images/00001.png" in text and damage in text


def test_weights_that_cannot_be_downloaded(gold: Finished) -> None:
    """No network here: an address that refuses stands in for it. Said before the first step of training."""
    place = Place(
        gold.place.folder, {"https_proxy": "http://127.0.0.1:9", "TORCH_HOME": str(gold.place.folder / "none")}
    )
    said = place.run(*GOLD, "model.weights=imagenet", "stages=[generate,train]")
    assert said.returncode == 2 and "Traceback" not in said.stderr
    assert "the imagenet weights of resnet18 cannot be downloaded" in said.stderr
    assert "model.weights=none model.norm=bn" in said.stderr and "step " not in said.stdout


# ------------------------------------------------------------------------------------------------- installed


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The wheel, built from a copy of the sources and installed beside nothing else; run from an empty folder."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in ("tem_seg", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip: Callable[..., Any] = lambda *a: subprocess.run(  # noqa: E731
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *a], check=True, capture_output=True, text=True
    )
    pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", str(site), str(source))
    (wheel,) = site.glob("*.whl")
    pip("install", "--no-deps", "--no-index", "--target", str(site / "packages"), str(wheel))
    return Place(tmp_path_factory.mktemp("empty"), {"PYTHONPATH": str(site / "packages")})


def test_conf_travels_in_the_wheel(installed: Place) -> None:
    site = Path(installed.environment["PYTHONPATH"])
    inside = {str(file.relative_to(site / "tem_seg" / "conf")) for file in (site / "tem_seg" / "conf").rglob("*.yaml")}
    assert inside == {str(file.relative_to(ROOT / "conf")) for file in (ROOT / "conf").rglob("*.yaml")}
    modules = {str(file.relative_to(site)) for file in (site / "tem_seg").rglob("*.py")}
    assert modules - {"tem_seg/conf/__init__.py"} == {
        str(file.relative_to(ROOT)) for file in (ROOT / "tem_seg").rglob("*.py")
    }


def test_the_wheel_holds_every_file_that_is_read(installed: Place) -> None:
    site = Path(installed.environment["PYTHONPATH"])
    others = [file for file in (ROOT / "tem_seg").rglob("*.*") if file.is_file() and file.suffix not in (".py", ".pyc")]
    missing = [str(file.relative_to(ROOT)) for file in others if not (site / file.relative_to(ROOT)).is_file()]
    assert not missing


def test_the_installed_program_shows_its_config(installed: Place) -> None:
    assert "gold_aunp" in installed.run("--help").stdout
    said = installed.run("--cfg", "job", *GOLD)
    assert said.returncode == 0 and "name: gold_aunp" in said.stdout and "diameter_nm:" in said.stdout


def test_the_installed_program_draws_and_reports(installed: Place) -> None:
    """From an empty folder: everything but the training, which needs no file of ours."""
    began = time.time()
    made = finish(installed, *GOLD, "stages=[generate]")
    versions = made.json("run.json")
    assert versions["finished"] and (made.folder / "datasets.json").stat().st_mtime >= began
    assert len(list(installed.folder.glob("outputs/datasets/*/train/images/*.png"))) == 4
