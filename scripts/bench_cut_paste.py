"""Speed of cut_paste on pairs of EMPS beside UTILE-Gen (paper 003), one process: a line a figure, ``name: value unit``.

    python scripts/bench_cut_paste.py                                 against the figures of UTILE-Gen noted below
    python scripts/bench_cut_paste.py --utile-gen <its git folder>    against UTILE-Gen itself, run now

UTILE-Gen's settings: 50-100 particles on 1024², particles at 0.3-2 times their size in the source, half of them with a
synthetic interior, overlapping, inpainted and plain backgrounds, salt and pepper up to 0.1, blur up to 0.3.
Processor time of one process; of images the best of three, since what else the machine does can only add to it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import tifffile
from bench_common import config
from omegaconf import OmegaConf

from tem_seg.core.seeds import child_rng
from tem_seg.data import coco
from tem_seg.data.readers.mask_pairs import MaskPairs
from tem_seg.data.rle import decode_crop
from tem_seg.generation.real.images import RealImages
from tem_seg.generation.recipe import Picture
from tem_seg.generation.recipes.cut_paste import CutPaste

PAIRS = ("97e645b56e", "406975041a", "bf57480a38")
"""Bright-field spheres of EMPS: 36, 57 and 53 particles of 28, 33 and 53 px median diameter."""
SIDE = 1024
SETTINGS: dict[str, Any] = {
    "particles_per_image": [50, 100], "synthetic_backgrounds": True, "textured": 0.5, "noisy_images": 1.0,
    "keep_particles": 0.0, "foreign_background": 0.0, "particle_sources": [1, 1], "max_coverage": 0.9,
}  # fmt: skip
NOTED = {"pools": (10.0, 31.0), "image": (0.10, 0.18)}
"""Seconds of UTILE-Gen on one core of the machine that the issue was written on; image: with image and mask written."""
RUNNER = """
import json, sys, time
import cv2, numpy as np
class Old(np.ndarray):  # numpy 2 has no itemset any more
    def itemset(self, place, value):
        self[place] = value
read, zeros = cv2.imread, np.zeros
cv2.imread = lambda *args: read(*args).view(Old)
np.zeros = lambda *args, **keys: zeros(*args, **keys).view(Old)
sys.path.insert(0, sys.argv[1])
import DatasetGeneratorFunctions as tool
paste, spent = tool.Random_Paste_Objects, []
def timed(*args):
    for _ in range(3):
        start = time.process_time()
        paste(*args)
        spent.append(time.process_time() - start)
tool.Random_Paste_Objects = timed
cv2.setNumThreads(1)
count = int(sys.argv[4])
start = time.process_time()
tool.Dataset_Gen(count, 50, 100, sys.argv[2], sys.argv[3], "pair", False, False, False, 0.1, 0.3, 0.3, 2.0)
total = time.process_time() - start
print("\\n" + json.dumps({"pools": total - sum(spent), "image": min(spent) / count}))
"""


def cut_paste(quick: bool, utile_gen: Path | None = None) -> Iterator[str]:
    """Pools and images, beside UTILE-Gen's."""
    cv2.setNumThreads(1)
    own: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    with TemporaryDirectory() as name:
        for pair in PAIRS:
            folder = Path(name) / pair
            source = _pair(folder, pair)
            own.append(_measured(source, folder, 4 if quick else 20))
            if utile_gen is not None:
                theirs.append(_utile_gen(utile_gen, folder, pair, 2 if quick else 10))
    mean = {key: statistics.mean(times[key] for times in own) for key in own[0]}
    if theirs:
        for key in NOTED:
            yield f"UTILE-Gen {key}: {_span([times[key] for times in theirs])} s (run now)"
    for key, value in mean.items():
        yield f"cut_paste {key}: {value:.4f} s ({_span([times[key] for times in own])})"
    for key, against, goal in (("pools", "pools", 50), ("image", "image", 8), ("image, COCO and TIFF", "image", 3)):
        if theirs:
            ratios = [b[against] / a[key] for a, b in zip(own, theirs, strict=True)]
            yield f"times faster, {key}: {min(ratios):.1f} x (the least of {len(ratios)} pairs; wanted: {goal})"
        else:
            noted = NOTED[against]
            low, high = (
                bound / pick(times[key] for times in own) for bound, pick in zip(noted, (min, max), strict=True)
            )
            yield f"times faster, {key}: {low:.1f}-{high:.1f} x (against {_span(noted)} s noted; wanted: {goal})"


