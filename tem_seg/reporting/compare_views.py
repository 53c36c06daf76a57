"""The same micrograph under each model, side by side, with the annotation first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.reporting.compared import Group
from tem_seg.reporting.material import Material
from tem_seg.reporting.views import Panel, View, outline, panels, view

Shown = tuple[Group, Material]


@dataclass(frozen=True, slots=True)
class SideBySide:
    """views: one a micrograph. left_out: letters of groups that are not shown, for they saw other micrographs;
    a classifier has no outlines to show and is in neither."""

    views: list[View]
    left_out: list[str]


def side_by_side(groups: Sequence[Group], count: int) -> SideBySide:
    """The first run of every group that was tested on the same micrographs: those that most groups saw."""
    first = [(group, next((run for run in group.runs if run.material is not None), None)) for group in groups]
    there = [(group, run) for group, run in first if run is not None]
    seen = Counter(run.tested for _, run in there)
    most = seen.most_common(1)[0][0] if seen else None  # of equals the first
    shown: list[Shown] = [(group, run.material) for group, run in there if run.material and run.tested == most]
    kept = {group.letter for group, _ in shown}
    left_out = [group.letter for group in groups if group.letter not in kept and not group.runs[0].classifies]
    if not shown:
        return SideBySide([], left_out)
    test = shown[0][1].test
    chosen = choose(shown, count)
    images = {image.id: image for image in test.images}
    made = [view(test, images[i], why, _panels(shown, images[i]), None, shown=len(chosen)) for i, why in chosen]
    return SideBySide(made, left_out)


def choose(shown: Sequence[Shown], count: int) -> list[tuple[int, str]]:
    """Micrographs as (id, why): half of them those where F1 differs most between the models, then the dataset's first.

    Where F1 is undefined for a model (nothing there, nothing found), or nothing is annotated, none differs.
    """
    images = shown[0][1].test.images
    chosen: dict[int, str] = {}
    if len(shown) > 1 and all(material.matches is not None for _, material in shown):
        f1 = {image.id: [material.counts(image.id).f1 for _, material in shown] for image in images}
        spread = {image_id: max(values) - min(values) for image_id, values in f1.items() if np.isfinite(values).all()}
        for image_id in sorted(spread, key=lambda i: -spread[i])[: (count + 1) // 2]:
            if spread[image_id] > 0:
                chosen[image_id] = f"the models differ most here (by {spread[image_id]:.2f} in F1)"
    for place, image in enumerate(images, start=1):
        chosen.setdefault(image.id, f"no. {place} of the dataset")
    return list(chosen.items())[:count]


def _panels(shown: Sequence[Shown], image: ImageRecord) -> tuple[Panel, ...]:
    predicted = []
    for group, material in shown:
        panel = panels(material, image)[0]
        title = f"{group.label(0)} · {len(material.kept(image.id))} particles"
        if material.matches is not None:
            counts = material.counts(image.id)
            f1 = f"F1 {counts.f1:.2f}: " if np.isfinite(counts.f1) else ""
            title = f"{group.label(0)} · {f1}{counts.tp} correct, {counts.fp} false, {counts.fn} missed"
        predicted.append(replace(panel, title=title, alt=f"{group.name}. {panel.alt}"))
    scored = [material for _, material in shown if material.matches is not None]
    return (_annotation(scored, shown[0][1].test, image) if scored else _bare(image), *predicted)


def _annotation(scored: Sequence[Material], test: CocoDataset, image: ImageRecord) -> Panel:
    """Dashed is what no model finds."""
    categories = dict(zip(test.category_ids, test.categories, strict=True))
    found = [set(material.found(image.id)) for material in scored]
    drawn, missed = [], 0
    for place, truth in enumerate(test.annotations[image.id]):
        if not truth.get("iscrowd", 0):
            times = sum(place in some for some in found)
            missed += not times
            one = outline(truth, "found" if times else "fn", image, categories)
            drawn.append(replace(one, title=f"{one.title} · found by {times} of {len(scored)}"))
    title = f"annotated · {len(drawn)} particles, {missed} found by none"
    return Panel(title, f"Annotation of {image.path.name}: {len(drawn)} particles", tuple(drawn))


def _bare(image: ImageRecord) -> Panel:
    return Panel("micrograph", f"Micrograph {image.path.name}", ())
