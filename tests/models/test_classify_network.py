"""A classifier keeps the contract: losses of crops, one box a class around the frame; constant and odd images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tem_seg.core.errors import UserError
from tem_seg.models.classify.network import UNKNOWN, Look, ShapeClassifier, Training, class_of
from tem_seg.models.contract import Target

PLAIN = Training(mixup=0.0, randaugment_ops=0, randaugment_magnitude=9, smoothing=0.0, particles_per_crop=8)


class Mean(nn.Module):
    """The mean of what is shown, as the only feature."""

    def forward(self, shown: Tensor) -> Tensor:
        return shown.mean(dim=(2, 3))


def classifier(
    *, particles: bool = False, training: Training = PLAIN, context: float = 1.0, outlines: bool = False
) -> ShapeClassifier:
    torch.manual_seed(0)
    look = Look(particles=particles, shown_px=(32, 48), particle_px=32, context=context, outlines=outlines)
    return ShapeClassifier(Mean(), 1 + outlines, num_classes=3, look=look, training=training)


def target(*labels: int, box: tuple[float, ...] = (8, 8, 24, 24)) -> Target:
    boxes = torch.tensor([box] * len(labels), dtype=torch.float32).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}


@pytest.mark.parametrize(
    ("labels", "expected"), [([2, 1, 2], 2), ([1, 0], 0), ([], UNKNOWN), ([1], 1), ([0, 2, 2, 0, 1], 0)]
)
def test_the_class_of_a_micrograph_is_the_one_that_most_particles_have(labels: list[int], expected: int) -> None:
    assert int(class_of(torch.tensor(labels, dtype=torch.int64))) == expected


def test_a_prediction_is_one_box_a_class_around_the_frame() -> None:
    found = classifier().eval().predict([torch.rand(1, 40, 60)], [(400, 600)])[0]
    np.testing.assert_array_equal(found.boxes, np.tile([0, 0, 600, 400], (3, 1)))
    assert sorted(found.labels.tolist()) == [0, 1, 2] and (np.diff(found.scores) <= 0).all()
    assert found.scores.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (32, 32), (700, 40)])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_constant_images_of_any_size_have_probabilities(size: tuple[int, int], level: float) -> None:
    found = classifier().eval().of_image(torch.full((1, *size), level))
    assert torch.isfinite(found).all() and float(found.sum()) == pytest.approx(1.0)


def test_losses_are_the_cross_entropy_of_crops_that_show_particles() -> None:
    model = classifier().train()
    images = [torch.rand(1, 32, 32) for _ in range(3)]
    loss = model(images, [target(0), target(), target(2)])["loss_class"]
    logits = model._said(torch.stack([images[0], images[2]]))
    expected = -logits.log_softmax(dim=1)[[0, 1], [0, 2]].mean()
    assert loss.item() == pytest.approx(expected.item())


def test_nothing_is_learnt_from_crops_without_particles() -> None:
    for particles in (False, True):
        model = classifier(particles=particles).train()
        loss = model([torch.rand(1, 32, 32)] * 2, [target(), target()])["loss_class"]
        loss.backward()
        assert loss.item() == 0.0 and model.predictor.weight.grad is not None


def test_crops_of_other_sizes_go_together() -> None:
    model = classifier().train()
    assert torch.isfinite(model([torch.rand(1, 32, 40), torch.rand(1, 50, 20)], [target(0), target(1)])["loss_class"])


def test_random_augmentation_and_mixup_follow_torchs_seed() -> None:
    training = Training(mixup=0.4, randaugment_ops=2, randaugment_magnitude=15, smoothing=0.1, particles_per_crop=2)
    model, images = classifier(training=training).train(), [torch.rand(1, 32, 32) for _ in range(4)]
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(float(model(images, [target(0), target(1), target(2), target(0)])["loss_class"]))
    assert losses[0] == losses[1] != losses[2]


def test_every_operation_of_random_augmentation_keeps_one_grey_channel_in_range() -> None:
    training = Training(mixup=0.0, randaugment_ops=1, randaugment_magnitude=30, smoothing=0.0, particles_per_crop=2)
    model, image = classifier(training=training), torch.rand(1, 32, 32)
    torch.manual_seed(0)
    for _ in range(100):
        found = model._augment(image)
        assert found.shape == (1, 32, 32) and torch.isfinite(found).all()
        assert float(found.min()) >= -0.01 and float(found.max()) <= 1.01


def test_a_square_around_a_particle_shows_its_context_and_grey_beyond_the_edge() -> None:
    image = torch.zeros(1, 64, 64)
    image[:, 16:32, 16:32] = 1.0
    box = torch.tensor([[16.0, 16, 32, 32]])
    own = classifier(context=1.0)._squares(image, box, None)[0, 0]
    assert float(own[4:-4, 4:-4].min()) == pytest.approx(1.0)
    assert float(own.min()) == pytest.approx(0.75**2)  # half of a px's half outside, both ways: bilinear
    assert float(classifier(context=2.0)._squares(image, box, None).mean()) == pytest.approx(0.25, abs=0.03)
    beyond = classifier(context=1.0)._squares(image, torch.tensor([[-40.0, -40, -8, -8]]), None)
    assert float((beyond - 0.45).abs().max()) < 1e-6


def test_particles_keep_their_order_and_none_is_a_case() -> None:
    model = classifier(particles=True).eval()
    image = torch.cat([torch.zeros(1, 32, 64), torch.ones(1, 32, 64)], dim=1)
    boxes = torch.tensor([[4.0, 4, 20, 20], [4, 40, 20, 56]])
    found, turned = model.of_particles(image, boxes), model.of_particles(image, boxes.flip(0))
    torch.testing.assert_close(found, turned.flip(0))
    assert not torch.allclose(found[0], found[1])
    assert model.of_particles(image, boxes[:0]).shape == (0, 3)


def test_the_encoder_drops_masks() -> None:
    encode = classifier().encoder()
    assert set(encode({**target(1), "masks": torch.zeros(1, 8, 8)})) == {"boxes", "labels"}


def test_outlines_are_shown_where_the_grey_values_are() -> None:
    model = classifier(particles=True, outlines=True, context=2.0)
    masks = torch.zeros(2, 48, 48, dtype=torch.uint8)
    masks[0, 10:20, 12:28], masks[1, 30:48, 30:40] = 1, 1
    boxes = torch.tensor([[12.0, 10, 28, 20], [30, 30, 40, 48]])
    there = {"boxes": boxes, "labels": torch.tensor([0, 2]), "masks": masks}
    encoded = model.encoder()(there)  # type: ignore[misc, arg-type]
    assert set(encoded) == {"boxes", "labels", "maps"} and encoded["maps"].shape == (2, 1, 32, 32)
    image = masks.amax(dim=0)[None].float()
    shown, labels = model._samples([image], [encoded])
    assert shown.shape == (2, 2, 32, 32) and sorted(labels.tolist()) == [0, 2]
    torch.testing.assert_close(
        shown[:, 0][shown[:, 1] > 0.999], torch.ones(()).expand(int((shown[:, 1] > 0.999).sum()))
    )
    alone = model.of_particles(image, boxes, encoded["maps"])
    torch.testing.assert_close(alone.flip(0), model.of_particles(image, boxes.flip(0), encoded["maps"].flip(0)))


def test_outlines_need_masks() -> None:
    encode = classifier(particles=True, outlines=True).encoder()
    with pytest.raises(UserError, match="needs masks to train on"):
        encode(target(1))  # type: ignore[misc]
