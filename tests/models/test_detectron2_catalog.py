"""Detectron2's own tools work from the registered name alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tem_seg.models.detectron2 import INSTALL_HINT

pytest.importorskip("detectron2", reason=f"detectron2 is not installed ({INSTALL_HINT})")

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from detectron2.data.detection_utils import annotations_to_instances_rotated
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import COCOEvaluator, RotatedCOCOEvaluator, inference_on_dataset
from detectron2.structures import Boxes, BoxMode, Instances, RotatedBoxes

from tem_seg.core.errors import UserError
from tem_seg.data import coco, rle
from tem_seg.models.contract import RcnnSpec
from tem_seg.models.detectron2.catalog import dataset_from_catalog, register, to_records
from tem_seg.models.detectron2.config import rcnn_config

SIDE = 96
CATEGORIES = ["sphere", "speck"]


def draw(folder: Path, images: int = 3, per_image: int = 4) -> coco.CocoDataset:
    """Dark discs on bright 8-bit PNGs; the last image is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    entries, annotations = [], []
    for image_id in range(1, images + 1):
        pixels = np.full((SIDE, SIDE), 190, np.uint8)
        for _ in range(per_image if image_id < images else 0):
            (y, x), radius = rng.uniform(10, SIDE - 10, 2), rng.uniform(4, 9)
            mask = np.hypot(rows - y, columns - x) <= radius
            pixels[mask] = 50
            category = 1 + int(radius < 6)
            annotations.append(coco.annotation_of(rle.encode(mask), image_id, category, len(annotations) + 1))
        cv2.imwrite(str(folder / f"{image_id}.png"), pixels)
        entries.append({"id": image_id, "file_name": f"{image_id}.png", "height": SIDE, "width": SIDE,
                        "pixel_size_nm": 0.25, "pixel_size_source": "drawn", "modality": "bright_field"})  # fmt: skip
    coco.write(folder / "dataset.json", entries, annotations, CATEGORIES)
    return coco.read(folder / "dataset.json")


@pytest.fixture
def dataset(tmp_path: Path) -> coco.CocoDataset:
    return draw(tmp_path / "train")


def test_comes_back_from_the_catalog_as_it_went_in(dataset: coco.CocoDataset) -> None:
    name = register(dataset, "discs/train")
    assert name.startswith("tem_seg/discs/train-")
    assert dataset_from_catalog(name) == dataset


def test_records_are_detectron2s_standard_dicts(dataset: coco.CocoDataset) -> None:
    records = DatasetCatalog.get(register(dataset, "discs"))
    assert [record["image_id"] for record in records] == [1, 2, 3]
    assert {record["height"] for record in records} == {SIDE} == {record["width"] for record in records}
    assert all(Path(record["file_name"]).is_file() for record in records)
    assert records[0]["pixel_size_nm"] == 0.25 and records[-1]["annotations"] == []
    for record in records:
        for entry in record["annotations"]:
            assert entry["bbox_mode"] == BoxMode.XYWH_ABS and entry["category_id"] in (0, 1)
            assert set(entry["segmentation"]) == {"size", "counts"} and len(entry["rotated_box"]) == 5


def test_metadata(dataset: coco.CocoDataset) -> None:
    metadata = MetadataCatalog.get(register(dataset, "discs"))
    assert metadata.thing_classes == CATEGORIES
    assert metadata.thing_dataset_id_to_contiguous_id == {1: 0, 2: 1}
    assert metadata.evaluator_type == "coco"
    content = json.loads(Path(metadata.json_file).read_text())
    assert len(content["annotations"]) == dataset.count
    assert all({"area", "iscrowd", "bbox", "segmentation", "id"} <= set(entry) for entry in content["annotations"])


def test_same_content_same_name_and_changed_content_a_new_one(dataset: coco.CocoDataset) -> None:
    """The usual `if name not in DatasetCatalog` guard would keep the old loader."""
    first = register(dataset, "discs")
    assert register(coco.read(dataset.path), "discs") == first
    fewer = replace(dataset, images=dataset.images[:1], annotations={1: dataset.annotations[1][:2]})
    second = register(fewer, "discs")
    assert second != first
    assert [len(DatasetCatalog.get(name)) for name in (first, second)] == [3, 1]
    assert len(json.loads(Path(MetadataCatalog.get(second).json_file).read_text())["annotations"]) == 2
    renamed = replace(dataset, categories=["sphere", "dust"])
    assert register(renamed, "discs") not in (first, second)


def test_changed_records_do_not_reach_the_catalog(dataset: coco.CocoDataset) -> None:
    """Detectron2's tools change records in place."""
    name = register(dataset, "discs")
    records = DatasetCatalog.get(name)
    records[0]["annotations"][0]["segmentation"]["counts"] = "gone"
    records[0]["annotations"][0]["bbox"][0] = -1.0
    records[1]["annotations"].clear()
    assert dataset_from_catalog(name) == dataset


