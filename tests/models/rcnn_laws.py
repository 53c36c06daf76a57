"""What R-CNNs of both back ends learn from here, and the laws that every one of them keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tem_seg.core.types import Prediction
from tem_seg.data import rle
from tem_seg.models.contract import RcnnSpec, Target
from tem_seg.models.torchvision.chunks import BOXES, MASKS

SPEC = RcnnSpec(
    num_classes=2, backbone="resnet18", norm="bn", fpn_channels=32, box_head_width=64, mask_head_layers=1,
    mask_head_channels=32, anchor_sizes_px=(12.0, 24.0, 48.0, 96.0, 192.0), rois_per_image=64, max_instances=200,
)  # fmt: skip
DISCS = ((25, 25, 12), (60, 62, 15), (75, 20, 9))


def crop_of_discs(height: int = 96, width: int = 80) -> tuple[Tensor, Target]:
    """A bright crop with three dark discs of classes 0, 1, 0."""
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    masks = torch.stack([torch.hypot(rows - y, columns - x) <= radius for y, x, radius in DISCS])
    boxes = [[float(x - r), float(y - r), float(x + r), float(y + r)] for y, x, r in DISCS]
    image = torch.where(masks.any(dim=0), 0.2, 0.7)[None]
    return image, {"boxes": torch.tensor(boxes), "labels": torch.tensor([0, 1, 0]), "masks": masks.to(torch.uint8)}


def empty_target(height: int, width: int, *, rotated: bool = False) -> Target:
    """A crop of this size without particles."""
    masks = torch.zeros(0, height, width, dtype=torch.uint8)
    found: Target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": masks}
    return {**found, "rotated_boxes": torch.zeros(0, 5)} if rotated else found


def check_few_shapes(model: nn.Module) -> None:
    """The heads see any number of proposals and particles in a few sizes of batches, whatever the micrograph."""
    heads = model.get_submodule("roi_heads")
    seen: dict[str, set[int]] = {"box_head": set(), "mask_head": set()}
    for name, counts in seen.items():
        heads.get_submodule(name).register_forward_pre_hook(lambda _, given, counts=counts: counts.add(len(given[0])))
    with torch.no_grad():
        for side in range(48, 144, 8):
            model([torch.rand(1, side, side + 8)])
    assert seen["box_head"] and all(count % BOXES[1] == 0 for count in seen["box_head"])
    assert seen["mask_head"] and all(count % MASKS[1] == 0 and count <= MASKS[0] for count in seen["mask_head"])


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """What upright networks learn with."""
    return torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)


def check_losses(
    model: nn.Module, crop: tuple[Tensor, Target], names: set[str], optimizer: torch.optim.Optimizer, *,
    steps: int, to: float,
) -> None:  # fmt: skip
    """Named, scalar and finite at every step; the mean sum of the last three is below ``to`` of the first three's."""
    image, target = crop
    totals = []
    for _ in range(steps):
        losses = model([image], [target])
        assert set(losses) == names
        assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in losses.values())
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert np.mean(totals[-3:]) < to * np.mean(totals[:3])


def check_frames(model: nn.Module) -> list[tuple[Tensor, Prediction]]:
    """Images of any size, down to one pixel, each with what the model, capped at 150 instances, finds in it.

    Boxes and masks lie in their image; more than 100, capped, descending, of two classes.
    """
    images = [torch.rand(1, 128, 96), torch.rand(1, 70, 50), torch.rand(1, 1, 1)]
    found: Sequence[Prediction] = model(images)
    assert [len(found[0]), found[0].capped] == [150, True]
    for image, prediction in zip(images, found, strict=True):
        height, width = image.shape[1:]
        boxes = prediction.boxes
        assert boxes.dtype == np.float32 and prediction.labels.dtype == np.int64
        assert (boxes >= 0).all() and (boxes[:, [0, 2]] <= width).all() and (boxes[:, [1, 3]] <= height).all()
        assert (np.diff(prediction.scores) <= 0).all() and set(prediction.labels) <= {0, 1}
        for mask, box in zip(prediction.masks, boxes, strict=True):
            assert mask["size"] == [height, width]
            crop, x0, y0 = rle.decode_crop(mask)
            if crop.size:
                assert x0 >= np.floor(box[0]) and x0 + crop.shape[1] <= np.ceil(box[2])
                assert y0 >= np.floor(box[1]) and y0 + crop.shape[0] <= np.ceil(box[3])
    return list(zip(images, found, strict=True))
