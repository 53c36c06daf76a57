"""How often a classifier is right: accuracy, balanced accuracy with its interval, confusion, precision and recall.

Of a micrograph the true class is the one that most of its annotated particles have, the first of equals.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from tem_seg.core.errors import UserError
from tem_seg.data.coco import CocoDataset
from tem_seg.data.results import CLASSIFICATION, NAMED_SHAPE

LEVEL = 0.95
Labels = NDArray[np.int64]


def classification_metrics(dataset: CocoDataset, results: list[dict[str, Any]]) -> dict[str, Any]:
    """metrics.json of a classifier (docs/results-format.md), from the rows of ``inference.classify``. Where they are of
    particles, ``micrographs`` has how often the class that most of a micrograph's were given is the true one.

    Raises UserError where rows name what the dataset does not hold, or lack a class.
    """
    truth, said, images = _pairs(dataset, results)
    counts = confusion(truth, said.argmax(axis=1), len(dataset.categories))
    of_particles = any("annotation_id" in row for row in results)
    return {
        "task": CLASSIFICATION,
        "level": "particle" if of_particles else "image",
        "n": len(truth),
        "n_images": len(set(images)),
        "n_without_class": len(dataset) - len({i for i, found in dataset.annotations.items() if _particles(found)}),
        "log_loss": log_loss(truth, said),
        **_figures(counts, counts.sum(axis=1), dataset.categories, independent=not of_particles),
        **({"micrographs": _by_most(dataset, _given(images, said.argmax(axis=1)))} if of_particles else {}),
    }  # fmt: skip


def named_metrics(dataset: CocoDataset, results: list[dict[str, Any]], min_score: float) -> dict[str, Any] | None:
    """``shapes`` of metrics.json: how often the class that most particles found in a micrograph were given
    (``inference.classify.with_shapes``), the first of equals, is the one that most of its annotated particles have.

    Results below min_score do not count. A micrograph in which nothing is found is not known, so wrong: it is in n, not
    in the confusion matrix. None where results carry no classes, or others than the dataset's.
    """
    names = {row[NAMED_SHAPE] for row in results if NAMED_SHAPE in row}
    if not names or not names <= set(dataset.categories):
        return None
    counting = [row for row in results if row["score"] >= min_score]
    labels = [dataset.categories.index(row[NAMED_SHAPE]) for row in counting]
    return _by_most(dataset, _given([row["image_id"] for row in counting], labels))


def _given(images: Iterable[int], labels: Iterable[int]) -> dict[int, Counter[int]]:
    """How many particles of each micrograph were given each label."""
    found: dict[int, Counter[int]] = defaultdict(Counter)
    for image, label in zip(images, labels, strict=True):
        found[image][int(label)] += 1
    return found


def _by_most(dataset: CocoDataset, found: dict[int, Counter[int]]) -> dict[str, Any]:
    """The class that most particles of a micrograph were given, the first of equals, against its true one."""
    known = {i: label for i, some in dataset.annotations.items() if (label := class_of_image(some)) is not None}
    there = [image for image in known if image in found]
    said = np.array([_commonest(found[image]) for image in there], np.int64)
    counts = confusion(np.array([known[image] for image in there], np.int64), said, len(dataset.categories))
    n = np.bincount(np.array(list(known.values()), np.int64), minlength=len(dataset.categories))
    return {"level": "image", "n": len(known), "n_without_class": len(dataset) - len(known),
            "n_nothing_found": len(known) - len(there),
            **_figures(counts, n, dataset.categories, independent=True)}  # fmt: skip


def _figures(counts: Labels, n: Labels, categories: Sequence[str], *, independent: bool) -> dict[str, Any]:
    """counts (C, C): true and predicted classes; n (C,): samples of each class, more where some got no class."""
    return {
        **_scores(counts, n, independent=independent),
        "majority": _majority(n, categories),
        "per_class": {name: _of_class(counts, n, label) for label, name in enumerate(categories)},
        "confusion": {"classes": categories, "counts": counts.tolist(), "normalised": _normalised(counts)},
        "red_flags": red_flags(counts, n, categories),
    }  # fmt: skip


def _majority(n: Labels, categories: Sequence[str]) -> dict[str, Any]:
    """What always saying the commonest class would reach."""
    return {
        "class": categories[int(n.argmax())], "accuracy": _share(n.max(), n.sum()),
        "balanced_accuracy": _share(1, (n > 0).sum()),
    }  # fmt: skip


def check_every_class(dataset: CocoDataset, level: str) -> None:
    """Raises UserError where a class has no sample to learn from. level: "image" or "particle"."""
    there: set[int | None] = {class_of_image(found) for found in dataset.annotations.values()}
    if level == "particle":
        there = {entry["label"] for found in dataset.annotations.values() for entry in _particles(found)}
    if missing := [name for label, name in enumerate(dataset.categories) if label not in there]:
        thing = "particle" if level == "particle" else "micrograph"
        raise UserError(
            f"no {thing} of class {', '.join(missing)} in {dataset.path}: a classifier cannot learn it. Add some, or "
            "choose among the others with dataset.classes=[…]"
        )


def confusion(truth: Labels, said: Labels, classes: int) -> Labels:
    """True and predicted labels (N,) → counts (C, C), a row for each true class."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (truth, said), 1)
    return counts


