"""A classifier's figures against closed forms, scipy and torchmetrics; empty, absent and lonely classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from evaluation_scenes import dataset_of
from scipy.stats import binomtest
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score, multiclass_precision

from tem_seg.core.errors import UserError
from tem_seg.data.coco import CocoDataset
from tem_seg.evaluation import classification as c

IDS = (7, 3, 5)


def scene(truth: list[int]) -> CocoDataset:
    """An image a label, from id 1, with two particles of it and one of the next class."""
    spec = {k + 1: [(20, 20, 5, t), (60, 20, 5, t), (90, 60, 5, (t + 1) % 3)] for k, t in enumerate(truth)}
    return dataset_of(spec, category_ids=IDS)


def rows_of(image: int, probabilities: list[float], **more: Any) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": category, "bbox": [0, 0, 160, 120], "score": p, **more}
        for category, p in zip(IDS, probabilities, strict=True)
    ]


def said(labels: list[int]) -> list[dict[str, Any]]:
    return [row for k, label in enumerate(labels) for row in rows_of(k + 1, (0.2 + 0.4 * np.eye(3)[label]).tolist())]


def test_figures_counted_by_hand() -> None:
    truth, answers = [0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 2, 2, 2]
    found = c.classification_metrics(scene(truth), said(answers))
    assert found["confusion"] == {
        "classes": ["rod", "cube", "sphere"], "counts": [[3, 1, 0], [0, 1, 1], [0, 0, 2]],
        "normalised": [[0.75, 0.25, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]],
    }  # fmt: skip
    assert found["accuracy"] == 6 / 8 and found["balanced_accuracy"] == pytest.approx((0.75 + 0.5 + 1.0) / 3)
    assert found["per_class"]["rod"] == {"n": 4, "n_predicted": 3, "precision": 1.0, "recall": 0.75, "f1": 6 / 7}
    assert found["majority"] == {"class": "rod", "accuracy": 0.5, "balanced_accuracy": pytest.approx(1 / 3)}
    assert (found["n"], found["n_images"], found["n_without_class"], found["level"]) == (8, 8, 0, "image")
    assert found["log_loss"] == pytest.approx(-(6 * np.log(0.6) + 2 * np.log(0.2)) / 8)
    assert found["red_flags"] == []


def test_figures_are_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    truth, answers = rng.integers(0, 3, 60).tolist(), rng.integers(0, 3, 60).tolist()
    found = c.classification_metrics(scene(truth), said(answers))
    both = torch.tensor(answers), torch.tensor(truth)
    assert found["balanced_accuracy"] == pytest.approx(
        multiclass_accuracy(*both, num_classes=3, average="macro").item()
    )
    assert found["accuracy"] == pytest.approx(multiclass_accuracy(*both, num_classes=3, average="micro").item())
    for key, oracle in (("f1", multiclass_f1_score), ("precision", multiclass_precision)):
        ours = [each[key] for each in found["per_class"].values()]
        np.testing.assert_allclose(ours, oracle(*both, num_classes=3, average="none").numpy(), rtol=1e-5)


def test_the_order_of_images_and_rows_does_not_matter() -> None:
    rng, truth = np.random.default_rng(1), [0, 1, 2, 0, 1]
    rows = said([0, 2, 2, 1, 1])
    shuffled = [rows[k] for k in rng.permutation(len(rows))]
    assert c.classification_metrics(scene(truth), rows) == c.classification_metrics(scene(truth), shuffled)


@pytest.mark.parametrize(("right", "n"), [(0, 7), (7, 7), (3, 7), (54, 62), (1, 1)])
def test_the_interval_of_a_share_is_scipys(right: int, n: int) -> None:
    oracle = binomtest(right, n).proportion_ci(method="wilson")
    assert c.wilson(right, n) == pytest.approx((oracle.low, oracle.high))


def test_the_interval_of_balanced_accuracy_covers_as_often_as_it_says() -> None:
    """1,500 experiments with the sizes of EMPS's test classes: 62 spheres, 7 cubes, 14 rods."""
    rng, n, p = np.random.default_rng(0), np.array([62, 7, 14]), np.array([0.9, 0.6, 0.7])
    draws = rng.binomial(n, p, size=(1500, 3))
    inside = [low <= p.mean() <= high for low, high in (c.balanced_interval(right, n) for right in draws)]
    assert 0.93 <= np.mean(inside) <= 0.98


def test_with_one_class_the_balanced_interval_is_wilsons() -> None:
    assert c.balanced_interval(np.array([3]), np.array([7])) == pytest.approx(c.wilson(3, 7))


def test_a_class_without_a_sample_is_left_out_and_said() -> None:
    found = c.classification_metrics(scene([0, 0, 1]), said([0, 2, 1]))
    assert found["balanced_accuracy"] == pytest.approx(0.75) and found["per_class"]["sphere"]["recall"] is None
    assert found["confusion"]["normalised"][2] == [None, None, None] and found["per_class"]["sphere"]["precision"] == 0
    assert found["red_flags"] == ["no sample of sphere: balanced accuracy is the mean over the other classes"]


def test_one_class_and_one_answer_are_said() -> None:
    flags = c.classification_metrics(scene([1, 1]), said([1, 1]))["red_flags"]
    assert any("all samples are of one class" in flag for flag in flags)
    assert "the classifier says cube of everything" in flags


