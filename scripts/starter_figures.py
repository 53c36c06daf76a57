"""What the starter weights (or any checkpoint) do on real micrographs, one setting for all: rows for docs/results.

    python scripts/starter_figures.py --into outputs/starter.csv                       the weights of the package
    python scripts/starter_figures.py --into outputs/starter.csv --checkpoint FILE --sets emps_val
    python scripts/starter_figures.py --into outputs/starter.csv --sets stem_catalysts --score 0.1 0.3 0.5

EMPS test, as it is and rescaled; bam_tio2 SEM, insitu_sintering and stem_catalysts, which nothing was trained on.
Precision, recall and F1 are of detections from the score on that EMPS's validation part chooses (the weights may carry
it), or from each --score on, a row each; ``predictions`` counts them. Never tune on any set but emps_val.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bench_common
import cv2
import numpy as np
from result_table import append
from skimage.measure import label

from tem_seg.core import provenance
from tem_seg.core.errors import UserError, user_errors_exit
from tem_seg.data import coco
from tem_seg.data.coco import CocoDataset
from tem_seg.data.images import read_micrograph
from tem_seg.data.readers.emps import Emps
from tem_seg.data.readers.mask_pairs import MaskPairs
from tem_seg.data.readers.protocol import Reader, convert
from tem_seg.data.readers.yolo import Yolo
from tem_seg.data.rle import decode, encode
from tem_seg.evaluation.calibration import counting_score
from tem_seg.evaluation.coco_ap import average_precision
from tem_seg.evaluation.inputs import headline_of
from tem_seg.evaluation.matching import counts_at, match_dataset
from tem_seg.inference.predict import Predictor, predict_dataset
from tem_seg.models import checkpoint
from tem_seg.models.contract import SegmentationModel
from tem_seg.stages import common
from tem_seg.training.fit import resolve_precision

ROOT = Path(__file__).resolve().parents[1]
DATA_FOLDER = Path(os.environ.get("TEM_SEG_DATA", ROOT.parent / "shared/data"))
ALL = {"test": 1.0, "train": 0.0, "val": 0.0}
FIELDS = ("set", "images", "particles", "ap", "ap50", "ap75", "f1", "precision", "recall", "predictions", "score",
          "s_per_image", "checkpoint", "overrides", "commit", "date")  # fmt: skip


def converted(reader: Reader, split: str, folder: Path) -> CocoDataset:
    """A reader's split as a dataset in ``folder``."""
    folder.mkdir(parents=True)
    convert(reader, folder)
    return coco.read(folder / split / "dataset.json")


def emps(data: Path, folder: Path, split: str) -> CocoDataset:
    """All shapes and modalities."""
    return converted(Emps(data / "emps", validation_fraction=0.15), split, folder)


def rescaled(dataset: CocoDataset, factor: float, folder: Path) -> CocoDataset:
    """Every micrograph and its masks at another size; particles that have no pixel left are left out."""
    folder.mkdir(parents=True)
    images, annotations = [], {}
    for image in dataset.images:
        pixels = read_micrograph(image.path).pixels
        size = (max(1, round(image.height * factor)), max(1, round(image.width * factor)))
        small = cv2.resize(
            pixels.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        )
        path = folder / f"{image.id}.png"
        cv2.imwrite(str(path), np.clip(np.rint(small), 0, 255).astype(np.uint8))
        found = []
        for entry in dataset.annotations[image.id]:
            mask = cv2.resize(
                decode(entry["segmentation"]).astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA
            )
            if (mask >= 0.5).any():
                made = coco.annotation_of(encode(mask >= 0.5), image.id, entry["category_id"], entry["id"])
                found.append(made | {"label": entry["label"]})
        images.append(replace(image, path=path, height=size[0], width=size[1]))
        annotations[image.id] = found
    return replace(dataset, images=images, annotations=annotations)


def bam(data: Path, folder: Path) -> CocoDataset:
    """TiO2 in SEM, masks drawn by hand, neighbours parted by lines of one pixel: 4-connected regions (SOURCE.md)."""
    root = data / "bam_tio2"
    pairs = [(path, root / "masks_manual" / f"{path.stem}_m.tif") for path in sorted((root / "SEM").glob("*.tif"))]
    return _of_binary_masks(pairs, folder, "sem", lambda mask: mask)


def insitu(data: Path, folder: Path) -> CocoDataset:
    """Frames of an in-situ video; specks of the hand-drawn masks opened away, as its SOURCE.md counts them."""
    root = data / "insitu_sintering" / "train"
    images = sorted((root / "images").glob("*.png"))
    pairs = [(path, root / "labels" / path.name.replace("image", "label")) for path in images]
    opening = np.ones((3, 3), np.uint8)
    return _of_binary_masks(pairs, folder, "bright_field", lambda mask: cv2.morphologyEx(mask, cv2.MORPH_OPEN, opening))


def _of_binary_masks(
    pairs: list[tuple[Path, Path]], folder: Path, modality: str, cleaned: Callable[[Any], Any]
) -> CocoDataset:
    """Whole images beside label maps of their masks' 4-connected regions."""
    (folder / "pairs").mkdir(parents=True)
    for image, mask in pairs:
        (folder / "pairs" / image.name).symlink_to(image)
        binary = (read_micrograph(mask).pixels > 127).astype(np.uint8)
        labels = label(cleaned(binary), connectivity=1).astype(np.uint16)
        cv2.imwrite(str(folder / "pairs" / f"{image.stem}_mask.png"), labels)
    return converted(MaskPairs(folder / "pairs", splits=ALL, modality=modality), "test", folder / "set")


