"""``python -m tem_seg.export CHECKPOINT OUT.onnx``: a trained model for programs without torch (docs/export.md)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tem_seg.core.errors import UserError, user_errors_exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. A fault that the user can mend ends with its text and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m tem_seg.export", description="Writes a trained model as ONNX.")
    parser.add_argument("checkpoint", help="<run>/checkpoints/best.ckpt, a .safetensors file, or starter")
    parser.add_argument("out", type=Path, help="the file to write, *.onnx")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="fixed size of pictures, px; default: any"
    )
    given = parser.parse_args(arguments)
    with user_errors_exit("tem_seg"):
        export(given.checkpoint, given.out, (given.size[0], given.size[1]) if given.size else None)
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.1f} MB")


def export(weights: str, out: Path, size: tuple[int, int] | None = None) -> None:
    """weights: a checkpoint of ours, or "starter". size: (H, W) px, None for any. Raises UserError."""
    from tem_seg.models import checkpoint, onnx_export, restore
    from tem_seg.models.torchvision.rcnn import TorchvisionRcnn

    if out.suffix != ".onnx":
        raise UserError(f"{out} does not end in .onnx: give the checkpoint first, then the file to write")
    path = checkpoint.path_of(weights)
    about = restore.about_of(path)
    onnx_export.refuse(about)
    model = restore.factory_of(path, about).build()
    assert isinstance(model, TorchvisionRcnn)
    onnx_export.export(model, out, categories=about["categories"], size=size, about=about)


if __name__ == "__main__":
    main()
