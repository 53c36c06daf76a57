"""Provenance: nothing of run.json is lost, long texts are folded away."""

from __future__ import annotations

from tem_seg.reporting.made import backend, made


def test_everything_recorded_is_shown_once() -> None:
    run = {
        "experiment": "x", "command": ["python", "-m", "tem_seg.run", "name=two words"], "new_key": [1, 2],
        "git": {"commit": "abc", "diff": "+ line"}, "config": {"b": 1, "a": {"c": None}},
        "stages": {"train": {"finished": "now", "wall_s": 2.5, "backend": "detectron2"}, "report": {"wall_s": 1.0}},
    }  # fmt: skip
    shown = made(run)
    assert shown.command == "python -m tem_seg.run 'name=two words'"
    assert shown.facts == {"experiment": "x", "new_key": [1, 2], "git": {"commit": "abc", "uncommitted_changes": True}}
    assert shown.texts == {
        "Composed configuration": "b: 1\na:\n  c: null\n",
        "Uncommitted changes (git diff)": "+ line",
    }
    assert shown.stages is not None
    assert shown.stages.columns == ("stage", "wall time (s)", "finished", "notes")
    assert [[c.text for c in row] for row in shown.stages.rows] == [
        ["train", "2.5", "now", "backend detectron2"],
        ["report", "1", "–", ""],
    ]


def test_notes_of_several_values_read_as_words() -> None:
    stages = {
        "generate": {"data_sha256": {"test": "d0a1", "train": "fcd3"}, "red_flags": ["one", "two"], "images": 1200}
    }
    shown = made({"stages": stages}).stages
    assert shown is not None
    assert shown.rows[0][-1].text == "data sha256 test d0a1, train fcd3; red flags one, two; images 1,200"


def test_nothing_recorded() -> None:
    shown = made({})
    assert (shown.command, shown.stages, shown.facts, shown.texts) == ("", None, {}, {})
    assert backend({}) is None


def test_a_clean_checkout_and_one_without_git() -> None:
    assert made({"git": {"commit": "abc", "diff": ""}}).facts["git"] == {"commit": "abc", "uncommitted_changes": False}
    assert made({"git": {"commit": "abc"}}).facts["git"] == {"commit": "abc"}
    assert made({"git": None}).facts == {}


def test_a_huge_diff_is_cut_and_says_so() -> None:
    (text,) = made({"git": {"diff": "x" * 300_000}}).texts.values()
    assert len(text) < 201_000
    assert text.endswith("… 100,000 more characters in run.json")


def test_the_back_end_that_predicted_comes_first() -> None:
    stages = {"train": {"backend": "detectron2"}, "predict": {"backend": "torchvision"}}
    assert backend({"stages": stages}) == "torchvision"
    assert backend({"stages": {"train": {"backend": "detectron2"}, "predict": {}}}) == "detectron2"
    assert backend({"backend": "named", "stages": stages}) == "named"