def test_ids_of_the_file_may_have_gaps(dataset: coco.CocoDataset) -> None:
    ids = {1: 7, 2: 3}
    annotations = {
        image_id: [entry | {"category_id": ids[entry["category_id"]]} for entry in entries]
        for image_id, entries in dataset.annotations.items()
    }
    gaps = replace(dataset, category_ids=[7, 3], annotations=annotations)
    name = register(gaps, "gaps")
    assert MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id == {7: 0, 3: 1}
    assert dataset_from_catalog(name) == gaps


def test_datasets_of_others_are_taken(dataset: coco.CocoDataset) -> None:
    """Boxes as corners, polygons, RLE counts as bytes, no ids: what Detectron2 allows."""
    records = to_records(dataset)[:1]
    for entry in records[0]["annotations"]:
        x, y, w, h = entry["bbox"]
        entry |= {"bbox": [x, y, x + w, y + h], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
        entry["segmentation"]["counts"] = entry["segmentation"]["counts"].encode()
    records[0]["annotations"][0]["segmentation"] = [[10.0, 10.0, 30.0, 10.0, 30.0, 20.0, 10.0, 20.0]]
    name = f"stranger-{dataset.path}"
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).thing_classes = ["particle"]
    found = dataset_from_catalog(name)
    assert (found.categories, found.category_ids, len(found)) == (["particle"], [1], 1)
    assert rle.area_px(found.annotations[1][0]["segmentation"]) == 200
    for entry, original in list(zip(found.annotations[1], dataset.annotations[1], strict=True))[1:]:
        assert entry["bbox"] == original["bbox"] and entry["segmentation"] == original["segmentation"]
        assert (entry["label"], entry["category_id"]) == (0, 1)


def test_unknown_name_lists_ours(dataset: coco.CocoDataset) -> None:
    name = register(dataset, "discs")
    with pytest.raises(UserError, match=f"no dataset 'nothing' .* from tem_seg: .*{name}"):
        dataset_from_catalog("nothing")


def test_some_annotations_without_mask_are_refused(dataset: coco.CocoDataset) -> None:
    records = to_records(dataset)
    del records[0]["annotations"][0]["segmentation"]
    name = f"boxes-{dataset.path}"
    DatasetCatalog.register(name, lambda: records)
    with pytest.raises(UserError, match=r"has no thing_classes"):
        dataset_from_catalog(name)
    MetadataCatalog.get(name).thing_classes = CATEGORIES
    with pytest.raises(UserError, match=r"only some annotations have a segmentation"):
        dataset_from_catalog(name)


def boxes_alone(dataset: coco.CocoDataset, *without: str) -> coco.CocoDataset:
    annotations = {image_id: [{k: v for k, v in entry.items() if k not in without} for entry in entries]
                   for image_id, entries in dataset.annotations.items()}  # fmt: skip
    return replace(dataset, annotations=annotations)


@pytest.mark.parametrize("without", [("segmentation",), ("segmentation", "rotated_box")])
def test_boxes_alone_come_back_as_they_went_in(dataset: coco.CocoDataset, without: tuple[str, ...]) -> None:
    boxes = boxes_alone(dataset, *without)
    name = register(boxes, "boxes")
    assert dataset_from_catalog(name) == boxes
    assert all("segmentation" not in entry for record in DatasetCatalog.get(name) for entry in record["annotations"])
    content = json.loads(Path(MetadataCatalog.get(name).json_file).read_text())
    assert all({"area", "iscrowd", "bbox"} <= set(entry) for entry in content["annotations"])


def test_rotated_records_are_what_detectron2s_rotated_tools_take(dataset: coco.CocoDataset) -> None:
    name = register(dataset, "discs", rotated=True)
    assert name.startswith("tem_seg/discs_rotated-") and register(dataset, "discs", rotated=True) == name
    assert name != register(dataset, "discs") and MetadataCatalog.get(name).evaluator_type == "rotated_coco"
    record = DatasetCatalog.get(name)[0]
    truths = np.array([entry["rotated_box"] for entry in dataset.annotations[1]], np.float32)
    assert {entry["bbox_mode"] for entry in record["annotations"]} == {BoxMode.XYWHA_ABS}
    instances = annotations_to_instances_rotated(record["annotations"], (SIDE, SIDE))
    assert isinstance(instances.gt_boxes, RotatedBoxes)
    np.testing.assert_array_equal(instances.gt_boxes.tensor.numpy(), truths)
    assert instances.gt_classes.tolist() == [entry["label"] for entry in dataset.annotations[1]]
    back = dataset_from_catalog(name)
    assert [e["rotated_box"] for e in back.annotations[1]] == [e["rotated_box"] for e in dataset.annotations[1]]
    assert not back.has_masks and back.has_rotated_boxes and back.count == dataset.count


def test_upright_boxes_cannot_be_registered_as_rotated_ones(dataset: coco.CocoDataset) -> None:
    with pytest.raises(UserError, match="has an upright box only: a rotated box or a mask is needed"):
        register(boxes_alone(dataset, "segmentation", "rotated_box"), "boxes", rotated=True)


