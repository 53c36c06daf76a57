"""Rotated Faster R-CNN of Detectron2's parts, and its own trainer on our records through our mapper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tem_seg.models.detectron2 import INSTALL_HINT

pytest.importorskip("detectron2", reason=f"detectron2 is not installed ({INSTALL_HINT})")

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, build_detection_train_loader, transforms
from detectron2.engine import DefaultTrainer
from detectron2.modeling.anchor_generator import RotatedAnchorGenerator
from detectron2.modeling.proposal_generator.rrpn import RRPN
from detectron2.modeling.roi_heads.rotated_fast_rcnn import RROIHeads
from detectron2.structures import BoxMode, RotatedBoxes
from rcnn_laws import check_losses

from tem_seg.core.errors import UserError
from tem_seg.core.geometry import enclosing_boxes, rotated_boxes_corners
from tem_seg.data import coco, rle
from tem_seg.data.images import write_png
from tem_seg.models.contract import RcnnSpec, Target
from tem_seg.models.detectron2.catalog import register
from tem_seg.models.detectron2.config import rcnn_config
from tem_seg.models.detectron2.rcnn import Detectron2Rcnn
from tem_seg.models.detectron2.rotated import RodTransform
from tem_seg.models.detectron2.rotated_mapper import RotatedMapper
from tem_seg.models.rcnn import Rcnn
from tem_seg.models.torchvision.rotated_boxes import canonical
from tem_seg.models.torchvision.rotated_ops import paired_iou, pairwise_iou

SPEC = RcnnSpec(
    num_classes=2, masks=False, rotated=True, backbone="resnet18", norm="bn", fpn_channels=32, box_head_width=64,
    anchor_sizes_px=(12.0, 24.0, 48.0, 96.0, 192.0), anchor_aspect_ratios=(2.0, 4.0),
    anchor_angles_deg=(-90.0, -45.0, 0.0, 45.0), rois_per_image=32, max_instances=60,
)  # fmt: skip
SIDE = 96
RODS = np.array([[30.0, 30, 8, 40, 40], [60, 60, 10, 44, -70], [25, 75, 8, 30, 5]])


def build(spec: RcnnSpec = SPEC, seed: int = 0) -> Detectron2Rcnn:
    torch.manual_seed(seed)
    return Detectron2Rcnn(spec)


def crop_of_rods() -> tuple[Tensor, Target]:
    crops = [rle.from_polygons([shape.ravel().tolist()], (SIDE, SIDE)) for shape in rotated_boxes_corners(RODS)]
    seen = np.stack([rle.decode(crop) for crop in crops]).astype(bool).any(axis=0)
    image = torch.from_numpy(np.where(seen, 0.9, 0.2).astype(np.float32))[None]
    return image, {
        "boxes": torch.from_numpy(enclosing_boxes(RODS)).float(), "labels": torch.tensor([0, 1, 0]),
        "rotated_boxes": torch.from_numpy(RODS).float(),
    }  # fmt: skip


def dataset(folder: Path) -> coco.CocoDataset:
    """One 16-bit micrograph with three rods, one without."""
    grey = np.full((SIDE, SIDE), 9000, np.uint16)
    annotations = []
    for index, shape in enumerate(rotated_boxes_corners(RODS)):
        mask = rle.from_polygons([shape.ravel().tolist()], (SIDE, SIDE))
        grey[rle.decode(mask).astype(bool)] = 40000
        annotations.append(
            coco.annotation_of(mask, 1, 1 + index % 2, index + 1) | {"rotated_box": RODS[index].tolist()}
        )
    for name, pixels in (("1.png", grey), ("2.png", np.full((SIDE, SIDE), 9000, np.uint16))):
        write_png(folder / name, pixels)
    images = [{"id": k, "file_name": f"{k}.png", "height": SIDE, "width": SIDE} for k in (1, 2)]
    coco.write(folder / "dataset.json", images, annotations, ["rod", "tube"])
    return coco.read(folder / "dataset.json")


def test_it_is_made_of_detectron2s_parts() -> None:
    network = build().network
    assert type(network.proposal_generator) is RRPN and type(network.roi_heads) is RROIHeads
    assert type(network.proposal_generator.anchor_generator) is RotatedAnchorGenerator
    assert network.proposal_generator.anchor_generator.num_cell_anchors == [8] * 5
    spec = replace(SPEC, max_instances=1234)
    cfg = rcnn_config(spec)
    rpn = cfg.MODEL.RPN
    assert spec.predicting_proposals == (rpn.PRE_NMS_TOPK_TEST, rpn.POST_NMS_TOPK_TEST)
    assert [rpn.PRE_NMS_TOPK_TRAIN, rpn.POST_NMS_TOPK_TRAIN, cfg.TEST.DETECTIONS_PER_IMAGE] == [1234] * 3


def test_losses_are_named_finite_and_fall() -> None:
    model = build(replace(SPEC, norm="gn")).train()
    names = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    check_losses(model, crop_of_rods(), names, optimizer, steps=12, to=0.8)


def test_negative_crops_train() -> None:
    nothing: Target = {
        "boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "rotated_boxes": torch.zeros(0, 5)
    }  # fmt: skip
    losses = build().train()([torch.rand(1, 64, 96)], [nothing])
    assert losses["loss_box_reg"] == 0 and losses["loss_cls"] > 0
    sum(losses.values()).backward()


def test_targets_without_rotated_boxes_are_refused() -> None:
    image, target = crop_of_rods()
    del target["rotated_boxes"]
    with pytest.raises(ValueError, match="needs targets with rotated_boxes"):
        build().train()([image], [target])


def test_predictions_keep_the_contract() -> None:
    """Frames, order, caps; canonical boxes, and upright ones that enclose them."""
    model = build(replace(SPEC, min_score=0.0, nms_iou=0.95)).eval()
    (small,), (large,) = (model([torch.full((1, 90, 70), 0.4)], frames=frames) for frames in (None, [(180, 140)]))
    assert len(small) == 60 and small.capped and small.masks is None
    assert (np.diff(small.scores) <= 0).all() and (small.rotated_boxes[:, 2] <= small.rotated_boxes[:, 3]).all()
    around = enclosing_boxes(small.rotated_boxes).clip(0, [70, 90, 70, 90])
    np.testing.assert_allclose(small.boxes, around, atol=1e-3)
    np.testing.assert_allclose(large.rotated_boxes[:, :4], 2 * small.rotated_boxes[:, :4], rtol=1e-4, atol=1e-3)
    (none,) = build(replace(SPEC, min_score=1.0)).eval()([torch.rand(1, 64, 64)])
    assert len(none) == 0 and none.rotated_boxes.shape == (0, 5) and none.boxes.shape == (0, 4)


def test_a_rod_has_no_head_for_its_transform() -> None:
    """Targets come back, are small through the wrap, and do not jump where a square's sides change places."""
    draw = torch.Generator().manual_seed(0)
    low, high = torch.tensor([0.0, 0, 3, 3, -90]), torch.tensor([90.0, 90, 60, 60, 90])
    sources, truths = (low + (high - low) * torch.rand(50, 5, generator=draw) for _ in range(2))
    rods = RodTransform((10.0, 10.0, 5.0, 5.0, 5.0))
    again = rods.apply_deltas(rods.get_deltas(sources, truths), sources)
    np.testing.assert_allclose(paired_iou(again, truths), 1, atol=1e-3)
    torch.testing.assert_close(again, canonical(truths), rtol=1e-3, atol=1e-2)
    anchor = torch.tensor([[0.0, 0, 5, 40, 80]])
    assert rods.get_deltas(anchor, torch.tensor([[0.0, 0, 5, 40, -85]]))[0, 4] == pytest.approx(
        5 * np.deg2rad(15), rel=1e-4
    )
    square = torch.tensor([[0.0, 0, 20, 20, 5]])
    just = [rods.get_deltas(square, canonical(torch.tensor([[0, 0, width, 20, 9.0]]))) for width in (19.99, 20.01)]
    torch.testing.assert_close(*just, rtol=0, atol=0.01)
    assert rods.apply_deltas(torch.zeros(3, 15), sources[:3]).shape == (3, 15)


