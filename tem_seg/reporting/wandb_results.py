"""What a finished job leaves in its W&B run: figures, curves, overlays, sizes, particles, and the model's origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tem_seg.core.nested import leaves
from tem_seg.core.types import Rle
from tem_seg.data.annotations import outline_of
from tem_seg.data.coco import ImageRecord
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.data.rle import decode_crop
from tem_seg.reporting import tables
from tem_seg.reporting.compared import RunFiles
from tem_seg.reporting.material import Material, choose_images
from tem_seg.reporting.wandb_log import STEP

if TYPE_CHECKING:
    from wandb import Artifact, Run

OVERLAY_PX = 1024
"""Long side of a micrograph with overlays."""
CURVES = {"precision_recall": ("pr", "recall", "precision"), "f1_over_score": ("f1", "score", "f1")}


def log_results(run: Run, files: RunFiles, *, overlays: int, model: Path | None) -> None:
    """Logs all that the job's stages have left, as one row at the last training step, and the model as an artifact.

    overlays: test micrographs shown. model: the checkpoint that predicts, None where this run trained none.
    """
    row = {**figures(files), **curves(files.metrics), **sizes(files), STEP: last_step(files)}
    if len(files.particles):
        row["test/particles"] = particle_table(files.particles)
    if files.material is not None and overlays:
        row["test/overlays"] = overlay_images(files.material, overlays)
    run.log(row)
    if model is not None:
        if not run.offline:  # offline, W&B cannot say what a run used: the model's metadata says it
            run.use_artifact(dataset_artifact(files))
        run.log_artifact(model_artifact(files, model), aliases=[run.id])


def last_step(files: RunFiles) -> int:
    """The training step that the results stand at; 0 without a training."""
    return int(files.curves["step"].max()) if len(files.curves) else 0


# ------------------------------------------------------------------------------------------------- figures


def figures(files: RunFiles) -> dict[str, float]:
    """Numbers of metrics.json as ``test/…`` (and ``splits/…``), and what each stage cost as ``cost/<stage>/…``."""
    known = _numbers(files.metrics)
    found = {key if key.startswith("splits/") else f"test/{key}": value for key, value in known.items()}
    costs = {stage: {key: notes[key] for key in ("wall_s", "peak_memory_gb") if key in notes}
             for stage, notes in (files.run.get("stages") or {}).items()}  # fmt: skip
    return found | {f"cost/{key}": value for key, value in _numbers(costs).items()}


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
    """Nested numbers by their path; texts, lists (as curves are) and what is undefined are no figures."""
    numbers = ((path, v) for path, v in leaves(content, between="/") if isinstance(v, (int, float)))
    return {path: value for path, value in numbers if not isinstance(value, bool) and np.isfinite(value)}


def curves(metrics: dict[str, Any]) -> dict[str, Any]:
    """Precision over recall and F1 over score, at IoU 0.5, as charts with their tables; {} where nothing was scored."""
    import wandb

    drawn = {}
    for name, (key, x, y) in CURVES.items():
        points = (metrics.get("curves") or {}).get(key)
        if points and metrics.get("n_truths"):
            columns: list[str | int] = ["score", "precision", "recall", "f1"]
            table = wandb.Table(
                columns=columns, data=[list(row) for row in zip(*(points[c] for c in columns), strict=True)]
            )
            drawn[f"test/{name}"] = wandb.plot.line(table, x, y, title=f"{y} over {x} at IoU 0.5")
    return drawn


def sizes(files: RunFiles) -> dict[str, Any]:
    """Histograms and medians of ``sizes/<column>`` and ``sizes/<column>_annotated``, border particles left out."""
    import wandb

    found: dict[str, Any] = {}
    for table, end in ((files.particles, ""), (files.truth_particles, "_annotated")):
        for column in _lengths(table):
            sample = tables.values(table, column)
            if len(sample):
                found[f"sizes/{column}{end}"] = wandb.Histogram(sample.tolist())
                found[f"sizes/median_{column}{end}"] = float(np.median(sample))
    return found


def _lengths(table: pd.DataFrame | None) -> list[str]:
    kinds = ("equivalent_diameter", "min_feret", "max_feret")
    return (
        []
        if table is None
        else [f"{kind}_{unit}" for unit in ("nm", "px") for kind in kinds if f"{kind}_{unit}" in table]
    )


def particle_table(particles: pd.DataFrame) -> Any:
    """particles.csv, as many rows as W&B takes."""
    import wandb

    return wandb.Table(dataframe=particles.head(wandb.Table.MAX_ARTIFACT_ROWS), allow_mixed_types=True)


# ------------------------------------------------------------------------------------------------- overlays


def overlay_images(material: Material, count: int) -> list[Any]:
    """The report's micrographs, with masks and boxes that W&B's viewer turns on and off."""
    import wandb

    images = {image.id: image for image in material.test.images}
    labels = dict(enumerate(material.test.categories, start=1))
    shown = []
    for image_id, why in choose_images(material, count):
        image, kept = images[image_id], material.kept(image_id)
        layers = {"predicted": kept, "annotated": material.test.annotations[image_id]}
        caption = f"{image.path.name}: {len(kept)} predicted at score ≥ {material.score:.3g} ({why})"
        shown.append(wandb.Image(
            _shrunk(normalise(read_micrograph(image.path).pixels)), caption=caption,
            masks={name: {"mask_data": class_map(rows, image, material.test.category_ids), "class_labels": labels}
                   for name, rows in layers.items()},
            boxes={name: {"box_data": boxes(rows, image, material), "class_labels": labels}
                   for name, rows in layers.items()},
        ))  # fmt: skip
    return shown


def class_map(rows: Sequence[Mapping[str, Any]], image: ImageRecord, category_ids: Sequence[int]) -> NDArray[np.uint8]:
    """(h, w) uint8 of the picture shown: 0 where nothing is, else the class from 1; the first rows lie on top."""
    drawn = np.zeros((image.height, image.width), np.uint8)
    for row in reversed(rows):
        segmentation: Rle = outline_of(row, (image.height, image.width))
        crop, x0, y0 = decode_crop(segmentation)
        place = drawn[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]]
        place[crop] = category_ids.index(row["category_id"]) + 1
    return np.asarray(_resized(drawn, cv2.INTER_NEAREST), np.uint8)


def boxes(rows: Sequence[Mapping[str, Any]], image: ImageRecord, material: Material) -> list[dict[str, Any]]:
    """Upright boxes as W&B takes them: shares of the picture's sides, class from 1, a caption, the score."""
    names, known = material.test.categories, material.test.category_ids
    found = []
    for row in rows:
        x, y, w, h = row["bbox"][:4]
        label = known.index(row["category_id"])
        corners = {"minX": x / image.width, "maxX": (x + w) / image.width,
                   "minY": y / image.height, "maxY": (y + h) / image.height}  # fmt: skip
        box: dict[str, Any] = {"position": {key: float(value) for key, value in corners.items()}, "class_id": label + 1,
                               "box_caption": names[label]}  # fmt: skip
        if "score" in row:
            box |= {"scores": {"score": float(row["score"])}, "box_caption": f"{names[label]} {row['score']:.2f}"}
        found.append(box)
    return found


