"""Taking real images apart: ground.py, sifting.py, cutting.py, pool.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances
from tem_seg.data.images import write_png
from tem_seg.data.readers.emps import instances_of
from tem_seg.data.readers.mask_pairs import MaskPairs
from tem_seg.generation.real import cutting, ground, pool
from tem_seg.generation.real.images import RealImages
from tem_seg.generation.real.pool import Pool, background_of, take_apart
from tem_seg.generation.real.sifting import Sifting, sift

Field = NDArray[np.float32]
ALL = Sifting(minimum_size=0.0, minimum_solidity=0.0)


def disc_labels(shape: tuple[int, int], *discs: tuple[float, float, float]) -> NDArray[np.int32]:
    """(x, y, radius) px of each."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    labels = np.zeros(shape, np.int32)
    for number, (cx, cy, radius) in enumerate(discs, start=1):
        labels[np.hypot(x - cx, y - cy) < radius] = number
    return labels


def noise(shape: tuple[int, int], spread: float, seed: int = 0) -> Field:
    """Blurred, as film grain is."""
    white = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    field = cv2.GaussianBlur(white, (0, 0), 1.0)
    return np.asarray(field * (spread / field.std()), np.float32)


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., RealImages]:
    """images((pixels, labels), …) as a folder of pairs, read back."""

    def make(*pairs: tuple[Field, NDArray[np.int32]]) -> RealImages:
        for k, (pixels, labels) in enumerate(pairs):
            write_png(tmp_path / f"images/{k}.png", np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
            write_png(tmp_path / f"masks/{k}.png", labels.astype(np.uint16))
        return RealImages(MaskPairs(tmp_path / "images", tmp_path / "masks"))

    return make


def picture(labels: NDArray[np.int32], transmission: float = 0.4, level: float = 150.0) -> Field:
    return np.asarray(np.where(labels > 0, transmission * level, level) + noise(labels.shape, 3.0), np.float32)


# ---------------------------------------------------------------------------------------------------- background


def test_slow_level_of_a_ramp_goes_on_below_particles() -> None:
    ramp = np.tile(np.linspace(80, 180, 256, dtype=np.float32), (200, 1))
    taken = disc_labels((200, 256), (100, 100, 30), (200, 40, 15)) > 0
    level = ground.smooth_level(np.where(taken, np.float32(5.0), ramp), taken)
    assert np.abs(level - ramp)[:, 10:-10].max() < 8.0  # of 24 from one side of a hole to the other


def test_no_background_at_all() -> None:
    with pytest.raises(ValueError, match="no pixel of the image is background"):
        ground.smooth_level(np.ones((20, 20), np.float32), np.ones((20, 20), bool))


def test_grain_has_the_spread_and_correlation_of_the_known_part() -> None:
    field = noise((256, 256), 7.0)
    known = disc_labels((256, 256), (128, 128, 70)) == 0
    made = ground.grain_like(np.where(known, field, np.float32(99.0)), known, np.random.default_rng(1))
    assert made.std() == pytest.approx(7.0, rel=0.05) and abs(made.mean()) < 0.5
    for lag in (1, 2, 3):
        wanted, got = (float((f[:, lag:] * f[:, :-lag]).mean() / f.var()) for f in (field, made))
        assert got == pytest.approx(wanted, abs=0.08)
    assert abs(np.corrcoef(made.ravel(), field.ravel())[0, 1]) < 0.05


def test_grain_of_nothing_and_of_large_images() -> None:
    rng = np.random.default_rng(0)
    assert not ground.grain_like(noise((40, 40), 3.0), np.zeros((40, 40), bool), rng).any()
    wide = ground.grain_like(noise((100, 2500), 3.0), np.ones((100, 2500), bool), rng)
    assert wide.shape == (100, 2500) and wide.std() == pytest.approx(3.0, rel=0.1)


def test_particles_vanish_without_a_ghost() -> None:
    labels = disc_labels((256, 256), (70, 80, 30), (180, 170, 40))
    pixels = picture(labels)
    empty = background_of(pixels, instances_of(labels))
    away = cv2.distanceTransform((labels == 0).astype(np.uint8), cv2.DIST_L2, 5)
    where = labels > 0
    assert empty[where].mean() == pytest.approx(150.0, abs=1.0)
    assert empty[where].std() == pytest.approx(3.0, rel=0.15)
    assert empty[(away > 0) & (away < 6)].std() == pytest.approx(3.0, rel=0.2)  # the passage is not smoother
    assert np.array_equal(empty[away > 60], pixels[away > 60])


def test_halos_go_with_their_particles() -> None:
    labels = disc_labels((256, 256), (128, 128, 40))
    away = cv2.distanceTransform((labels == 0).astype(np.uint8), cv2.DIST_L2, 5)
    pixels = picture(labels) + np.where((away > 0) & (away < 9), np.float32(25.0), np.float32(0.0))
    empty = background_of(pixels, instances_of(labels))
    assert empty[(away > 0) & (away < 9)].mean() == pytest.approx(150.0, abs=2.0)


def test_background_of_no_and_of_nothing_but_particles() -> None:
    pixels = noise((30, 30), 2.0)
    assert np.array_equal(background_of(pixels, instances_of(np.zeros((30, 30), np.int32))), pixels)
    with pytest.raises(UserError, match="every pixel of the image belongs to a particle"):
        background_of(pixels, instances_of(np.ones((30, 30), np.int32)))


def test_scale_bars_are_no_grain_and_do_not_raise_the_level() -> None:
    pixels = 100.0 + noise((200, 200), 4.0)
    pixels[170:180, 120:180] = 255.0
    free = np.ones((200, 200), bool)
    written = ground.writing(pixels, free)
    assert written[170:180, 120:180].all() and written.sum() < 16 * 66 + 1
    assert ground.smooth_level(pixels, written)[175, 150] == pytest.approx(100.0, abs=2.0)
    assert not ground.writing(np.full((20, 20), 255.0, np.float32), np.ones((20, 20), bool)).any()
    lines = 100.0 + noise((200, 200), 4.0)
    lines[50:53] = 200.0
    assert not ground.plain(lines - 100.0, free)[48:55].any()


# ---------------------------------------------------------------------------------------------------------- sifting


def reasons(labels: NDArray[np.int32], sifting: Sifting) -> list[str]:
    return [particle.reason for particle in sift(instances_of(labels), sifting)]


def test_what_is_dropped_and_why() -> None:
    labels = disc_labels((100, 160), (30, 30, 20), (80, 30, 20), (3, 70, 12), (130, 30, 8), (40, 75, 18), (54, 75, 18))
    # radii 20, 20, 8, crescent, 18 count for the mean: the third is cut; the fifth is covered by the sixth
    assert reasons(labels, Sifting(0.6, 0.9)) == ["", "", "cut by the border", "minimum_size", "minimum_solidity", ""]
    assert reasons(labels, ALL) == ["", "", "cut by the border", "", "", ""]


@pytest.mark.parametrize("radius", [1.6, 2.5, 4.0, 9.0, 30.0])
def test_small_discs_are_as_solid_as_large_ones(radius: float) -> None:
    assert reasons(disc_labels((80, 80), (40.2, 39.7, radius)), Sifting(0.6, 0.97)) == [""]


def test_sizes_of_a_rectangle_lying_and_standing() -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[10:20, 10:50] = 1
    lying, standing = (sift(instances_of(turned), ALL)[0] for turned in (labels, np.ascontiguousarray(labels.T)))
    for one in (lying, standing):
        assert (one.area, one.min_feret) == (400.0, 10.0) and one.max_feret == pytest.approx(np.hypot(10, 40))
        assert one.diameter == pytest.approx(2 * np.sqrt(400 / np.pi))
    assert lying.angle == pytest.approx(0.0) and abs(standing.angle) == pytest.approx(np.pi / 2)


def test_an_empty_mask_is_left_out() -> None:
    labels = disc_labels((40, 40), (20, 20, 8))
    found = instances_of(labels)
    empty = instances_of(np.eye(40, dtype=np.int32)).segmentations[0] | {"counts": "PX1"}  # 1600 × 0
    both = Instances(found.size, np.zeros(2, np.int64), [empty, *found.segmentations])  # type: ignore[list-item]
    assert len(sift(both, ALL)) == 1


def test_an_empty_pool_says_what_removed_what(images: Callable[..., RealImages]) -> None:
    labels = disc_labels((80, 120), (2, 40, 12), (118, 40, 12), (60, 40, 10), (60, 47, 4))
    source = images((picture(labels), labels))
    with pytest.raises(UserError, match=r"no particle is left of 4 in 1 image\(s\): 2 by cut by the border, 2 by min"):
        Pool(source, Sifting(3.0, 0.9), False)


# ---------------------------------------------------------------------------------------------------------- cutting


def test_signed_distance_of_a_disc() -> None:
    depth = cutting.signed_distance(disc_labels((61, 61), (30.5, 30.5, 20)) > 0)
    y, x = np.mgrid[:61, :61]
    assert np.abs(depth - (20 - np.hypot(x - 30, y - 30))).max() < 0.8


def apart(images: Callable[..., RealImages], pixels: Field, labels: NDArray[np.int32], plain: bool = False) -> Any:
    source = images((pixels, labels))
    return take_apart(source, 0, sift(source.items[0][1], ALL), plain)


def test_a_cut_particle_is_a_ratio_to_its_background(images: Callable[..., RealImages]) -> None:
    labels = disc_labels((160, 160), (60, 80, 24), (112, 80, 24))  # 4 px apart
    found = apart(images, picture(labels), labels)
    assert found.dark and len(found.cuttings) == 2
    for one in found.cuttings:
        light, depth = one.light[0], one.depth[0]
        assert light[depth > 2].mean() == pytest.approx(0.4, abs=0.01)
        assert np.abs(light[depth < -4] - 1.0).max() < 0.05  # nothing of the neighbour, nothing of the grain
        assert one.reach < 24 + 10 + 4


def test_bright_particles_are_a_difference(images: Callable[..., RealImages]) -> None:
    labels = disc_labels((160, 160), (60, 80, 24), (112, 80, 24))
    found = apart(images, picture(labels, transmission=2.0, level=60.0), labels)
    assert not found.dark
    for one in found.cuttings:
        assert one.light[0][one.depth[0] > 2].mean() == pytest.approx(60.0, abs=1.5)
        assert np.abs(one.light[0][one.depth[0] < -4]).max() < 4.0


def test_halvings_keep_mean_and_depth(images: Callable[..., RealImages]) -> None:
    labels = disc_labels((160, 160), (80, 80, 30))
    one = apart(images, picture(labels), labels).cuttings[0]
    for level, (light, depth) in enumerate(zip(one.light, one.depth, strict=True)):
        assert light.mean() == pytest.approx(one.light[0].mean(), rel=1e-4)
        assert (depth > 0).sum() * 4**level == pytest.approx(np.pi * 900, rel=0.05)
    for magnification, step in ((2.0, 1), (0.8, 1), (0.6, 2), (0.3, 4), (0.01, 8)):
        assert one.at(magnification, False)[2] == step


def test_a_new_texture_keeps_shading_and_spread() -> None:
    depth = cutting.signed_distance(disc_labels((120, 120), (60, 60, 45)) > 0)
    shading = (0.5 - 0.2 * np.clip(depth / 45, 0, 1)).astype(np.float32)
    light = np.where(depth > 0, shading + noise((120, 120), 0.04), np.float32(1.0)).astype(np.float32)
    made = cutting.with_new_texture(light, depth, np.random.default_rng(0))
    inner = depth > 4
    assert np.array_equal(made[depth < 1], light[depth < 1])
    assert (made - shading)[inner].std() == pytest.approx(0.04, rel=0.25)
    assert abs((made - light)[inner].mean()) < 0.01
    assert np.corrcoef((made - shading)[inner], (light - shading)[inner])[0, 1] < 0.5


def test_an_image_taken_apart(images: Callable[..., RealImages]) -> None:
    labels = disc_labels((160, 200), (60, 80, 24), (2, 20, 15))
    found = apart(images, picture(labels), labels, plain=True)
    assert [p.cut for p in found.particles] == [False, True] and len(found.depths) == 2
    (inpainted, _), (plain, flat) = found.backgrounds
    assert inpainted[labels > 0].mean() == pytest.approx(150.0, abs=1.5)
    assert np.ptp(flat) == 0 and flat.mean() == pytest.approx(150.0, abs=1.0)
    assert plain.std() == pytest.approx(3.0, rel=0.2)
    assert found.nbytes > 6 * 160 * 200 * 4


def test_a_full_image_gives_no_background(images: Callable[..., RealImages]) -> None:
    labels = np.ones((60, 60), np.int32)
    labels[:, 30:] = 2
    labels[:4] = 0
    found = apart(images, picture(labels), labels)
    assert found.backgrounds == []
    labels[:4] = 3
    with pytest.raises(UserError, match=r"has no background"):
        apart(images, picture(labels), labels)


def test_levels_beyond_8_bit_are_stretched(images: Callable[..., RealImages], tmp_path: Path) -> None:
    labels = disc_labels((100, 100), (50, 50, 20))
    source = images((picture(labels), labels))
    write_png(tmp_path / "images/0.png", (picture(labels) * 200).astype(np.uint16))
    found = take_apart(source, 0, sift(source.items[0][1], ALL), False)
    assert found.pixels.min() >= 0.0 and found.pixels.max() <= 255.0 and found.pixels.std() > 20


def test_the_pool_forgets_what_was_not_used(images: Callable[..., RealImages], monkeypatch: pytest.MonkeyPatch) -> None:
    labels = disc_labels((100, 100), (50, 50, 20))
    source = images(*[(picture(labels, level=100.0 + 20 * k), labels) for k in range(3)])
    found = Pool(source, ALL, False)
    first = found.source(0)
    assert found.source(0) is first and found.fit == [0, 1, 2] == found.open
    monkeypatch.setattr(pool, "CACHE_BYTES", int(2.5 * first.nbytes))
    for index in (1, 0, 2, 0):
        found.source(index)
    assert found.source(0) is first
    assert not np.array_equal(found.source(1).pixels, first.pixels)
    assert np.array_equal(
        Pool(source, ALL, False).source(1).cuttings[0].textured[0], found.source(1).cuttings[0].textured[0]
    )
