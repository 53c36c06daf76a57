"""Draws docs/images/gold_aunp.jpg: synthetic gold micrographs side by side, their true outlines on the right halves.

    python scripts/make_readme_picture.py [--images 4 11 13] [--into docs/images/gold_aunp.jpg]

Image k is the one that ``experiment=gold_aunp`` draws as number k of its test split (seed 0, 512 × 512 px).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from numpy.typing import NDArray

from tem_seg.config import check, schema
from tem_seg.core.types import Instances
from tem_seg.data import rle
from tem_seg.generation.render import image_at

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "gold_aunp.jpg"
LINE_BGR = (0, 170, 255)
GAP_PX, QUALITY = 8, 85


def draw(index: int) -> tuple[NDArray[np.uint8], Instances]:
    """Micrograph (H, W) uint8 number ``index`` of the test split, and its particles."""
    schema.register()
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        cfg = compose("config", ["experiment=gold_aunp"])
    recipe, imaging = instantiate(cfg.recipe), instantiate(cfg.imaging)
    height, width = cfg.generation.image_size
    drawn = image_at(recipe, imaging, (height, width), cfg.seed, "test", index)
    return drawn.micrograph.pixels.astype(np.uint8), drawn.instances


def panel(pixels: NDArray[np.uint8], instances: Instances) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR: the micrograph, with outlines from the middle to the right."""
    plain = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    outlined = plain.copy()
    for segmentation in instances.segmentations:
        mask = rle.decode(segmentation).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outlined, contours, -1, LINE_BGR, 1, cv2.LINE_AA)
    middle = pixels.shape[1] // 2
    outlined[:, :middle] = plain[:, :middle]
    outlined[:, middle] = 255
    return np.asarray(outlined, np.uint8)


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description="Draws the picture of README.md.")
    parser.add_argument("--images", type=int, nargs="+", default=[4, 11, 13], help="numbers in the test split")
    parser.add_argument("--into", type=Path, default=TARGET, help="file (default: %(default)s)")
    options = parser.parse_args()
    panels = [panel(*draw(index)) for index in options.images]
    gap = np.full((panels[0].shape[0], GAP_PX, 3), 255, np.uint8)
    picture = np.hstack([part for each in panels for part in (each, gap)][:-1])
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    options.into.parent.mkdir(parents=True, exist_ok=True)
    options.into.write_bytes(encoded)
    print(f"{options.into}: {len(encoded) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
