"""Weights on disk: what is wrong with a file is said, and no file is run as code."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from tem_seg.core.errors import UserError
from tem_seg.models import checkpoint


class Tiny(nn.Module):
    """A body, and a predictor whose width is the number of classes."""

    def __init__(self, classes: int = 2, width: int = 4, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Linear(3, width)
        self.box_predictor = nn.Linear(width, classes)


ABOUT = {"family": "rcnn", "backend": "torchvision", "backbone": "resnet18", "categories": ["rod", "cube"]}


def save(path: Path, model: nn.Module, about: dict | None = ABOUT) -> Path:
    """As Lightning writes it: every name behind "model."."""
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state} | ({"tem_seg": about} if about else {}), path)
    return path


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_written_weights_are_read_back(tmp_path: Path) -> None:
    trained, fresh = Tiny(seed=1), Tiny(seed=2)
    about = checkpoint.load(fresh, save(tmp_path / "a.ckpt", trained), categories=["rod", "cube"])
    assert same(trained, fresh) and about == ABOUT


def test_other_classes_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", Tiny())
    with pytest.raises(UserError, match=r"knows the classes \['rod', 'cube'\], this run has \['cube', 'rod'\]"):
        checkpoint.load(Tiny(), path, categories=["cube", "rod"])


@pytest.mark.parametrize("categories", [["rod", "cube"], None], ids=["own classes", "any classes"])
def test_another_architecture_is_named(tmp_path: Path, categories: list[str] | None) -> None:
    path = save(tmp_path / "a.ckpt", Tiny(width=8))
    with pytest.raises(UserError, match="holds another architecture \\(torchvision resnet18\\)") as error:
        checkpoint.load(Tiny(width=4), path, categories=categories)
    assert "body.weight: (8, 3) in the file, (4, 3) in the model" in str(error.value)
    assert "Use the model settings it was trained with" in str(error.value)


def test_a_backbone_alone_is_taken_from_another_model(tmp_path: Path) -> None:
    def model(width: int, head: int, seed: int) -> nn.ModuleDict:
        torch.manual_seed(seed)
        return nn.ModuleDict({"backbone": nn.Linear(3, width), "head": nn.Linear(width, head)})

    path = save(tmp_path / "a.ckpt", trained := model(4, 2, 0))
    fresh = model(4, 5, 1)
    before = fresh["head"].weight.clone()
    checkpoint.load_backbone(fresh, path)
    assert torch.equal(fresh["backbone"].weight, trained["backbone"].weight) and torch.equal(
        fresh["head"].weight, before
    )
    with pytest.raises(UserError, match=r"another backbone: 2 of other shape \(backbone.weight: \(4, 3\) in the file"):
        checkpoint.load_backbone(model(8, 2, 2), path)
    with pytest.raises(UserError, match="another backbone: none by that name"):
        checkpoint.load_backbone(fresh, save(tmp_path / "b.ckpt", nn.ModuleDict({"trunk": nn.Linear(3, 4)})))


def test_missing_and_unknown_weights_are_counted(tmp_path: Path) -> None:
    other = nn.ModuleDict({"trunk": nn.Linear(3, 4), "box_predictor": nn.Linear(4, 2)})
    path = save(tmp_path / "a.ckpt", other)
    with pytest.raises(UserError, match=r"2 weights missing \(body.bias, body.weight\); 2 unknown \(trunk.bias"):
        checkpoint.load(Tiny(), path)


def test_a_refused_file_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model, path = Tiny(seed=5), save(tmp_path / "a.ckpt", Tiny(width=8))
    with pytest.raises(UserError, match="another architecture"):
        checkpoint.load(model, path)
    assert same(model, Tiny(seed=5))


def test_fine_tuning_starts_with_another_number_of_classes(tmp_path: Path) -> None:
    """The body is taken over; the layer that depends on the classes keeps its random start."""
    trained, fresh = Tiny(classes=2, seed=1), Tiny(classes=7, seed=2)
    checkpoint.load(fresh, save(tmp_path / "a.ckpt", trained))
    assert torch.equal(fresh.body.weight, trained.body.weight)
    assert torch.equal(fresh.box_predictor.weight, Tiny(classes=7, seed=2).box_predictor.weight)


def test_matching_weights_alone_are_taken_from_a_foreign_start() -> None:
    model = Tiny(seed=3)
    state = {"body.weight": torch.ones(4, 3), "body.bias": torch.ones(9), "fc.weight": torch.ones(2)}
    assert checkpoint.load_matching(model, state) == 1
    assert model.body.weight.eq(1).all() and not model.body.bias.eq(1).all()


# ------------------------------------------------------------------------------------------------ bad files


class Malicious:
    """Unpickled, it would make a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("how", ["torch", "plain pickle", "inside a state"])
