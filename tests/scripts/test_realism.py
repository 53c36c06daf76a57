"""scripts/realism.py: figures of sets whose answer is known, pictures, and the table."""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import realism
import realism_measures as measures
from realism import Looked
from scipy.stats import mannwhitneyu, wasserstein_distance

from tem_seg.core.errors import UserError
from tem_seg.generation.stream import RecipeStream
from tem_seg.stages import common

ROOT = Path(__file__).resolve().parents[2]


def blobs(count: int, seed: int, blur: float = 2.0, size: int = 200, noise: float = 0.05) -> list[Looked]:
    """Pictures of blurred noise on which nothing else differs than the blur."""
    found = []
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        field = cv2.GaussianBlur(rng.standard_normal((size, size)).astype(np.float32), (0, 0), blur)
        pixels = 0.5 + 0.15 * field / field.std() + noise * rng.standard_normal((size, size)).astype(np.float32)
        found.append(Looked(np.clip(pixels, 0, 1).astype(np.float32), None, f"{seed}-{k}"))
    return found


def crops(looked: list[Looked], each: int = 6) -> measures.Set:
    pixels, groups = [one.pixels for one in looked], [one.group for one in looked]
    return measures.crops_of(pixels, groups, each, np.random.default_rng(0))


# ------------------------------------------------------------------------------------------------------- measures


def test_auc_is_mann_whitney_s() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 20, 200).astype(float), rng.integers(0, 2, 200).astype(float)
    u = mannwhitneyu(scores[labels > 0], scores[labels == 0]).statistic
    assert measures.auc(scores, labels) == pytest.approx(u / ((labels > 0).sum() * (labels == 0).sum()))


def test_every_feature_has_a_name_and_is_finite() -> None:
    flat = np.stack([np.zeros((128, 128), np.float32), blobs(1, 0)[0].pixels[:128, :128]])
    table = measures.features(flat)
    assert table.shape == (2, len(measures.NAMES)) and np.isfinite(table).all()


def test_two_samples_of_one_kind_are_not_told_apart() -> None:
    found = measures.separation(crops(blobs(20, 1)), crops(blobs(20, 2)), np.random.default_rng(0))
    assert 0.3 < found.auc < 0.7


def test_another_sharpness_is_told_apart() -> None:
    found = measures.separation(crops(blobs(16, 1)), crops(blobs(16, 2, blur=2.6)), np.random.default_rng(0))
    assert found.auc > 0.95 and any(tell.startswith(("power", "edges", "local noise")) for tell in found.tells)


def test_a_set_of_too_wide_a_range_is_told_apart_although_its_mean_is_right() -> None:
    narrow = blobs(20, 1, noise=0.08)
    wide = [one for k in range(10) for noise in (0.02, 0.2) for one in blobs(1, 100 + k, noise=noise)]
    wide = [Looked(one.pixels, None, f"w{k}") for k, one in enumerate(wide)]
    assert measures.separation(crops(narrow), crops(wide), np.random.default_rng(0)).auc > 0.85


def test_crops_of_one_image_are_never_on_both_sides() -> None:
    """Images that differ at random from each other but not by kind: crops of a known image would give it away."""
    rng = np.random.default_rng(3)
    kinds = [[Looked(one.pixels * float(rng.uniform(0.4, 1)), None, one.group) for one in blobs(8, k)] for k in (1, 2)]
    found = measures.separation(*(crops(kind, 20) for kind in kinds), np.random.default_rng(0))
    assert found.auc < 0.75


def test_with_one_group_there_is_no_figure() -> None:
    alone = [Looked(one.pixels, None, "video") for one in blobs(5, 1)]
    assert np.isnan(measures.separation(crops(alone), crops(blobs(5, 2)), np.random.default_rng(0)).auc)
    assert not list(measures.halves(crops(alone), np.random.default_rng(0)))


