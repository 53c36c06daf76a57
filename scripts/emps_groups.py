"""Which EMPS micrographs are paper 003's black and gray nanoparticles and ordered nanorods (Table 4), by a rule.

    python scripts/emps_groups.py /path/to/emps          writes tem_seg/data/readers/emps_groups.csv

The paper does not say which images its groups hold. The rule was made of masks and pixels alone, before any training.
particle_grey is the median grey level (0 to 255) of all pixels of particles.

* black: class spherical in shapes.csv, darker than the ground, particle_grey in the lowest third, below 85.
* gray: class spherical, brighter than the ground, particle_grey in the middle third, from 85 to below 170.
* ordered_rods: class rod; at least 3 rods that are whole and of at least 40 px, half of which or more lie beside
  another: with a gap between their minimum-area rectangles of at most the narrower one's width. order, the mean of
  cos 2(angle between the two) over those pairs (1 parallel, 0 at random, -1 at right angles), is at least 1/3.

A micrograph of no group is not in the table.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from tem_seg.core.types import Instances
from tem_seg.data.coco import annotation_of
from tem_seg.data.images import read_micrograph
from tem_seg.data.readers.emps import Emps
from tem_seg.data.rle import decode_crop

TABLE = Path(__file__).resolve().parents[1] / "tem_seg" / "data" / "readers" / "emps_groups.csv"
FIELDS = ("name", "group", "particle_grey", "rods_beside", "order")
BLACK, GRAY = 85.0, 170.0
MIN_RODS, MIN_BESIDE, MIN_ORDER, MIN_AREA_PX = 3, 0.5, 1 / 3, 40


def particle_grey(pixels: NDArray[np.float32], instances: Instances) -> float:
    """Median of pixels (H, W) over all particles; NaN without any."""
    inside = np.zeros(pixels.shape, bool)
    for mask in instances.segmentations:
        crop, x, y = decode_crop(mask)
        inside[y : y + crop.shape[0], x : x + crop.shape[1]] |= crop
    return float(np.median(pixels[inside])) if inside.any() else float("nan")


def rods_of(instances: Instances) -> NDArray[np.float64]:
    """Rotated boxes (N, 5), long side first, of particles that are whole and large enough for a direction."""
    found = [annotation_of(mask, 1, 1, 1) for mask in instances.segmentations]
    boxes = [row["rotated_box"] for row in found if not row["truncated"] and row["area"] >= MIN_AREA_PX]
    turned = [[x, y, h, w, angle + 90.0] if h > w else [x, y, w, h, angle] for x, y, w, h, angle in boxes]
    return np.array(turned, np.float64).reshape(-1, 5)


def order_of(rods: NDArray[np.float64]) -> tuple[float, float]:
    """Rotated boxes (N, 5), long side first → (share of them that lie beside another, order); NaN where undefined.

    >>> side_by_side = [[x, 50.0, 40.0, 8.0, 90.0] for x in (10.0, 20.0, 30.0)]
    >>> order_of(np.array(side_by_side))
    (1.0, 1.0)
    """
    if len(rods) < 2:
        return 0.0 if len(rods) else float("nan"), float("nan")
    polygons = [_rectangle(*rod) for rod in rods]
    first, second = np.triu_indices(len(rods), 1)
    gaps = shapely.distance(np.take(polygons, first), np.take(polygons, second))
    close = gaps <= np.minimum(rods[first, 3], rods[second, 3])
    if not close.any():
        return 0.0, float("nan")
    pairs = first[close], second[close]
    beside = len(np.unique(np.concatenate(pairs))) / len(rods)
    turned = np.deg2rad(rods[pairs[0], 4] - rods[pairs[1], 4])
    return beside, float(np.cos(2 * turned).mean())


def _rectangle(x: float, y: float, width: float, height: float, angle_deg: float) -> shapely.Polygon:
    """Of a rotated box; the angle is counter-clockwise as displayed, y points down."""
    turn = np.deg2rad(angle_deg)
    along, across = np.array([np.cos(turn), -np.sin(turn)]), np.array([np.sin(turn), np.cos(turn)])
    sides = [(1, 1), (1, -1), (-1, -1), (-1, 1)]
    return shapely.Polygon([np.array([x, y]) + a * along * width / 2 + b * across * height / 2 for a, b in sides])


def group_of(shape: str, dark: bool, grey: float, n_rods: int, beside: float, order: float) -> str | None:
    """The group of an image of class ``shape`` whose particles are darker than the ground or not, or None."""
    if shape == "spherical":
        if dark:
            return "black" if grey < BLACK else None
        return "gray" if BLACK <= grey < GRAY else None
    ordered = n_rods >= MIN_RODS and beside >= MIN_BESIDE and order >= MIN_ORDER
    return "ordered_rods" if shape == "rod" and ordered else None


def rows(root: Path) -> Iterator[dict[str, Any]]:
    """A row of FIELDS for every image of a group, with its split (which the table leaves out)."""
    for shape in ("spherical", "rod"):
        reader = Emps(root, shape=shape)
        for split in reader.splits:
            for entry, instances in reader.read(split):
                path = Path(entry["file_name"])
                grey, rods = float("nan"), rods_of(instances)
                beside, order = order_of(rods) if shape == "rod" else (float("nan"), float("nan"))
                if shape == "spherical":
                    grey = particle_grey(read_micrograph(path).pixels, instances)
                group = group_of(shape, entry["modality"] == "bright_field", grey, len(rods), beside, order)
                yield {"name": path.stem, "group": group, "split": split, "particle_grey": grey,
                       "rods_beside": beside, "order": order}  # fmt: skip


def main() -> None:
    """Writes the table and says how many images each group has in each split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of EMPS with shapes.csv")
    parser.add_argument("--into", type=Path, default=TABLE, help="(default: %(default)s)")
    options = parser.parse_args()
    found = sorted((row for row in rows(options.root) if row["group"]), key=lambda row: (row["group"], row["name"]))
    with options.into.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in found:
            numbers = {key: f"{row[key]:.4g}" if np.isfinite(row[key]) else "" for key in FIELDS[2:]}
            writer.writerow(row | numbers)
    for (group, split), count in sorted(Counter((row["group"], row["split"]) for row in found).items()):
        print(f"{group}, {split}: {count}")


if __name__ == "__main__":
    main()