def wilson(right: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a share, ``right`` of ``n`` (Wilson 1927, J. Am. Stat. Assoc. 22, 209)."""
    z = float(norm.ppf((1 + level) / 2))
    p, middle = right / n, (right / n + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return max(0.0, middle - half), min(1.0, middle + half)


def balanced_interval(right: NDArray[Any], n: NDArray[Any], level: float = LEVEL) -> tuple[float, float]:
    """Interval of the mean of shares ``right`` (C,) of ``n`` (C,): the square-and-add method (MOVER, Zou & Donner 2008,
    Stat. Med. 27, 1693) on the Wilson interval of each."""
    p = right / n
    low, high = np.array([wilson(r, m, level) for r, m in zip(right, n, strict=True)]).T
    below, above = (float(np.sqrt(np.square(p - end).sum())) / len(p) for end in (low, high))
    return float(p.mean()) - below, float(p.mean()) + above


def log_loss(truth: Labels, said: NDArray[np.float64]) -> float | None:
    """Mean of −ln of the probability (N, C) given to the true class (N,), in nats; probabilities below 1e-6 count as
    that. None without samples."""
    if not len(truth):
        return None
    return float(-np.log(np.clip(said[np.arange(len(truth)), truth], 1e-6, 1)).mean())


def red_flags(counts: Labels, n: Labels, categories: Sequence[str]) -> list[str]:
    """What makes the figures doubtful."""
    said = counts.sum(axis=0)
    flags = []
    if not n.sum():
        return ["no micrograph has a class: nothing was scored"]
    if absent := [name for name, count in zip(categories, n, strict=True) if not count]:
        flags.append(f"no sample of {', '.join(absent)}: balanced accuracy is the mean over the other classes")
    if (n > 0).sum() == 1:
        flags.append("all samples are of one class: whoever always says that class is always right")
    if (said > 0).sum() == 1 and len(categories) > 1:
        flags.append(f"the classifier says {categories[int(said.argmax())]} of everything")
    return flags


def _scores(counts: Labels, n: Labels, *, independent: bool) -> dict[str, Any]:
    """Accuracies, and their intervals where samples are independent: particles of one micrograph are alike."""
    right = counts.diagonal()
    there = n > 0
    found: dict[str, Any] = {
        "accuracy": _share(right.sum(), n.sum()),
        "balanced_accuracy": float((right[there] / n[there]).mean()) if there.any() else None,
        "accuracy_interval": None, "balanced_accuracy_interval": None, "interval_level": LEVEL,
        "interval_note": None,
    }  # fmt: skip
    if not there.any():
        return found | {"interval_note": "there is nothing to score"}
    if not independent:
        note = "no intervals: particles of one micrograph are alike, so they are not so many independent samples"
        return found | {"interval_note": note}
    return found | {
        "accuracy_interval": list(wilson(float(right.sum()), float(n.sum()))),
        "balanced_accuracy_interval": list(balanced_interval(right[there], n[there])),
    }


def _of_class(counts: Labels, n: Labels, label: int) -> dict[str, Any]:
    tp, said = counts[label, label], counts[:, label].sum()
    return {"n": int(n[label]), "n_predicted": int(said), "precision": _share(tp, said), "recall": _share(tp, n[label]),
            "f1": _share(2 * tp, n[label] + said)}  # fmt: skip


def _normalised(counts: Labels) -> list[list[float | None]]:
    """Rows as shares; null where a class has no sample."""
    return [[_share(value, row.sum()) for value in row] for row in counts]


def _share(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None


def _particles(annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in annotations if not entry.get("iscrowd")]


def class_of_image(annotations: list[dict[str, Any]]) -> int | None:
    """The label that most particles of a micrograph have, the first of equals; None without particles."""
    counted = Counter(entry["label"] for entry in _particles(annotations))
    return _commonest(counted) if counted else None


def _commonest(counted: Counter[int]) -> int:
    """The first of equals."""
    return min(counted, key=lambda label: (-counted[label], label))


def _pairs(dataset: CocoDataset, results: list[dict[str, Any]]) -> tuple[Labels, NDArray[np.float64], list[int]]:
    """True labels (N,), probabilities (N, C) and image ids of all things that have a class."""
    scores: dict[tuple[int, int | None], dict[int, float]] = defaultdict(dict)
    for row in results:
        scores[row["image_id"], row.get("annotation_id")][row["category_id"]] = row["score"]
    truth_of = _truth(dataset)
    truth, said, images = [], [], []
    for (image, annotation), found in scores.items():
        if (image, annotation) not in truth_of:
            if annotation is None and image in dataset.annotations:
                continue  # a micrograph without particles has no class
            raise UserError(f"predictions name image {image}, annotation {annotation}, which {dataset.path} has not")
        if missing := set(dataset.category_ids) - set(found):
            raise UserError(f"image {image} has no probability for category {', '.join(map(str, sorted(missing)))}")
        truth.append(truth_of[image, annotation])
        said.append([found[category] for category in dataset.category_ids])
        images.append(image)
    shape = (len(truth), len(dataset.category_ids))
    return np.array(truth, np.int64), np.array(said, np.float64).reshape(shape), images


def _truth(dataset: CocoDataset) -> dict[tuple[int, int | None], int]:
    """The true label of each micrograph (annotation None) and of each particle."""
    found: dict[tuple[int, int | None], int] = {}
    for image, entries in dataset.annotations.items():
        if (label := class_of_image(entries)) is not None:
            found[image, None] = label
        found |= {(image, entry["id"]): entry["label"] for entry in _particles(entries)}
    return found