def test_masks_in_rotated_boxes_are_refused_before_any_work() -> None:
    settings: dict[str, Any] = {
        "rotated": True,
        "anchor_angles_deg": (0.0,),
        "refine_masks": False,
        "weights": "none",
        "norm": "bn",
    }
    with pytest.raises(UserError, match="detectron2 has no masks in rotated boxes: .*model=rotated_faster_rcnn"):
        Rcnn(**settings, backend="detectron2").about()


CHANGES = {
    "none": [],
    "flip": [transforms.RandomFlip(1.0)],
    "vertical": [transforms.RandomFlip(1.0, horizontal=False, vertical=True)],
    "rotate": [transforms.RandomRotation([33.0, 33.0])],
    "resize": [transforms.Resize((192, 192))],
    "crop": [transforms.RandomCrop("absolute", (60, 60))],
    "all": [
        transforms.RandomFlip(1.0),
        transforms.RandomRotation([-20.0, -20.0]),
        transforms.RandomCrop("relative", (0.7, 0.8)),
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_mapper_moves_boxes_with_the_picture(tmp_path: Path, change: str) -> None:
    """A box goes where its rod goes: inside it the picture is bright, just outside its long sides dark."""
    record = DatasetCatalog.get(register(dataset(tmp_path), "rods", rotated=True))[0]
    before = [list(entry["bbox"]) for entry in record["annotations"]]
    made = RotatedMapper(CHANGES[change])(record)
    image, instances = made["image"], made["instances"]
    assert image.shape[0] == 3 and image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 255
    assert [entry["bbox"] for entry in record["annotations"]] == before  # nothing changed in place
    assert isinstance(instances.gt_boxes, RotatedBoxes) and tuple(image.shape[1:]) == instances.image_size
    bright = (image[0] > 128).numpy()
    for cx, cy, w, h, angle in instances.gt_boxes.tensor.tolist():
        if min(w, h) < 5:
            continue
        corners = rotated_boxes_corners(np.array([[cx, cy, 0.7 * w, 0.9 * h, angle]]))[0]
        inner = rle.decode(rle.from_polygons([corners.ravel().tolist()], bright.shape)).astype(bool)
        assert bright[inner].mean() > 0.9
    if change in ("none", "flip", "vertical", "resize"):
        assert len(instances) == 3
    if change == "rotate":
        turned = instances.gt_boxes.tensor[:, 4] - torch.tensor(RODS[:, 4])
        np.testing.assert_allclose((turned - 33 + 90) % 180 - 90, 0, atol=3)


def test_mapper_without_truth(tmp_path: Path) -> None:
    name = register(dataset(tmp_path), "rods", rotated=True)
    empty = RotatedMapper()(DatasetCatalog.get(name)[1])
    assert len(empty["instances"]) == 0 and empty["instances"].gt_boxes.tensor.shape == (0, 5)
    shown = RotatedMapper(is_train=False)(DatasetCatalog.get(name)[0])
    assert "instances" not in shown and "annotations" not in shown


def test_mapper_refuses_upright_records(tmp_path: Path) -> None:
    record = DatasetCatalog.get(register(dataset(tmp_path), "rods"))[0]
    assert record["annotations"][0]["bbox_mode"] == BoxMode.XYWH_ABS
    with pytest.raises(UserError, match="1.png: bbox .* is no rotated box .*rotated=True"):
        RotatedMapper()(record)


class RotatedTrainer(DefaultTrainer):
    """Detectron2's own trainer; the mapper is all that a user adds."""

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        return build_detection_train_loader(cfg, mapper=RotatedMapper.of(cfg))


def test_detectron2s_default_trainer_trains_on_our_records(tmp_path: Path) -> None:
    name = register(dataset(tmp_path), "rods", rotated=True)
    cfg = rcnn_config(SPEC)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (name,), ()
    cfg.DATALOADER.NUM_WORKERS, cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = 0, False
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR = 2, 2, 1e-3
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (96,), 96
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "relative", [0.9, 0.9]
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    (tmp_path / "out").mkdir()
    trainer = RotatedTrainer(cfg)
    before = {key: value.clone() for key, value in trainer.model.named_parameters()}
    trainer.train()
    assert trainer.iter == 2
    assert any(not torch.equal(before[key], value) for key, value in trainer.model.named_parameters())


def test_what_both_back_ends_find_is_comparable() -> None:
    """The same contract: rotated boxes that ours measures."""
    (found,) = build(replace(SPEC, min_score=0.0)).eval()([crop_of_rods()[0]])
    overlap = pairwise_iou(torch.from_numpy(RODS).float(), torch.from_numpy(found.rotated_boxes))
    assert torch.isfinite(overlap).all()