def _span(values: Any) -> str:
    return f"{min(values):.3g}-{max(values):.3g}"


def _pair(folder: Path, name: str) -> RealImages:
    """One image and its mask, alone in two folders."""
    data = Path(config().paths.data) / "emps"
    for kind, original in (("images", "images"), ("masks", "segmaps")):
        (folder / kind).mkdir(parents=True)
        shutil.copy(data / original / f"{name}.png", folder / kind / f"{name}.png")
    return RealImages(MaskPairs(folder / "images", folder / "masks", modality="bright_field"))


@cache
def _shipped() -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config("recipe=cut_paste", "imaging=as_is").recipe, resolve=True)
    return {key: value for key, value in plain.items() if key[0] != "_"}


def _recipe(source: RealImages) -> CutPaste:
    # UTILE-Gen enlarges the background to 1024², but not the particles
    height, width = (source.items[0][0][side] for side in ("height", "width"))
    base = (SIDE * SIDE / (height * width)) ** 0.5
    scaling = [factor / base for factor in _shipped()["scaling_factor"]]
    return CutPaste(**_shipped() | SETTINGS | {"scaling_factor": scaling, "images": source})


def _measured(source: RealImages, folder: Path, count: int) -> dict[str, float]:
    _shipped()
    start = time.process_time()
    recipe = _recipe(RealImages(source.reader))  # reads the files again
    recipe.pool.source(0)
    pools = time.process_time() - start
    images, written = [], []
    for _ in range(3):
        start = time.process_time()
        drawn = [recipe.draw(child_rng(0, index), (SIDE, SIDE)) for index in range(count)]
        images.append((time.process_time() - start) / count)
        start = time.process_time()
        for index, picture in enumerate(drawn):
            _write(picture, folder, index)
        written.append((time.process_time() - start) / count)
    return {"pools": pools, "image": min(images), "image, COCO and TIFF": min(images) + min(written)}


def _write(picture: Picture, folder: Path, index: int) -> None:
    """The pair as 8 and 16-bit TIFF, and the COCO entries."""
    labels = np.zeros(picture.instances.size, np.uint16)
    for number, mask in enumerate(picture.instances.segmentations, start=1):
        crop, x0, y0 = decode_crop(mask)
        labels[y0 : y0 + crop.shape[0], x0 : x0 + crop.shape[1]][crop] = number
    tifffile.imwrite(folder / f"{index}.tif", picture.pixels.astype(np.uint8))
    tifffile.imwrite(folder / f"{index}_mask.tif", labels)
    annotations = coco.annotations_of(picture.instances, index, [1], 1)
    (folder / f"{index}.json").write_text(json.dumps(annotations), encoding="utf-8")


def _utile_gen(git_directory: Path, folder: Path, pair: str, images: int) -> dict[str, float]:
    """UTILE-Gen in a process of its own, in an empty folder, on copies of the pair (it writes over its input)."""
    tool = folder / "tool"
    archive = subprocess.run(
        ["git", "-C", str(git_directory), "archive", "HEAD", "UTILE-Gen Tool"], check=True, capture_output=True
    ).stdout
    tool.mkdir()
    subprocess.run(["tar", "-x", "-C", str(tool)], input=archive, check=True)
    inputs = []
    for kind in ("masks", "images"):
        inputs.append(str(folder / f"utile_{kind}.png"))
        shutil.copy(folder / kind / f"{pair}.png", inputs[-1])
    command = [sys.executable, "-c", RUNNER, str(tool / "UTILE-Gen Tool"), *inputs, str(images)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"UTILE-Gen does not run here:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utile-gen", type=Path, help="git directory of github.com/andyco98/UTILE-Gen")
    parser.add_argument("--quick", action="store_true", help="fewer images: to see that it runs")
    arguments = parser.parse_args()
    for line in cut_paste(arguments.quick, arguments.utile_gen):
        print(line, flush=True)


if __name__ == "__main__":
    main()
