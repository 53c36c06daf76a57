from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.data.store import canonical
from tem_seg.generation.contrast.video import FrameScene
from tem_seg.generation.dataset import build_dataset
from tem_seg.generation.recipe import SequenceRecipe
from tem_seg.generation.recipes.insitu_video import InsituVideo
from tem_seg.generation.render import check_pair, image_at
from tem_seg.generation.scenes.shapes import area

CONF = Path(__file__).resolve().parents[3] / "conf"

Make = Callable[..., InsituVideo]
SIZE = (192, 256)
CALM: dict[str, float] = dict.fromkeys(("growth", "dissolution", "ripening", "nucleation", "coalescence"), 0.0)
LIVELY: dict[str, Any] = {
    "particles": [30, 40], "diameter_px": [14, 18], "processes": CALM | {"growth": 0.4, "dissolution": 0.4}
    | {"ripening": 0.5, "nucleation": 1.0, "coalescence": 1.0}, "touching": [0.4, 0.6], "passing": 0.1,
    "contact_s": [0.1, 1.0], "empty_fraction": 0.0, "growth_nm_s": [0.5, 5.0], "dissolution_nm_s": [1.0, 5.0],
    "shapes_per_sequence": [1, 5],
}  # fmt: skip


def build(group: str, name: str, **changes: Any) -> Any:
    return instantiate(OmegaConf.merge(OmegaConf.load(CONF / group / f"{name}.yaml"), changes))


@pytest.fixture(scope="module")
def video() -> Make:
    """video(key=value, …): the shipped recipe with changes."""
    return lambda **changes: build("recipe", "insitu_video", **changes)


def sequence(recipe: InsituVideo, number: int, size: tuple[int, int] = SIZE) -> list[FrameScene]:
    return [recipe.draw_frame(child_rng(0, "test", number), size, k) for k in range(recipe.frames)]


def by_track(scenes: list[FrameScene]) -> dict[int, dict[int, Any]]:
    tracks: dict[int, dict[int, Any]] = defaultdict(dict)
    for frame, scene in enumerate(scenes):
        for particle in scene.particles:
            assert frame not in tracks[particle.notes["track_id"]], "a number twice in a frame"
            tracks[particle.notes["track_id"]][frame] = particle
    return tracks


def test_is_a_sequence_recipe_and_goes_with_its_imaging(video: Make) -> None:
    recipe = video()
    assert isinstance(recipe, SequenceRecipe) and recipe.frames == 16
    check_pair(recipe, build("imaging", "insitu"), (512, 512))
    assert recipe.categories == ("particle",)
    assert json.loads(canonical(recipe.identity()))["frames"] == 16
    recipe.draw(child_rng(0, "a", 0), SIZE)
    assert recipe.identity() == video().identity() != video(frames=8).identity(), "what is kept is no parameter"


def test_a_frame_alone_is_the_frame_of_the_sequence(video: Make) -> None:
    in_order = sequence(video(**LIVELY), 3)
    for frame in (11, 0, 15):
        alone = video(**LIVELY).draw_frame(child_rng(0, "test", 3), SIZE, frame)
        assert len(alone.particles) == len(in_order[frame].particles) > 10
        assert alone.time_s == in_order[frame].time_s and alone.drift_nm == in_order[frame].drift_nm
        for one, other in zip(alone.particles, in_order[frame].particles, strict=True):
            np.testing.assert_array_equal(one.outline_nm, other.outline_nm)
            assert one.notes == other.notes and one.contrast == other.contrast


def test_draw_is_the_first_frame_and_goes_on_alike_whether_kept_or_not(video: Make) -> None:
    recipe, states = video(), []
    for _ in range(2):
        rng = child_rng(0, "test", 5)
        first = recipe.draw(rng, SIZE)
        states.append(rng.random())
    assert states[0] == states[1]
    again = recipe.draw_frame(child_rng(0, "test", 5), SIZE, 0)
    assert again is first, "simulated once"
    for number in range(20):
        recipe.draw(child_rng(1, "test", number), SIZE)
    assert len(recipe._kept) <= 4


def test_tracks_are_unique_continuous_and_never_come_back(video: Make) -> None:
    recipe, seen = video(**LIVELY), set()
    for number in range(8):
        scenes = sequence(recipe, number)
        tracks = by_track(scenes)
        assert sorted(tracks) == list(range(1, len(tracks) + 1))
        for frames in tracks.values():
            assert sorted(frames) == list(range(min(frames), max(frames) + 1)), "no gaps"
            notes = [{k: frames[f].notes[k] for k in ("parent_ids", "track_born", "track_ended")} for f in frames]
            assert all(n == notes[0] for n in notes)
            check_events(notes[0], frames, tracks, recipe.frames)
            seen |= {notes[0]["track_born"], notes[0]["track_ended"]}
    assert seen == {"initial", "entered", "nucleated", "merged", "left", "dissolved", "sequence_end"}