def test_a_malicious_pickle_is_not_executed(tmp_path: Path, how: str) -> None:
    path, mark = tmp_path / "evil.ckpt", tmp_path / "executed"
    if how == "torch":
        torch.save(Malicious(mark), path)
    elif how == "plain pickle":
        path.write_bytes(pickle.dumps(Malicious(mark)))
    else:
        torch.save({"state_dict": {"model.body.weight": torch.zeros(1)}, "extra": Malicious(mark)}, path)
    with pytest.raises(UserError, match="evil.ckpt is not a checkpoint that can be loaded as weights only"):
        checkpoint.read(path)
    assert not mark.exists()


def damaged(whole: bytes) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {
        "empty": b"",
        "text": b"not a checkpoint\n" * 30,
        "json": b'{"state_dict": {}}',
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "truncated": whole[: len(whole) // 2],
        "without its end": whole[:-30],
        "noise": rng.bytes(2000),
        "pickle opcodes": bytes(rng.choice(list(b"(lp0\nI1\nat.c\x80\x02}q\x00sSR"), 400).tolist()),
        "overwritten": whole[:100] + bytes(300) + whole[400:],
    }


@pytest.mark.parametrize("kind", list(damaged(b"")))
def test_a_damaged_file_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(damaged(save(path, Tiny()).read_bytes())[kind])
    with pytest.raises(UserError, match="last.ckpt"):
        checkpoint.read(path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint at .*gone.ckpt: run the 'train' stage, or give model.weights="):
        checkpoint.read(tmp_path / "gone.ckpt")


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"model": {}}, {"state_dict": [1]}, torch.zeros(3)],
    ids=["list", "other dict", "no table", "tensor"],
)
def test_a_file_of_something_else_is_no_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match="other.pth is no checkpoint of tem_seg: it has no 'state_dict'"):
        checkpoint.read(tmp_path / "other.pth")


# ---------------------------------------------------------------------------------------- safetensors, starter


def test_safetensors_hold_half_precision_on_disk_and_float32_in_the_model(tmp_path: Path) -> None:
    trained, path = Tiny(seed=1), tmp_path / "a.safetensors"
    trained.register_buffer("seen", torch.tensor(70000))
    trained.register_buffer("variance", torch.tensor([1e6, 1e-9]))  # both beyond half precision
    checkpoint.write(path, trained.state_dict(), ABOUT)
    content = checkpoint.read(path)
    assert content["tem_seg"] == ABOUT
    with safe_open(path, "pt") as file:
        assert file.get_tensor("body.weight").dtype == torch.float16
    state = content["state_dict"]
    assert state["body.weight"].dtype == torch.float32 and state["seen"] == 70000
    assert torch.equal(state["variance"], trained.variance) and torch.equal(state["body.bias"], trained.body.bias)
    torch.testing.assert_close(state["body.weight"], trained.body.weight.detach(), rtol=5e-4, atol=1e-6)
    fresh = Tiny(seed=2)
    fresh.register_buffer("seen", torch.tensor(0))
    fresh.register_buffer("variance", torch.zeros(2))
    assert checkpoint.load(fresh, path, categories=["rod", "cube"]) == ABOUT
    checkpoint.write(tmp_path / "b.safetensors", fresh.state_dict(), ABOUT)
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_weights_beyond_half_precision_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="body.weight does not fit half precision"):
        checkpoint.write(tmp_path / "a.safetensors", {"body.weight": torch.full((2, 2), 1e5)}, ABOUT)
    assert not list(tmp_path.iterdir())


