"""What the configs of models of every pixel build, refuse, save and load; and that they learn."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dense_scenes import disc, target_of
from pycocotools import mask as coco_mask
from torch import Tensor

from tem_seg.core.errors import UserError
from tem_seg.data import rle
from tem_seg.models import checkpoint
from tem_seg.models.dense import encoders
from tem_seg.models.dense.base import Levels, between_percentiles
from tem_seg.models.dense.factory import Dense, MultiresUnet, Stardist, Unet

SIZE = (64, 64)
STAR: dict[str, Any] = {"depth": 2, "width": 8, "features": 16}
SMALL = [MultiresUnet(width=4), Stardist(**STAR), Stardist(**STAR, grid=1, norm="none"), Stardist(**STAR, norm="gn")]
NAMES = ["multires", "stardist", "plain stardist", "group norm"]


ENCODED = [
    Unet(backbone="resnet18", decoder_channels=(16, 16, 8, 8, 8)),
    Stardist(backbone="resnet18", decoder_channels=(16, 16, 16, 16, 8)),
]


@pytest.fixture(params=[*SMALL, *ENCODED], ids=[*NAMES, "unet", "stardist of resnet18"])
def factory(request: pytest.FixtureRequest) -> Dense:
    if request.param.backbone == "resnet18":
        pytest.importorskip("segmentation_models_pytorch")
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("grid", [1, 2, 4])
def test_every_level_of_a_decoder_is_twice_as_fine_as_the_one_before(grid: int) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    trunk = encoders.build_levels("resnet18", (16, 16, 8, 8, 4), imagenet=False, grid=grid)
    with torch.no_grad():
        levels = trunk.network.eval()(torch.rand(1, 1, 64, 96))
    assert levels[0].shape[-2:] == (2, 3) and levels[-1].shape[-2:] == (64 // grid, 96 // grid)
    assert all(fine.shape[-1] == 2 * coarse.shape[-1] for coarse, fine in pairwise(levels))
    assert tuple(level.shape[1] for level in levels) == trunk.channels


def discs() -> tuple[Tensor, dict[str, Tensor]]:
    masks = [disc(SIZE, 18, 20, 9), disc(SIZE, 44, 40, 11)]
    target = target_of(masks)
    image = 0.8 - 0.6 * target["masks"].amax(dim=0).float()[None]
    return image, target  # type: ignore[return-value]


def test_it_overfits_a_crop_and_then_finds_its_particles(factory: Dense) -> None:
    torch.manual_seed(0)
    model, (image, target) = factory.build().train(), discs()
    mirrored = target_of([mask[:, ::-1].copy() for mask in target["masks"].numpy()])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    first = 0.0
    for _ in range(100):
        losses = model([image, image.flip(-1)], [target, mirrored])  # type: ignore[arg-type, list-item]
        total = torch.stack(list(losses.values())).sum()
        first = first or float(total.detach())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert float(total.detach()) < 0.6 * first
    model.train()  # statistics of norms over 100 steps are no average yet
    with torch.no_grad():
        found = model.predict([image])[0]
    truth = [rle.encode(mask.astype(bool)) for mask in target["masks"].numpy()]
    overlaps = coco_mask.iou(found.masks, truth, [0, 0])
    assert len(found) == 2 and (overlaps.max(axis=0) >= 0.5).all(), overlaps


def test_any_size_and_none_smaller_than_the_stride_fails(factory: Dense) -> None:
    model = factory.build().eval()
    images = [torch.rand(1, 5, 7), torch.rand(1, 33, 95), torch.full((1, 40, 40), 0.3)]
    found = model(images, frames=[(5, 7), (66, 190), (40, 40)])
    assert len(found) == 3 and all(len(f.scores) == len(f.boxes) for f in found)  # type: ignore[union-attr]


def test_what_an_image_says_does_not_depend_on_its_neighbours(factory: Dense) -> None:
    model = factory.build().eval()
    small, large = torch.rand(1, 64, 64), torch.rand(1, 64, 96)
    with torch.no_grad():
        alone, beside = model.said([small])[0], model.said([small, large])[0]
    inner = (slice(None), slice(0, 8), slice(0, 8))
    assert alone.shape[1] <= beside.shape[1]
    if factory.backbone != "resnet18" and getattr(factory, "norm", "") != "gn":  # which see the whole batch's size
        torch.testing.assert_close(alone[inner], beside[inner], atol=2e-3, rtol=1e-2)


def test_the_encoder_travels_to_loader_processes(factory: Dense) -> None:
    encode = pickle.loads(pickle.dumps(factory.build().encoder()))
    _, target = discs()
    maps = encode(target)["maps"]
    assert maps.dtype == torch.float32 and maps.ndim == 3


def test_about_is_plain_and_weights_travel(factory: Dense, tmp_path: Path) -> None:
    about = factory.about()
    assert about["backend"] == "torch" and about["masks"] is True and about["family"] == factory.FAMILY
    assert all(isinstance(value, str | int | float | bool | list) for value in about.values())
    model = factory.build()
    checkpoint.write(tmp_path / "a.safetensors", model.state_dict(), about)
    again = type(factory)(**_options(factory) | {"weights": str(tmp_path / "a.safetensors")}).build()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name].float(), value.float(), atol=2e-3, rtol=2e-3)
    with pytest.raises(UserError, match="another architecture"):
        MultiresUnet(width=5, weights=str(tmp_path / "a.safetensors")).build()


def _options(factory: Dense) -> dict[str, Any]:
    return {field.name: getattr(factory, field.name) for field in fields(factory)}


def test_weights_trained_on_other_grey_levels_are_refused(tmp_path: Path) -> None:
    small = MultiresUnet(width=4)
    before = {key: value for key, value in small.about().items() if key != "grey_levels"}
    checkpoint.write(tmp_path / "a.safetensors", small.build().state_dict(), before)
    with pytest.raises(
        UserError,
        match="by their mean and standard deviation.* 1st and 99th percentile, with what lies beyond: train it",
    ):
        MultiresUnet(width=4, weights=str(tmp_path / "a.safetensors")).build()


def test_weights_are_taken_whatever_is_said_of_the_other_backbone(tmp_path: Path) -> None:
    """Profiles say depth and width of the plain network, also where an encoder was chosen."""
    pytest.importorskip("segmentation_models_pytorch")
    encoded = Stardist(backbone="resnet18", decoder_channels=(16, 16, 16, 16, 8))
    for one, other in [
        (encoded, {"depth": 2, "width": 8, "norm": "gn"}),
        (Stardist(**STAR), {"decoder_channels": (8, 8, 8, 8, 8)}),
    ]:
        saved = one.build()
        checkpoint.write(tmp_path / "a.safetensors", saved.state_dict(), one.about())
        again = replace(one, **other, weights=str(tmp_path / "a.safetensors")).build()  # type: ignore[arg-type]
        torch.testing.assert_close(again.state_dict(), saved.state_dict(), atol=2e-3, rtol=2e-3)
    with pytest.raises(UserError, match="another architecture"):
        Stardist(**STAR, weights=str(tmp_path / "a.safetensors"), rays=16).build()


def test_other_classes_start_only_the_last_layer_anew(tmp_path: Path) -> None:
    trained = MultiresUnet(width=4).build()
    checkpoint.write(tmp_path / "a.safetensors", trained.state_dict(), MultiresUnet(width=4).about())
    other = MultiresUnet(width=4, num_classes=3, weights=str(tmp_path / "a.safetensors")).build()
    assert other.predictor.bias.shape == (4,)
    torch.testing.assert_close(other.trunk.state_dict(), trained.trunk.state_dict(), atol=2e-3, rtol=2e-3)


def test_patterns_freeze() -> None:
    with pytest.raises(UserError, match=r"keeps weights as they start, and weights=none is random"):
        MultiresUnet(freeze=("trunk.*",)).about()
    with pytest.raises(UserError, match=r"model.freeze=\['backbone'\]: the parts of an R-CNN"):
        MultiresUnet(freeze=("backbone",), weights="a.ckpt").about()


def test_frozen_weights_do_not_train(tmp_path: Path) -> None:
    small = MultiresUnet(width=4)
    trained = small.build().state_dict()
    state = {name: value + 0.01 if value.is_floating_point() else value for name, value in trained.items()}
    checkpoint.write(tmp_path / "a.safetensors", state, small.about())
    model = MultiresUnet(width=4, weights=str(tmp_path / "a.safetensors"), freeze=("trunk.down.*",)).build()
    assert not any(p.requires_grad for n, p in model.named_parameters() if n.startswith("trunk.down."))
    assert all(weights.requires_grad for weights in model.predictor.parameters())


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            MultiresUnet(weights="coco"),
            "there are no coco weights of model=multires_unet: set model.weights to",
        ),
        (Stardist(weights="coco"), "there are no coco weights of model=stardist"),
        (Stardist(weights="imagenet"), "there are no imagenet weights of model.backbone=plain: take an encoder"),
        (Stardist(backbone="resnet18", decoder_channels=(8, 8)), "model.decoder_channels needs 5 positive numbers"),
        (Stardist(backend="detectron2"), "model=stardist is plain torch, not detectron2"),
        (Stardist(grid=3), "model.grid 1, 2 or 4"),
        (Stardist(norm="gn", width=12), "with model.norm=gn width a multiple of 8"),
        (Stardist(object_score=0.0), "model.object_score must lie between 0 and 1"),
        (MultiresUnet(seed_level=1.0), "model.seed_level must lie between 0 and 1"),
        (MultiresUnet(width=2), "model.width must be at least 4"),
        (Unet(decoder_channels=(8, 8)), "model.decoder_channels needs 5 positive numbers"),
    ],
)
def test_what_cannot_be_built_is_refused_before_any_work(made: Dense, message: str) -> None:
    with pytest.raises(UserError, match=message):
        made.about()


def test_without_the_package_unet_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'tem_seg\[models\]'; model=multires_unet, and .* need nothing"):
        Unet().about()


def test_an_encoder_that_there_is_not() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    with pytest.raises(UserError, match="model.backbone=resnet19 is no encoder.*resnet18"):
        Unet(backbone="resnet19").about()
    with pytest.raises(UserError, match="model.backbone=plane is neither plain nor an encoder"):
        Stardist(backbone="plane").about()
    with pytest.raises(UserError, match="model.backbone=tu-nothing cannot be built"):
        Unet(backbone="tu-nothing", weights="none").build()


def test_imagenet_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("segmentation_models_pytorch")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", refuse)
    with pytest.raises(UserError, match=r"the imagenet weights of resnet18 cannot be had \(no route\).*weights=none"):
        Unet(backbone="resnet18", weights="imagenet").build()


def test_contrast_and_brightness_of_a_micrograph_do_not_matter() -> None:
    torch.manual_seed(0)
    model, (image, _) = Stardist(**STAR).build().eval(), discs()
    with torch.no_grad():
        torch.testing.assert_close(model.said([image]), model.said([0.3 + 0.2 * image]), rtol=1e-3, atol=1e-4)


def test_a_constant_image_stays_finite_and_its_faint_noise_small() -> None:
    assert torch.equal(between_percentiles(torch.full((1, 8, 8), 0.3)), torch.zeros(1, 8, 8))
    faint = 0.5 + 1e-4 * torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert float(between_percentiles(faint).abs().max()) < 0.05


@pytest.mark.parametrize("power", [1, 3, 0.2])
def test_dark_and_bright_are_numpys_percentiles(power: float) -> None:
    image = torch.rand(1, 297, 243, generator=torch.Generator().manual_seed(0)) ** power
    low, high = np.percentile(image.numpy(), [1, 99])
    wanted = 4 * (image - (low + high) / 2) / (high - low)
    torch.testing.assert_close(between_percentiles(image), wanted.float(), rtol=0, atol=5e-3)
    assert torch.equal(between_percentiles(image.flip(2)), between_percentiles(image).flip(2))


def test_particles_stand_out_as_much_wherever_there_are_many() -> None:
    """Dark discs on light ground, one and 64 of them; by mean and standard deviation 9.6 and 2.1 apart."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:256, :256]
    for places in ([(128, 128)], [(20 + 32 * i, 20 + 32 * j) for i in range(8) for j in range(8)]):
        inside = np.any([np.hypot(rows - y, columns - x) < 15 for y, x in places], axis=0)
        picture = np.where(inside, 0.2, 0.7) + 0.01 * rng.standard_normal(inside.shape)
        shown = between_percentiles(torch.from_numpy(picture.astype(np.float32))[None])[0].numpy()
        assert shown[~inside].mean() - shown[inside].mean() == pytest.approx(3.8, abs=0.15)


def test_what_levels_say_adds_up_and_a_slope_goes_on() -> None:
    """A distance that grows by 4 px a pixel of the coarse level grows by 1 px where it is four times as fine."""
    model = Levels((1, 1, 2), 3)
    assert model([torch.rand(1, 1, 4, 4), torch.rand(1, 1, 8, 8), torch.zeros(1, 2, 16, 16)]).unique().tolist() == [
        -2.0
    ]
    coarse = 4.0 * torch.arange(4.0).expand(1, 1, 4, 4)
    torch.nn.init.ones_(model.heads[0].weight)  # type: ignore[arg-type]
    said = model([coarse, torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, 16, 16)])
    assert said.shape == (1, 3, 16, 16)
    torch.testing.assert_close(said[0, 0, 5, 3:-3].diff(), torch.ones(9))