def test_rotated_evaluator_works_from_the_name(dataset: coco.CocoDataset, tmp_path: Path) -> None:
    """Detectron2's own loader and RotatedCOCOEvaluator; with perfect predictions."""
    name = register(dataset, "discs", rotated=True)
    loader = build_detection_test_loader(tiny_config(name, 9, tmp_path), name)
    evaluator = RotatedCOCOEvaluator(name, output_dir=str(tmp_path / "eval"))
    results = inference_on_dataset(RotatedOracle(name), loader, evaluator)
    assert results["bbox"]["AP"] == pytest.approx(100) and results["bbox"]["AP-speck"] == pytest.approx(100)


# ------------------------------------------------------------------------------------------ Detectron2's own tools


class Oracle:
    """Answers with the truth of the records, as a Detectron2 model would."""

    def __init__(self, name: str) -> None:
        self.truth = {record["image_id"]: record["annotations"] for record in DatasetCatalog.get(name)}

    def __call__(self, inputs: list[dict]) -> list[dict]:
        return [{"instances": self.instances(request)} for request in inputs]

    def instances(self, request: dict) -> Instances:
        entries = self.truth[request["image_id"]]
        boxes = np.asarray([entry["bbox"] for entry in entries], np.float32).reshape(-1, 4)
        masks = [rle.decode(entry["segmentation"]) for entry in entries]
        found = Instances((request["height"], request["width"]))
        found.pred_boxes = Boxes(torch.from_numpy(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)))
        found.scores = torch.linspace(1.0, 0.5, len(entries))
        found.pred_classes = torch.tensor([entry["category_id"] for entry in entries], dtype=torch.int64)
        found.pred_masks = torch.from_numpy(np.asarray(masks, bool).reshape(-1, request["height"], request["width"]))
        return found


class RotatedOracle(Oracle):
    """The same for a name with rotated boxes."""

    def instances(self, request: dict) -> Instances:
        entries = self.truth[request["image_id"]]
        found = Instances((request["height"], request["width"]))
        found.pred_boxes = RotatedBoxes(torch.tensor([entry["bbox"] for entry in entries]).reshape(-1, 5))
        found.scores = torch.linspace(1.0, 0.5, len(entries))
        found.pred_classes = torch.tensor([entry["category_id"] for entry in entries], dtype=torch.int64)
        return found


def tiny_config(name: str, max_instances: int, output: Path) -> CfgNode:
    spec = RcnnSpec(
        num_classes=2, backbone="resnet18", norm="bn", fpn_channels=32, box_head_width=32, mask_head_layers=1,
        mask_head_channels=32, rois_per_image=32, max_instances=max_instances, min_score=0.0,
    )  # fmt: skip
    cfg = rcnn_config(spec)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (name,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR = 2, 2, 0.001
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (SIDE,), SIDE
    cfg.OUTPUT_DIR = str(output)
    return cfg


def test_default_trainer_and_coco_evaluator_work_from_the_name(dataset: coco.CocoDataset, tmp_path: Path) -> None:
    """Two steps of Detectron2's own training, then its evaluation, on what it reads through the name."""
    name, max_instances = register(dataset, "discs"), 120
    cfg = tiny_config(name, max_instances, tmp_path / "out")
    (tmp_path / "out").mkdir()
    torch.manual_seed(0)
    trainer = DefaultTrainer(cfg)
    before = {key: value.clone() for key, value in trainer.model.named_parameters()}
    trainer.train()
    assert trainer.iter == 2
    assert any(not torch.equal(before[key], value) for key, value in trainer.model.named_parameters())
    evaluator = COCOEvaluator(name, max_dets_per_image=max_instances)
    loader = build_detection_test_loader(cfg, name)
    results = inference_on_dataset(trainer.model, loader, evaluator)
    assert set(results) == {"bbox", "segm"}
    for task in results.values():
        assert 0 <= task["AP"] <= 100 and {"AP-sphere", "AP-speck"} <= set(task)


@pytest.mark.parametrize("fast", [True, False])
def test_true_predictions_score_100(dataset: coco.CocoDataset, tmp_path: Path, fast: bool) -> None:
    name = register(dataset, "discs")
    evaluator = COCOEvaluator(name, max_dets_per_image=200, use_fast_impl=fast)
    results = inference_on_dataset(
        Oracle(name), build_detection_test_loader(tiny_config(name, 9, tmp_path), name), evaluator
    )
    assert results["segm"]["AP"] == pytest.approx(100) and results["bbox"]["AP"] == pytest.approx(100)


def test_more_than_100_particles_count_only_with_max_instances(tmp_path: Path) -> None:
    """Detectron2's evaluator drops what lies beyond 100 an image unless it is told max_instances."""
    name = register(draw(tmp_path, images=2, per_image=280), "crowd")
    loader = build_detection_test_loader(tiny_config(name, 280, tmp_path / "out"), name)
    found = {cap: inference_on_dataset(Oracle(name), loader, COCOEvaluator(name, max_dets_per_image=cap))
             for cap in (None, 280)}  # fmt: skip
    assert found[280]["segm"]["AP"] == pytest.approx(100)
    assert found[None]["segm"]["AP"] < 90