def test_settings_that_differ_are_named_side_by_side(tmp_path: Path) -> None:
    """Anchors change no shape: without this the model would load and find the wrong boxes."""
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, Tiny().state_dict(), ABOUT | {"anchor_sizes_px": [8.0, 16.0], "weights": "none"})
    settings = {"anchor_sizes_px": [16.0, 32.0], "backbone": "resnet50", "weights": str(path), "later": 1}
    with pytest.raises(UserError) as error:
        checkpoint.load(Tiny(), path, settings=settings)
    assert "anchor_sizes_px is [8.0, 16.0] in the file, [16.0, 32.0] here" in str(error.value)
    assert "backbone is resnet18 in the file, resnet50 here" in str(error.value)
    assert "weights is" not in str(error.value) and "later" not in str(error.value)
    checkpoint.load(Tiny(), path, settings={"anchor_sizes_px": [8.0, 16.0], "max_instances": 5})


def test_classes_that_start_anew_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tem_seg"):
        checkpoint.load(Tiny(classes=7), save(tmp_path / "a.ckpt", Tiny()))
    assert "other classes (['rod', 'cube']): box_predictor.weight, box_predictor.bias start from" in caplog.text


@pytest.mark.parametrize("cut", [0, 4, 30, 200, -1])
def test_a_truncated_safetensors_file_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, Tiny().state_dict(), ABOUT)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="a.safetensors is not a safetensors file that can be read"):
        checkpoint.read(path)


def test_a_pickle_under_the_name_of_safetensors_is_not_executed(tmp_path: Path) -> None:
    path, mark = tmp_path / "evil.safetensors", tmp_path / "executed"
    torch.save(Malicious(mark), path)
    with pytest.raises(UserError, match="evil.safetensors is not a safetensors file"):
        checkpoint.read(path)
    assert not mark.exists()


def test_no_damage_escapes_as_another_error(tmp_path: Path) -> None:
    """Every byte string is either read or refused; nothing is run."""
    rng, path = np.random.default_rng(1), tmp_path / "a.ckpt"
    whole = bytearray(save(path, Tiny()).read_bytes())
    for _ in range(150):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 8):
            broken[place] = rng.integers(256)
        path.write_bytes(broken[: rng.integers(1, len(whole) + 1)])
        with contextlib.suppress(UserError):
            checkpoint.read(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    model = Tiny()
    model.body.bias.data[1] = value
    with pytest.raises(UserError, match="1 weights hold values that are not finite, e.g. model.body.bias"):
        checkpoint.read(save(tmp_path / "a.ckpt", model))


@pytest.mark.parametrize("content", [{"state_dict": {"a": 1}}, {"state_dict": {"a": torch.zeros(1)}, "tem_seg": "x"}])
def test_a_table_of_something_else_is_no_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="a.ckpt is no checkpoint of tem_seg"):
        checkpoint.read(tmp_path / "a.ckpt")


@pytest.mark.parametrize("told", ["5", "[1]", '"x"', "{"])
def test_what_safetensors_say_of_themselves_is_a_table(tmp_path: Path, told: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"tem_seg": told})
    with pytest.raises(UserError, match="a.safetensors is no"):
        checkpoint.about_in(path)


def test_what_a_checkpoint_says_of_itself_is_told_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, Tiny().state_dict(), {"categories": ["rod"]})
    monkeypatch.setattr(checkpoint, "_read_safetensors", lambda path: pytest.fail("weights were read"))
    assert checkpoint.about_in(path) == {"categories": ["rod"]}


def test_starter_is_the_packages_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "files", lambda package: tmp_path)
    with pytest.raises(UserError, match="model.weights=starter, but this installation of tem_seg has no .*starter.saf"):
        checkpoint.path_of("starter")
    checkpoint.write(tmp_path / "weights" / "starter.safetensors", Tiny().state_dict(), ABOUT)
    path = checkpoint.path_of("starter")
    assert path == tmp_path / "weights" / "starter.safetensors" and checkpoint.path_of("a.ckpt") == Path("a.ckpt")
    with pytest.raises(UserError, match="backbone is resnet18 in the file, resnet50 here.*: model=starter"):
        checkpoint.load(Tiny(), path, settings={"backbone": "resnet50"})