def catalysts(data: Path, folder: Path) -> CocoDataset:
    """Boxes alone."""
    root = data / "stem_catalysts"
    return converted(Yolo(root / "images", root / "labels", ["particle"], ALL), "test", folder)


SETS: dict[str, Callable[[Path, Path], CocoDataset]] = {
    "emps_val": lambda data, folder: emps(data, folder, "val"),
    "emps_test": lambda data, folder: emps(data, folder, "test"),
    **{
        f"emps_test_x{factor:g}": lambda data, folder, factor=factor: rescaled(
            emps(data, folder / "as_it_is", "test"), factor, folder / "rescaled"
        )
        for factor in (0.25, 0.5, 2.0, 4.0)
    },
    **{
        f"emps_val_x{factor:g}": lambda data, folder, factor=factor: rescaled(
            emps(data, folder / "as_it_is", "val"), factor, folder / "rescaled"
        )
        for factor in (0.25, 0.5, 2.0, 4.0)
    },
    "bam_tio2": bam,
    "insitu_sintering": insitu,
    "stem_catalysts": catalysts,
}


Scored = tuple[CocoDataset, list[dict[str, Any]], float]
"""A set, what was found in it, seconds a micrograph."""


def rows(name: str, scored: Scored, scores: Iterable[float]) -> Iterator[dict[str, Any]]:
    """The figures of one set, at each of the scores."""
    dataset, results, seconds = scored
    kind = headline_of(dataset, results)
    ap = average_precision(dataset, results, kind, 1000)
    matchings = match_dataset(dataset, results, iou_type=kind).values()
    for score in scores:
        counts = counts_at(matchings, score)
        yield {
            "set": name, "images": len(dataset), "particles": dataset.count, "score": round(score, 4),
            **{key: round(ap[key], 4) for key in ("ap", "ap50", "ap75")},
            **{key: round(counts[key], 4) for key in ("f1", "precision", "recall")},
            "predictions": sum(found["score"] >= score for found in results), "s_per_image": round(seconds, 2),
        }  # fmt: skip


def predicting(weights: str, about: dict[str, Any], *overrides: str) -> tuple[SegmentationModel, Predictor]:
    """The network with its weights and how it looks at micrographs. about: what the weights say of themselves."""
    cfg = bench_common.config(*overrides, f"model.weights={weights}", experiment="starter", profile="laptop")
    common.set_threads(cfg)
    model: SegmentationModel = common.model_factory(cfg, about["categories"]).build()
    return model.eval(), common.predictor(cfg, resolve_precision("auto"), about)


def figures(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Predicts the sets that were asked for; their rows, without what they are made by."""
    about = checkpoint.read(checkpoint.path_of(options.checkpoint))["tem_seg"]
    model, look = predicting(options.checkpoint, about, *options.overrides)
    with TemporaryDirectory() as folder:

        def scored(name: str) -> Scored:
            dataset = SETS[name](options.data, Path(folder) / name)
            results, info = predict_dataset(model, dataset, look)
            return dataset, results, info["seconds_per_image"]

        known: dict[str, Scored] = {}
        scores = options.score
        if scores is None and "counting_score" in about and not options.overrides:
            scores = [about["counting_score"]]
        if scores is None:
            dataset, results, _ = known["emps_val"] = scored("emps_val")
            scores = [counting_score(match_dataset(dataset, results).values())]
        for name in options.sets:
            yield from rows(name, known.get(name) or scored(name), scores)


def check(table: Path, scores: Sequence[float]) -> None:
    """Raises UserError for a table with other columns, and for scores that are none."""
    if not all(0 <= score <= 1 for score in scores):
        raise UserError(f"--score must lie in [0, 1], got {', '.join(f'{score:g}' for score in scores)}")
    if table.is_file() and table.read_text(encoding="utf-8").split("\n")[0] != ",".join(FIELDS):
        raise UserError(f"{table} has other columns than {','.join(FIELDS)}: name another file with --into")


def main(arguments: Sequence[str] | None = None) -> None:
    """Predicts and scores what was asked for. Exit code 2: a table with other columns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="table to append to")
    parser.add_argument("--checkpoint", default=checkpoint.STARTER, help="(default: the weights of the package)")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=[n for n in SETS if "val" not in n])
    parser.add_argument(
        "--score", nargs="+", type=float, metavar="S", help="(default: chosen on EMPS's validation part)"
    )
    parser.add_argument("--data", type=Path, default=DATA_FOLDER)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. prediction.find_scale=true")
    options = parser.parse_intermixed_args(arguments)
    made_by = {"checkpoint": options.checkpoint, "overrides": " ".join(options.overrides), "date": date.today(),
               "commit": (provenance.git_state(ROOT)["commit"] or "")[:10]}  # fmt: skip
    with user_errors_exit("starter_figures"):
        check(options.into, options.score or ())
        for found in figures(options):
            append(options.into, FIELDS, found | made_by)
            print(found | made_by, flush=True)


if __name__ == "__main__":
    main()
