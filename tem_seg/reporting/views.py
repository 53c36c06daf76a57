"""Micrographs as the report shows them: one picture, outlines as vectors on top, a scale bar, a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import rotated_box_corners
from tem_seg.data.coco import CocoDataset, ImageRecord
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.reporting.figures import MAX_PAGE_PX, outlines, svg_path, webp_uri
from tem_seg.reporting.material import Counts, Material, choose_images, equivalent_diameter

_IMAGE_BYTES = 2_000_000
"""All pictures of a report together; base64 adds a third."""


@dataclass(frozen=True, slots=True)
class Outline:
    """kind: tp, fp, fn, found or plain (in the style sheet); path: SVG ``d`` in View.step_px; title: shown on hover."""

    kind: str
    path: str
    title: str


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """width_px in the micrograph's frame, label "50 nm"."""

    width_px: float
    label: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with outlines. alt says in words what it shows."""

    title: str
    alt: str
    outlines: tuple[Outline, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Panels of one micrograph (height, width in px) and what to know about it.

    step_px: unit of the outlines, a tenth of a pixel of the picture shown. counts: None without annotation.
    """

    name: str
    why: str
    facts: str
    uri: str
    height: int
    width: int
    bar: ScaleBar | None
    step_px: float
    panels: tuple[Panel, ...]
    counts: Counts | None


def scale_bar(width_px: int, pixel_size_nm: float | None) -> ScaleBar | None:
    """The longest of 1, 2, 5 × 10^k nm that is at most a quarter of the image's width; None without calibration.

    >>> scale_bar(1000, 0.21).label
    '50 nm'
    """
    if pixel_size_nm is None:
        return None
    longest = 0.25 * width_px * pixel_size_nm
    decade = 10.0 ** np.floor(np.log10(longest))
    length = float(max(step * decade for step in (1, 2, 5) if step * decade <= longest * (1 + 1e-9)))
    label = f"{length / 1000:g} µm" if length >= 1000 else f"{length:g} nm"
    return ScaleBar(length / pixel_size_nm, label)


def views(material: Material, count: int) -> list[View]:
    """The chosen micrographs (see ``choose_images``), as models see them (``data.images.normalise``)."""
    chosen = choose_images(material, count)
    images = {image.id: image for image in material.test.images}
    made = []
    for image_id, why in chosen:
        image = images[image_id]
        counts = material.counts(image_id) if material.matches is not None else None
        made.append(view(material.test, image, why, panels(material, image), counts, shown=2 * len(chosen)))
    return made


def view(
    test: CocoDataset, image: ImageRecord, why: str, panels: tuple[Panel, ...], counts: Counts | None, *, shown: int
) -> View:
    """One micrograph with these panels. shown: pictures of the page, which share its bytes."""
    pixels = normalise(read_micrograph(image.path).pixels)
    if pixels.shape != (image.height, image.width):
        raise UserError(
            f"{image.path} is {pixels.shape[1]} × {pixels.shape[0]} px, but {test.path} says "
            f"{image.width} × {image.height}: the image was replaced after the dataset was made; make the dataset again"
        )
    calibration = f"{image.pixel_size_nm:.4g} nm/px" if image.pixel_size_nm is not None else "no calibration"
    return View(
        name=image.path.name,
        why=why,
        facts=f"{image.width} × {image.height} px, {calibration}",
        uri=webp_uri(pixels, max_bytes=min(200_000, _IMAGE_BYTES // max(shown, 1))),
        height=image.height,
        width=image.width,
        step_px=_step_px(image),
        bar=scale_bar(image.width, image.pixel_size_nm),
        panels=panels,
        counts=counts,
    )


def panels(material: Material, image: ImageRecord) -> tuple[Panel, Panel]:
    """Predictions, and beside them the annotation; the bare micrograph where there is none."""
    return _scored_panels(material, image) if material.matches is not None else _plain_panels(material, image)


def _scored_panels(material: Material, image: ImageRecord) -> tuple[Panel, Panel]:
    rows, found, truths = material.kept(image.id), material.found(image.id), material.test.annotations[image.id]
    categories = dict(zip(material.test.category_ids, material.test.categories, strict=True))
    drawn = [
        outline(row, "tp" if match >= 0 else "fp", image, categories) for row, match in zip(rows, found, strict=True)
    ]
    seen = set(found)
    annotated = [outline(truth, "found" if i in seen else "fn", image, categories)
                 for i, truth in enumerate(truths) if not truth.get("iscrowd", 0)]  # fmt: skip
    missed = [one for one in annotated if one.kind == "fn"]
    counts = material.counts(image.id)
    left = f"Predictions on {image.path.name}: {counts.tp} correct, {counts.fp} false, {counts.fn} missed"
    right = f"Annotation of {image.path.name}: {len(annotated)} particles, {counts.tp} of them found"
    return Panel("predicted", left, (*drawn, *missed)), Panel("annotated", right, tuple(annotated))


def _plain_panels(material: Material, image: ImageRecord) -> tuple[Panel, Panel]:
    categories = dict(zip(material.test.category_ids, material.test.categories, strict=True))
    drawn = [outline(row, "plain", image, categories) for row in material.kept(image.id)]
    text = f"Predictions on {image.path.name}: {len(drawn)} particles"
    return Panel("predicted", text, tuple(drawn)), Panel("micrograph", f"Micrograph {image.path.name}", ())


def outline(entry: dict[str, Any], kind: str, image: ImageRecord, categories: dict[int, str]) -> Outline:
    """One particle; kind as in Outline."""
    step = _step_px(image)
    words = {"tp": "correct", "fp": "false positive", "fn": "missed", "found": "found", "plain": "predicted"}
    parts = [words[kind], categories.get(entry["category_id"], f"category {entry['category_id']}")]
    unit = "nm" if image.pixel_size_nm is not None else "px"
    if "segmentation" in entry:
        parts.append(f"d = {equivalent_diameter(entry['segmentation'], image.pixel_size_nm):.3g} {unit}")
    elif "rotated_box" in entry:
        short, long = (side * (image.pixel_size_nm or 1.0) for side in entry["rotated_box"][2:4])
        parts.append(f"{long:.3g} × {short:.3g} {unit}")
    if "score" in entry:
        parts.append(f"score {entry['score']:.2f}")
    return Outline(kind, svg_path(_polygons(entry, step), step), " · ".join(parts))


def _step_px(image: ImageRecord) -> float:
    return 0.1 * max(1.0, max(image.height, image.width) / MAX_PAGE_PX)


def _polygons(entry: dict[str, Any], step_px: float) -> Sequence[NDArray[np.float64]]:
    """Outline of the mask; of the rotated or upright box where the model gives no mask."""
    if "segmentation" in entry:
        return outlines(entry["segmentation"], tolerance_px=2 * step_px)
    if "rotated_box" in entry:
        return [rotated_box_corners(np.asarray(entry["rotated_box"], np.float64))]
    x, y, w, h = entry["bbox"]
    return [np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float64)]