def _shrunk(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    grey = np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.asarray(_resized(grey, cv2.INTER_AREA), np.uint8)


def _resized(pixels: NDArray[np.uint8], how: int) -> NDArray[Any]:
    scale = OVERLAY_PX / max(pixels.shape)
    if scale >= 1:
        return pixels
    height, width = (max(1, round(side * scale)) for side in pixels.shape)
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=how))


# ------------------------------------------------------------------------------------------------- artifacts


def origin(files: RunFiles) -> dict[str, Any]:
    """Which data the model comes from: the dataset's folder, its hash, and of each split the hash of its content."""
    notes = (files.run.get("stages") or {}).get("generate") or {}
    return {key: notes.get(key) for key in ("dataset", "dataset_digest", "data_sha256")}


def model_artifact(files: RunFiles, path: Path) -> Artifact:
    """The checkpoint; its metadata says from which data and settings it is, and what it reached."""
    import wandb

    train = (files.run.get("stages") or {}).get("train") or {}
    metadata = origin(files) | {
        "experiment": files.run.get("experiment"), "profile": files.run.get("profile"), "seed": files.run.get("seed"),
        "config_digest": files.run.get("config_digest"), "backend": train.get("backend"),
        "categories": files.info.get("model_categories"), "run_dir": str(files.folder),
        **{key: files.metrics.get(key) for key in ("ap", "ap50", "f1")},
    }  # fmt: skip
    artifact = wandb.Artifact(f"model-{files.run.get('experiment')}", "model", metadata=metadata)
    artifact.add_file(str(path), policy="immutable")  # as it lies: a copy of it would fill the home folder
    return artifact


def dataset_artifact(files: RunFiles) -> Artifact:
    """The dataset by reference: its files stay where they are."""
    import wandb

    name = ((files.run.get("config") or {}).get("dataset") or {}).get("name")
    artifact = wandb.Artifact(f"dataset-{name}", "dataset", metadata=origin(files))
    for folder in str(origin(files)["dataset"] or "").split(", "):
        for path in sorted(Path(folder).glob("*/dataset.json")) if folder else []:
            artifact.add_reference(path.as_uri(), name=f"{path.parent.parent.name}/{path.parent.name}/dataset.json")
    return artifact