def test_the_spectrum_of_white_noise_is_flat_and_of_a_wave_is_a_line() -> None:
    noise = np.random.default_rng(0).standard_normal((40, 128, 128)).astype(np.float32)
    curve = measures.radial_spectrum(noise).mean(axis=0)
    assert np.ptp(curve[2:]) < 0.15
    wave = np.sin(2 * np.pi * 16 * np.arange(128) / 128)[None, None].repeat(128, 1).astype(np.float32)
    assert int(measures.radial_spectrum(wave)[0].argmax()) + 1 == 16


def test_spectra_are_as_far_apart_as_the_filter_makes_them() -> None:
    """A Gaussian blur of σ multiplies power at frequency f by exp(-4π²σ²f²); the sum to one shifts both curves."""
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((30, 160, 160)).astype(np.float32)
    blurred = np.stack([cv2.GaussianBlur(one, (0, 0), 0.8) for one in raw])
    groups = np.arange(30)
    a, b = (measures.Set(part[:, 16:144, 16:144], groups) for part in (raw, blurred))
    frequency = np.arange(1, 64) / 128
    expected = -4 * np.pi**2 * 0.8**2 * frequency**2 / np.log(10)
    expected -= np.log10(np.mean(10**expected))
    assert measures.spectrum_distance(a, b) == pytest.approx(np.abs(expected).mean(), rel=0.1)
    assert measures.spectrum_distance(a, a) == 0


def test_histograms_are_as_far_apart_as_scipy_says() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.beta(*shape, (10, 128, 128)).astype(np.float32) for shape in ((2, 5), (4, 3))]
    a, b = (measures.Set(part, np.arange(10)) for part in parts)
    assert measures.histogram_distance(a, b) == pytest.approx(
        wasserstein_distance(parts[0].ravel(), parts[1].ravel()), abs=0.005
    )
    assert measures.histogram_distance(a, a) == 0


def test_an_image_with_many_crops_counts_as_one() -> None:
    values = np.array([[0.0], [0.0], [0.0], [4.0]])
    assert measures.mean_by_group(values, np.array([0, 0, 0, 1])) == pytest.approx(2.0)


def test_images_smaller_than_a_crop_are_left_out() -> None:
    assert len(crops(blobs(2, 1, size=100))) == 0 and len(crops([*blobs(1, 1, size=100), *blobs(1, 2)])) == 6


def test_scale_bars_are_seen_and_particles_are_not() -> None:
    pixels = np.full((120, 120), 0.5, np.float32)
    pixels[100:106, 10:60] = 1.0  # a bar
    pixels[20:50, 20:50] = 0.0  # a black particle
    particles = np.zeros((120, 120), bool)
    particles[20:50, 20:50] = True
    found = measures.overlay_px(pixels, particles)
    assert found[99:107, 9:61].mean() > 0.2 and not found[:90].any()
    assert measures.overlay_px(pixels, None)[20:50, 20:50].any()
    smooth = cv2.GaussianBlur(pixels, (0, 0), 3)
    assert not measures.overlay_px(np.clip(smooth, 0.05, 0.95), None).any()


# --------------------------------------------------------------------------------------------------------- script


@pytest.fixture(scope="module")
def stream() -> RecipeStream:
    small = ("generation.image_size=[160,160]", "recipe.particles=[3,8]", "recipe.diameter_px=[9,30]")
    return common.stream(realism.bench_common.config(*small))


def test_overlays_go_and_nothing_else_changes(stream: RecipeStream) -> None:
    bare = realism.without_overlays(stream)
    gone = set(stream.imaging.steps) - set(bare.imaging.steps)
    assert gone and not any(realism._is_overlay(step) for step in bare.imaging.steps.values())
    pairs = [(stream.drawn(k).micrograph.pixels, bare.drawn(k).micrograph.pixels) for k in range(6)]
    shares = [float((a != b).mean()) for a, b in pairs]
    assert max(shares) > 0 and min(shares) < 0.5