def check_events(notes: dict[str, Any], frames: dict[int, Any], tracks: dict[int, Any], count: int) -> None:
    first, last = min(frames), max(frames)
    assert (notes["track_born"] == "initial") == (first == 0)
    assert (notes["track_ended"] == "sequence_end") == (last == count - 1)
    assert (notes["track_born"] == "merged") == bool(notes["parent_ids"])
    for parent in notes["parent_ids"]:
        assert max(tracks[parent]) == first - 1, "parents end where the child begins"
        assert next(iter(tracks[parent].values())).notes["track_ended"] == "merged"


def test_merged_tracks_hold_the_volume_of_their_parents(video: Make) -> None:
    calm = LIVELY | {"processes": CALM | {"coalescence": 1.0}, "frames": 10, "contact_s": [0.1, 0.3], "max_drift": 0.01}
    recipe, checked = video(**calm), 0
    for number in range(6):
        tracks = by_track(sequence(recipe, number))
        for frames in tracks.values():
            child = frames[min(frames)]
            parents = [next(iter(tracks[p].values())) for p in child.notes["parent_ids"]]
            if len(parents) < 2:
                continue  # one was out of sight
            checked += 1
            total = sum(parent.notes["true_volume_nm3"] for parent in parents)
            assert child.notes["true_volume_nm3"] == pytest.approx(total, rel=1e-4)
    assert checked > 10


def test_relaxed_sphere_has_the_diameter_of_its_volume(video: Make) -> None:
    quick = LIVELY | {"processes": CALM | {"coalescence": 1.0}, "relaxation_s": [1e-3, 1e-3]}
    found = [p for s in sequence(video(**quick), 1) for p in s.particles if p.notes["parent_ids"]]
    round_ones = [p for p in found if p.shape == "sphere"]
    assert len(round_ones) > 5
    for particle in round_ones:
        diameter = np.cbrt(particle.notes["true_volume_nm3"] * 6 / np.pi)
        assert 2 * np.sqrt(area(particle.outline_nm) / np.pi) == pytest.approx(diameter, rel=0.03)


def test_drift_moves_all_alike(video: Make) -> None:
    still = video(
        processes=CALM, diffusivity_nm2_s=[1e-9, 1e-9], touching=[0, 0], drift_nm_s=[3, 3], empty_fraction=0, passing=1
    )
    scenes = sequence(still, 2)
    assert np.hypot(*scenes[-1].drift_nm) > 0
    for frames in by_track(scenes).values():
        first = min(frames)
        for frame, particle in frames.items():
            moved = np.subtract(particle.notes["true_centroid_nm"], frames[first].notes["true_centroid_nm"])
            drift = np.subtract(scenes[frame].drift_nm, scenes[first].drift_nm)
            np.testing.assert_allclose(moved, drift, atol=2e-3)


def test_sizes_follow_growth_and_frames_follow_the_clock(video: Make) -> None:
    growing = video(processes=CALM | {"growth": 1.0}, particles=[10, 10], empty_fraction=0, irregularity=[0, 0])
    scenes = sequence(growing, 0)
    times = np.array([s.time_s for s in scenes])
    np.testing.assert_allclose(np.diff(times), times[1])
    rates = []
    for frames in by_track(scenes).values():
        d = [2 * np.sqrt(area(frames[f].outline_nm) / np.pi) for f in sorted(frames)]
        if len(d) > 4:
            np.testing.assert_allclose(np.diff(d), np.diff(d)[0], rtol=1e-6)
            rates.append(np.diff(d)[0] / times[1])
    assert np.ptp(rates) < 1e-6 * rates[0] and 0 < rates[0] <= 5.0


def test_annotations_carry_tracks_without_gaps_through_the_whole_chain(video: Make) -> None:
    recipe, imaging = (
        video(**LIVELY | {"frames": 6}),
        build("imaging", "insitu", steps={"scale_bar": None, "info_bar": None}),
    )
    drawn = [image_at(recipe, imaging, (160, 160), 4, "train", 6 + k) for k in range(6)]
    assert {d.keys["group_id"] for d in drawn} == {"synthetic-4-train-sequence-1"}
    assert [d.keys["frame"] for d in drawn] == list(range(6)) and {d.keys["sequence_id"] for d in drawn} == {2}
    frames: dict[int, list[int]] = defaultdict(list)
    for number, one in enumerate(drawn):
        scene = recipe.draw_frame(child_rng(4, "train", "sequence", 1), (160, 160), number)
        assert len(scene.particles) == len(one.instances), "what is a track is annotated"
        for truth in one.instances.truths:
            frames[truth["track_id"]].append(number)
            assert {"parent_ids", "track_born", "track_ended", "true_centroid_nm", "true_volume_nm3"} <= set(truth)
    assert all(found == list(range(found[0], found[-1] + 1)) for found in frames.values())


