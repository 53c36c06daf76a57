"""predictions.json: what every model leaves behind, and all that evaluation, measurement and reports need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import xyxy_to_xywh
from tem_seg.core.types import Prediction
from tem_seg.data.atomic import write_json

NAMED_SHAPE, SHAPE_PROBABILITY = "shape_predicted", "shape_probability"
"""Keys of a result that say which class a classifier gave its particle, and how likely it is."""

CLASSIFICATION = "classification"
"""Value of ``task``, in what a model, its predictions and their metrics say of themselves: classes and no particles."""


def classifies(about: Mapping[str, Any]) -> bool:
    """Whether a model, its checkpoint, its predictions or their metrics, by what they say of themselves, are a
    classifier's."""
    return about.get("task") == CLASSIFICATION


def to_results(prediction: Prediction, image_id: int, category_ids: list[int]) -> list[dict[str, Any]]:
    """One image's prediction → COCO results (docs/results-format.md)."""
    rows: list[dict[str, Any]] = []
    boxes = xyxy_to_xywh(prediction.boxes)
    for index in range(len(prediction)):
        row: dict[str, Any] = {
            "image_id": image_id,
            "category_id": category_ids[int(prediction.labels[index])],
            "bbox": [round(float(v), 2) for v in boxes[index]],
            "score": round(float(prediction.scores[index]), 5),
        }
        if prediction.masks is not None:
            row["segmentation"] = prediction.masks[index]
        if prediction.contours is not None:
            row["contour"] = np.round(prediction.contours[index].astype(np.float64), 1).tolist()
        for key in ("edge_sd_px", "agreement", "agreement_iou"):
            if (values := getattr(prediction, key)) is not None:
                value = float(values[index])
                row[key] = round(value, 3) if np.isfinite(value) else None
        if prediction.rotated_boxes is not None:
            row["rotated_box"] = [round(float(v), 3) for v in prediction.rotated_boxes[index]]
        rows.append(row)
    return rows


def write(path: Path, results: list[dict[str, Any]], info: dict[str, Any]) -> None:
    """Writes {"info": …, "results": […]} atomically. info: dataset path, image ids, max_instances, capped image ids."""
    write_json(path, {"info": info, "results": results})


def capped_flags(image_ids: Sequence[int], max_instances: int, tile_instances: int | None = None) -> list[str]:
    """The red flag for images where a cap was reached, of the image or of what the model is shown; none for none."""
    if not image_ids:
        return []
    tile = "" if tile_instances is None else f", in a tile {tile_instances}"
    return [
        "the model returned as many particles, or places where one may be, as it may "
        f"(max_instances = {max_instances}{tile}) in {images_named(image_ids)}: some may be missing"
    ]


def images_named(ids: Sequence[int]) -> str:
    """At most ten ids: "3 images (1, 5, 8)"."""
    shown = ", ".join(str(i) for i in ids[:10]) + (", …" if len(ids) > 10 else "")
    return f"{len(ids)} image{'s' if len(ids) != 1 else ''} ({shown})"


def read(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Reads predictions.json → (results, info). A bare COCO results list is taken as well, with empty info."""
    if not path.is_file():
        raise UserError(f"no predictions at {path}: run the 'predict' stage first")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): delete it and run the 'predict' stage again") from error
    results, info = (content, {}) if isinstance(content, list) else _parts(path, content)
    faults = [f"result {k}: {fault}" for k, row in enumerate(results) if (fault := _fault(row))]
    if faults:
        more = [f"… and {len(faults) - 50} more"] if len(faults) > 50 else []
        raise UserError(f"{path} has {len(faults)} fault(s):\n  " + "\n  ".join(faults[:50] + more))
    return results, info


def _parts(path: Path, content: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    if not isinstance(content, dict) or not isinstance(content.get("results"), list):
        raise UserError(
            f"{path} holds no predictions: expected a list of COCO results or {{'info': …, 'results': […]}}"
        )
    return content["results"], content.get("info") or {}


def _fault(row: Any) -> str | None:
    """What makes a row unusable, named with its image; None for a sound one."""
    if not isinstance(row, dict):
        return "not a JSON object"
    missing = [key for key in ("image_id", "category_id", "score") if key not in row]
    if missing:
        return f"{' and '.join(missing)} missing"
    score = row["score"]
    if not isinstance(score, (int, float)) or not np.isfinite(score):
        return f"image {row['image_id']} has a score that is not finite ({score!r})"
    return None


def by_image(results: list[dict[str, Any]], image_ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    """Results grouped by image id, every asked image present, each list in descending score (stable)."""
    grouped: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in image_ids}
    for row in results:
        if row["image_id"] not in grouped:
            raise UserError(f"predictions name image {row['image_id']}, which the dataset does not hold")
        grouped[row["image_id"]].append(row)
    for rows in grouped.values():
        rows.sort(key=lambda row: -row["score"])
    return grouped