def test_nothing_at_all_is_a_case() -> None:
    dataset = dataset_of({1: []}, category_ids=IDS)
    found = c.classification_metrics(dataset, said([0]))
    assert found["n"] == 0 and found["n_without_class"] == 1
    assert found["balanced_accuracy"] is found["accuracy"] is found["log_loss"] is None
    assert found["interval_note"] == "there is nothing to score"
    assert found["red_flags"] == ["no micrograph has a class: nothing was scored"]


def test_particles_are_scored_one_by_one_and_have_no_interval() -> None:
    dataset = scene([0])
    rows = [row for entry, label in zip(dataset.annotations[1], (0, 0, 2), strict=True)
            for row in rows_of(1, np.eye(3)[label].tolist(), annotation_id=entry["id"])]  # fmt: skip
    found = c.classification_metrics(dataset, rows)
    assert (found["level"], found["n"], found["n_images"]) == ("particle", 3, 1)
    assert found["accuracy"] == pytest.approx(2 / 3) and found["accuracy_interval"] is None
    assert "particles of one micrograph are alike" in found["interval_note"]


def test_a_micrograph_is_what_most_of_its_particles_are_called() -> None:
    """Two of the first one's three are called wrongly, all of the second's rightly, and the third's nothing."""
    dataset = scene([0, 1, 2])
    answers = {1: (1, 0, 1), 2: (1, 1, 2)}
    rows = [row for image, labels in answers.items()
            for entry, label in zip(dataset.annotations[image], labels, strict=True)
            for row in rows_of(image, np.eye(3)[label].tolist(), annotation_id=entry["id"])]  # fmt: skip
    found = c.classification_metrics(dataset, rows)
    whole = found["micrographs"]
    assert found["n"] == 6 and (whole["level"], whole["n"], whole["n_nothing_found"]) == ("image", 3, 1)
    assert whole["confusion"]["counts"] == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert whole["accuracy"] == whole["balanced_accuracy"] == pytest.approx(1 / 3)
    assert whole["accuracy_interval"] == pytest.approx(c.wilson(1, 3)), "micrographs are independent"
    assert "micrographs" not in c.classification_metrics(scene([0]), said([0])), "the same again"


def test_a_crowd_is_no_particle() -> None:
    dataset = scene([0])
    for entry in dataset.annotations[1][:2]:
        entry["iscrowd"] = 1
    assert c.class_of_image(dataset.annotations[1]) == 1


def test_of_equals_the_first_label_wins() -> None:
    assert c.class_of_image([{"label": 2}, {"label": 1}]) == 1 and c.class_of_image([]) is None


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (rows_of(9, [0.2, 0.3, 0.5]), "predictions name image 9"),
        (rows_of(1, [0.2, 0.3, 0.5], annotation_id=99), "image 1, annotation 99"),
        (rows_of(1, [0.2, 0.3, 0.5])[:2], "image 1 has no probability for category 5"),
    ],
)
def test_predictions_of_something_else_are_refused(rows: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(UserError, match=told):
        c.classification_metrics(scene([0]), rows)


def test_training_needs_a_sample_of_every_class() -> None:
    c.check_every_class(scene([0, 1, 2]), "image")
    with pytest.raises(UserError, match=r"no micrograph of class sphere .*dataset.classes"):
        c.check_every_class(scene([0, 1]), "image")
    c.check_every_class(scene([0, 1]), "particle")  # each micrograph has one of the next class
    with pytest.raises(UserError, match="no particle of class sphere"):
        c.check_every_class(scene([0]), "particle")


def named(image: int, shape: str, score: float = 0.9) -> dict[str, Any]:
    return {"image_id": image, "category_id": 7, "bbox": [0, 0, 9, 9], "score": score, "shape_predicted": shape}


def test_shapes_of_what_was_found_are_voted_on() -> None:
    """Images 1 and 2 are of rods, 3 of cubes, 4 of spheres; in 4 nothing counts."""
    truth = scene([0, 0, 1, 2])
    results = [
        named(1, "rod"), named(1, "rod"), named(1, "cube"),
        named(2, "rod", 0.4), named(2, "rod", 0.4), named(2, "sphere"),
        named(3, "sphere"), named(3, "cube"), named(4, "sphere", 0.4),
    ]  # fmt: skip
    found = c.named_metrics(truth, results, 0.5)
    assert found is not None
    assert found["confusion"]["counts"] == [[1, 0, 1], [0, 1, 0], [0, 0, 0]], "of a tie in image 3 the first, a cube"
    assert (found["n"], found["n_nothing_found"], found["n_without_class"]) == (4, 1, 0)
    assert found["accuracy"] == 2 / 4 and found["balanced_accuracy"] == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert found["per_class"]["sphere"] == {"n": 1, "n_predicted": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert found["accuracy_interval"] == list(c.wilson(2, 4))
    with_all = c.named_metrics(truth, results, 0.0)
    assert with_all is not None and with_all["accuracy"] == 1.0 and with_all["n_nothing_found"] == 0


@pytest.mark.parametrize("shape", [None, "prism"])
def test_without_shapes_or_with_others_nothing_is_scored(shape: str | None) -> None:
    row = {key: value for key, value in named(1, shape or "").items() if shape or key != "shape_predicted"}
    assert c.named_metrics(scene([0]), [row], 0.5) is None


def test_shapes_of_micrographs_in_which_nothing_was_found() -> None:
    """All found particles lie below the score: every micrograph is wrong, none is in the matrix."""
    found = c.named_metrics(scene([0, 1]), [named(1, "rod", 0.1)], 0.5)
    assert found is not None and found["accuracy"] == 0 and found["n_nothing_found"] == 2
    assert found["confusion"]["normalised"] == [[None] * 3] * 3