def test_the_recipes_are_experiments_and_their_real_micrographs_are_there(data_dir: Path) -> None:
    for name, source in realism.REAL.items():
        assert (ROOT / "conf" / "experiment" / f"{name}.yaml").is_file(), name
        if isinstance(source, realism.Folder):
            assert source(data_dir), name


def test_real_micrographs_have_no_info_bar(data_dir: Path) -> None:
    source = realism.REAL["sem_agglomerates"]
    assert all(one.pixels.shape == (704, 1024) for one in source(data_dir))


def test_the_picture_holds_eight_of_each(stream: RecipeStream) -> None:
    drawn = realism.synthetic(stream, 9)
    assert all(one.particles is not None for one in drawn) and len({one.group for one in drawn}) == 9
    canvas, kinds = realism.picture(blobs(9, 1), drawn, None)
    assert kinds == ["synthetic", "synthetic", "real", "real"] * 4
    assert canvas.shape == (4 * 468 + 8, 4 * 468 + 8) and canvas.dtype == np.float32
    _, mixed = realism.picture(blobs(9, 1), drawn, np.random.default_rng(0))
    assert sorted(mixed) == sorted(kinds) and mixed != kinds


def test_few_real_micrographs_make_a_smaller_picture() -> None:
    canvas, kinds = realism.picture(blobs(3, 1), blobs(20, 2), None)
    assert kinds.count("real") == 3 and kinds.count("synthetic") == 8
    assert canvas.shape == (4 * 468 + 8, 4 * 468 + 8) and (canvas[-400:, -400:] == 1).all()


def options(tmp_path: Path, **changes: Any) -> argparse.Namespace:
    small = ["generation.image_size=[160,160]", "recipe.particles=[3,8]", "recipe.diameter_px=[9,30]"]
    given = {
        "experiment": "gold_aunp", "overrides": small, "real": str(tmp_path / "real" / "*.png"), "data": tmp_path,
        "images": 6, "out": None, "shuffle": False, "seed": 0, "table": tmp_path / "new" / "table.csv",
        "no_table": False,
    }  # fmt: skip
    return argparse.Namespace(**given | changes)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "real").mkdir()
    for k, one in enumerate(blobs(6, 1)):
        cv2.imwrite(str(tmp_path / "real" / f"{k}.png"), np.rint(one.pixels * 255).astype(np.uint8))
    return tmp_path


def test_a_row_is_appended_and_the_picture_written(files: Path) -> None:
    row = realism.run(options(files, out=files / "picture.png", shuffle=True))
    realism.append(files / "new" / "table.csv", row)
    with (files / "new" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and rows[0] == rows[1] and list(rows[0]) == list(row)
    assert rows[0]["experiment"] == "gold_aunp" and rows[0]["commit"] and int(rows[0]["real_images"]) == 6
    assert float(rows[0]["auc"]) > 0.9 and float(rows[0]["spectrum_distance"]) > float(rows[0]["spectrum_real_halves"])
    assert cv2.imread(str(files / "picture.png")) is not None
    key = (files / "picture.key.txt").read_text()
    assert key.count("real") == 6 and key.count("synthetic") == 6


def test_what_cannot_be_compared_is_said(files: Path) -> None:
    with pytest.raises(UserError, match=r"no real micrographs are known for my_rods \(gold_aunp, .*give --real"):
        realism.run(options(files, experiment="my_rods", real=None))
    with pytest.raises(UserError, match=r"no micrograph at .*none\*.png"):
        realism.run(options(files, real=str(files / "none*.png")))
    (files / "other.csv").write_text("a,b\n")
    with pytest.raises(UserError, match=r"other.csv has other columns than date,commit"):
        realism.append(files / "other.csv", {"date": 1, "commit": 2})
    with pytest.raises(UserError, match=r"--out .*picture.docx: give the name of a .png or .jpg file"):
        realism.run(options(files, out=files / "picture.docx", no_table=True))


def test_help_names_the_recipes() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "realism.py"), "--help"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert all(name in said for name in realism.REAL) and "--shuffle" in said
