"""Draws docs/images/<recipe>.jpg: synthetic micrographs side by side, true outlines drawn over their right halves.

    python scripts/make_pictures.py                      all recipes
    python scripts/make_pictures.py gold_aunp --images 4 11 13

Image k is the one that ``experiment=<recipe>`` draws as number k of its test split (seed 0, 512 × 512 px). Recipes that
need real micrographs are given synthetic ones of gold: no picture made from real data goes into the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from tem_seg.config import check, schema
from tem_seg.core.types import Instances
from tem_seg.data import rle
from tem_seg.generation.dataset import build_dataset
from tem_seg.generation.render import image_at

ROOT = Path(__file__).resolve().parents[1]
INTO = ROOT / "docs" / "images"
SIZE = (512, 512)
CHOSEN = {"gold_aunp": (4, 11, 13), "insitu_video": (32, 39, 47)}
"""Numbers of the images shown, where they are not 0, 1 and 2."""
FROM_REAL = {"cut_paste": "recipe.images.reader", "experimental_overlay": "recipe.substrates.images.reader"}
COLOURS_BGR = ((0, 170, 255), (255, 140, 0), (80, 220, 80), (200, 80, 255))
PANEL_PX, GAP_PX, QUALITY = 340, 6, 75


def config(*overrides: str) -> DictConfig:
    """A composed configuration."""
    schema.register()
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        return compose("config", list(overrides))


def stand_in(folder: Path) -> str:
    """A few synthetic micrographs as a dataset to take particles and substrates from."""
    cfg = config("experiment=gold_aunp", "recipe.particles=[10,40]", "recipe.diameter_px=[25,60]")
    build_dataset(folder, instantiate(cfg.recipe), instantiate(cfg.imaging), {"train": 4}, SIZE, 1, progress=False)
    return str(folder / "train" / "dataset.json")


def panel(pixels: NDArray[np.uint8], instances: Instances) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR: the micrograph, with outlines coloured by class from the middle to the right."""
    plain = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    outlined = plain.copy()
    for label, segmentation in zip(instances.labels, instances.segmentations, strict=True):
        mask = rle.decode(segmentation).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outlined, contours, -1, COLOURS_BGR[int(label) % len(COLOURS_BGR)], 1, cv2.LINE_AA)
    middle = pixels.shape[1] // 2
    outlined[:, :middle] = plain[:, :middle]
    outlined[:, middle] = 255
    return np.asarray(outlined, np.uint8)


def draw(name: str, numbers: tuple[int, ...], source: str) -> NDArray[np.uint8]:
    """The recipe's picture (H, W, 3) uint8 BGR."""
    cfg = config(f"experiment={name}")
    if name in FROM_REAL:
        reader = {"_target_": "tem_seg.data.readers.coco_folder.CocoFolder", "train": source}
        OmegaConf.update(cfg, FROM_REAL[name], reader, merge=False, force_add=True)
    recipe, imaging = instantiate(cfg.recipe), instantiate(cfg.imaging)
    panels = []
    for number in numbers:
        drawn = image_at(recipe, imaging, SIZE, 0, "test", number)
        shown = panel(drawn.micrograph.pixels.astype(np.uint8), drawn.instances)
        panels.append(cv2.resize(shown, (PANEL_PX, PANEL_PX), interpolation=cv2.INTER_AREA))
    gap = np.full((PANEL_PX, GAP_PX, 3), 255, np.uint8)
    return np.hstack([part for each in panels for part in (each, gap)][:-1])


def recipes() -> list[str]:
    """Experiments that are named after a recipe of their own, and their look-alikes for another microscope."""
    found = (file.stem for file in (ROOT / "conf" / "experiment").glob("*.yaml"))
    return sorted(name for name in found if not name.startswith("emps"))


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help=f"any of {', '.join(recipes())} (default: all)")
    parser.add_argument("--images", type=int, nargs="+", help="numbers in the test split")
    parser.add_argument("--into", type=Path, default=INTO, help="folder (default: %(default)s)")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        source = stand_in(Path(folder))
        for name in options.recipes or recipes():
            picture = draw(name, tuple(options.images or CHOSEN.get(name, (0, 1, 2))), source)
            encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
            (options.into / f"{name}.jpg").write_bytes(encoded)
            print(f"{options.into / name}.jpg: {len(encoded) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