def test_the_same_bytes_with_one_worker_and_two(video: Make, tmp_path: Any) -> None:
    recipe, imaging = video(frames=3, particles=[3, 5]), build("imaging", "insitu")
    for name, workers in (("one", 1), ("two", 2)):
        build_dataset(tmp_path / name, recipe, imaging, {"train": 8}, (64, 64), 1, workers, progress=False)
    one, two = (sorted((tmp_path / n).rglob("*.*")) for n in ("one", "two"))
    assert len(one) == 9 and [p.read_bytes() for p in one] == [p.read_bytes() for p in two]


def test_lengths_scale_together(video: Make) -> None:
    """All nm × 10 (areas a time × 100, rates × 10): the same sequence, 10 times as large."""
    names = {"diameter_nm": 10, "pixel_size_nm": 10, "diffusivity_nm2_s": 100, "drift_nm_s": 10, "wander_nm2_s": 100}
    names |= {"growth_nm_s": 10, "dissolution_nm_s": 10, "ripening_nm_s": 10}
    plain = video(**LIVELY)
    scaled = video(**LIVELY | {n: [f * v for v in getattr(plain, n)] for n, f in names.items()})
    first, second = (r.draw_frame(child_rng(0, "scale", 1), SIZE, 4) for r in (plain, scaled))
    assert len(first.particles) == len(second.particles) > 5
    for p, q in zip(first.particles, second.particles, strict=True):
        np.testing.assert_allclose(q.outline_nm, 10 * p.outline_nm, rtol=1e-6, atol=1e-6)


def test_empty_sequences_and_a_single_frame(video: Make) -> None:
    scenes = sequence(video(empty_fraction=1.0), 0)
    assert [len(s.particles) for s in scenes] == [0] * 16 and scenes[3].time_s == pytest.approx(3 * scenes[1].time_s)
    assert len(sequence(video(frames=1), 0)) == 1
    with pytest.raises(ValueError, match="frame must lie between 0 and 15, got 16"):
        video().draw_frame(child_rng(0, "a", 0), SIZE, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diameter_nm": [80, 8]}, "InsituVideo.diameter_nm: min 80 is greater than max 8"),
        ({"frames": 0}, "InsituVideo.frames must lie between 1 and"),
        ({"diffusivity_nm2_s": [-1, 5]}, "InsituVideo.diffusivity_nm2_s must lie between"),
        ({"passing": 1.5}, "InsituVideo.passing must lie between 0 and 1"),
        ({"min_diameter_px": 20}, "InsituVideo.min_diameter_px 20 cuts off most particles"),
        ({"min_visible_px": 30}, r"tracks would have gaps: at least 7\.0 px"),
        ({"processes": {"melting": 0.5}}, "InsituVideo.processes must have the keys growth, dissolution"),
        ({"processes": {"growth": 0.9, "dissolution": 0.2}}, "their sum must not exceed 1"),
        ({"processes": {"growth": -1}}, "InsituVideo.processes.growth must lie between 0 and 1"),
        ({"shapes": {"blob": {"weight": 1, "category": "a"}}}, "InsituVideo.shapes: no shape 'blob'; there are sphere"),
        ({"shapes": {"rod": {"wieght": 1}}}, "InsituVideo.shapes.rod must have the keys weight and category"),
        ({"shapes": {"rod": {"weight": -1}}}, "InsituVideo.shapes.rod.weight must be a number of at least 0"),
        (
            {"shapes": dict.fromkeys(("sphere", "octahedron", "cube", "decahedron", "rod"))},
            "at least one shape needs a weight above 0",
        ),
    ],
)
def test_bad_parameters_are_named(video: Make, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        video(**changes)
    assert isinstance(caught.value.__cause__ or caught.value, UserError)


def test_what_does_not_fit_is_refused_before_any_work(video: Make) -> None:
    with pytest.raises(UserError, match=r"InsituVideo.particles: 5000 particles .* do not fit in 512 × 512 px .* do:"):
        video(particles=[5000, 6000]).check_fits((512, 512))
    with pytest.raises(UserError, match="InsituVideo.pixel_size_nm .* at no diameter within diameter_px"):
        video(pixel_size_nm=[4, 5]).check_fits((512, 512))
