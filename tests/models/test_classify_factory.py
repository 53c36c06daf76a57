"""What conf/model/classifier.yaml builds and refuses; that it learns, saves and loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tem_seg.core.errors import UserError
from tem_seg.models import checkpoint
from tem_seg.models.classify.factory import Classifier
from tem_seg.models.contract import Target

pytest.importorskip("timm")
SMALL = {"backbone": "test_resnet", "shown_px": [32], "particle_px": 32, "mixup": 0.0, "randaugment_ops": 0}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"level": "pixel"}, "model.level must be image or particle"),
        ({"shown_px": []}, "model.shown_px and model.particle_px must be at least 32"),
        ({"particle_px": 8}, "model.shown_px and model.particle_px must be at least 32"),
        ({"context": 0.5}, "model.context must be at least 1"),
        ({"dropout": 1.0}, r"model.dropout must lie in \[0, 1\)"),
        ({"mixup": -1.0}, "model.mixup and model.randaugment_ops must not be negative"),
        ({"randaugment_magnitude": 31}, "randaugment_magnitude 0 to 30"),
        ({"outlines": True}, "set model.level=particle and model.randaugment_ops=0"),
        ({"outlines": True, "level": "particle", "randaugment_ops": 2}, "RandAugment knows images alone"),
        ({"particles_per_crop": 0}, "particles_per_crop must be at least 1"),
        ({"backbone": "exception"}, "no model of timm: .*xception"),
        ({"backbone": "test_resnext_none", "weights": "imagenet"}, "no model of timm"),
        ({"weights": "coco"}, "no coco weights of model=classifier"),
        ({"backend": "detectron2"}, "plain torch, not detectron2"),
    ],
)
def test_what_cannot_be_built_is_refused_before_any_work(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Classifier(**SMALL | settings).about()


def test_one_class_is_nothing_to_tell_apart() -> None:
    with pytest.raises(UserError, match=r"at least two classes.*by_shape=true"):
        Classifier(**SMALL, num_classes=1).build()


def test_about_says_what_it_is() -> None:
    about = Classifier(**SMALL).about()
    assert (about["task"], about["level"], about["masks"]) == ("classification", "image", False)


def squares_and_bars(count: int) -> tuple[list[torch.Tensor], list[Target]]:
    """Crops (1, 48, 48) of a noisy square (class 0) or bar (class 1), somewhere."""
    images, targets = [], []
    for k in range(count):
        w, h = ((14, 14), (26, 6))[k % 2]
        x, y = (int(torch.randint(1, 47 - side, ())) for side in (w, h))
        image = 0.6 + 0.05 * torch.randn(1, 48, 48)
        image[:, y : y + h, x : x + w] -= 0.4
        images.append(image.clamp(0, 1))
        targets.append({"boxes": torch.tensor([[x, y, x + w, y + h]], dtype=torch.float32),
                        "labels": torch.tensor([k % 2])})  # fmt: skip
    return images, targets


@pytest.mark.parametrize("level", ["image", "particle"])
def test_it_learns_squares_from_bars_and_comes_back_from_a_file(level: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = Classifier(**SMALL | {"shown_px": [48], "mixup": 0.1}, num_classes=2, level=level)
    model = spec.build().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(30):
        loss = model(*squares_and_bars(16))["loss_class"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    images, targets = squares_and_bars(20)
    if level == "image":
        said = [int(found.labels[0]) for found in model.predict(images)]
    else:
        said = [int(model.of_particles(i, t["boxes"]).argmax()) for i, t in zip(images, targets, strict=True)]
    assert sum(k % 2 == label for k, label in enumerate(said)) >= 18

    path = tmp_path / "a.safetensors"
    checkpoint.write(path, model.state_dict(), spec.about())
    again = Classifier(**SMALL | {"shown_px": [48]}, num_classes=2, level=level, weights=str(path)).build().eval()
    torch.testing.assert_close(again.of_image(images[0]), model.of_image(images[0]), atol=2e-3, rtol=0)


def test_another_backbone_is_named_when_weights_do_not_fit(tmp_path: Path) -> None:
    spec = Classifier(**SMALL)
    checkpoint.write(tmp_path / "a.safetensors", spec.build().state_dict(), spec.about())
    other = Classifier(**SMALL | {"backbone": "test_efficientnet"}, weights=str(tmp_path / "a.safetensors"))
    with pytest.raises(UserError, match="backbone is test_resnet in the file, test_efficientnet here"):
        other.build()
