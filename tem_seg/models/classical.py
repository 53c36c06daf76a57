"""Segmentation without training: Otsu, local threshold or closed edges, and a watershed on the distance map.

What the papers compare their networks with, and what drafts masks that a person corrects (docs/models.md).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import canny
from skimage.filters import threshold_local, threshold_otsu
from skimage.morphology import h_maxima
from skimage.segmentation import watershed
from torch import Tensor

from tem_seg.core.errors import UserError
from tem_seg.core.types import Prediction
from tem_seg.models.contract import SegmentationModel, Target
from tem_seg.models.regions import Regions, to_prediction

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
METHODS, CONTRASTS = ("otsu", "local", "canny"), ("dark", "bright", "auto")
BACKEND = "opencv"
SOBEL = 8
"""Times the gradient: what canny's Sobel filter gives."""
CELLS = 21
"""The ground is the median of so many cells along a side."""
RING_PX = 5
"""The ground beside a particle, which its grey levels are compared with."""
VISIBLE = 0.75
"""A region of a lower score is noise: averaged, noise goes beyond any threshold somewhere, but its pixels hardly do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classical:
    """What conf/model/classical.yaml builds. Lengths are px as shown."""

    FAMILY: ClassVar[str] = "classical"
    TRAINS: ClassVar[bool] = False
    method: str = "otsu"
    """otsu: one threshold (Otsu 1979). local: below or above the mean around. canny: closed edges, filled."""
    contrast: str = "auto"
    """dark or bright particles; auto: whichever covers less."""
    smoothing_px: float = 1.5
    """Gaussian, standard deviation."""
    ground_px: float = 120.0
    """The median over so many px around is the ground, and subtracted; it must be larger than particles. 0: none is."""
    min_contrast: float = 3.5
    """Particles and the ground beside them differ by so many standard deviations, or the micrograph counts as empty."""
    window_px: int = 101
    """local: side of the surroundings, odd."""
    offset: float = 0.1
    """local: how far beyond the mean around, in grey levels of the normalised micrograph (0 to 1)."""
    edges: tuple[float, float] = (0.03, 0.07)
    """canny: weak and strong gradient, grey levels a px."""
    fill_holes: bool = True
    split: bool = True
    """Particles that touch are cut apart along their necks."""
    split_depth_px: float = 1.0
    """A neck lies so much nearer to the border than the middles on both sides."""
    min_area_px: float = 20.0
    """Smaller regions are dropped."""
    num_classes: int = 1
    max_instances: int = 1000
    min_score: float = 0.05
    weights: str = "none"
    backend: str = BACKEND

    def build(self) -> ClassicalModel:
        """The model; it has no weights."""
        return ClassicalModel(self)

    def about(self) -> dict[str, Any]:
        """Plain values. Raises UserError for settings that do not go together."""
        self.refuse()
        plain = asdict(self) | {"edges": list(self.edges)}
        return plain | {"family": self.FAMILY, "backend": BACKEND, "masks": True}

    def refuse(self) -> None:
        """Raises UserError for settings that cannot be."""
        for name, known in (("method", METHODS), ("contrast", CONTRASTS)):
            if getattr(self, name) not in known:
                raise UserError(f"model.{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.weights != "none":
            raise UserError(f"model=classical has no weights, but model.weights={self.weights}: leave it out")
        if self.window_px < 3 or self.window_px % 2 == 0:
            raise UserError(f"model.window_px must be odd and at least 3, got {self.window_px}")
        if len(self.edges) != 2 or not 0 < self.edges[0] <= self.edges[1]:
            raise UserError(f"model.edges must be [weak, strong] with 0 < weak <= strong, got {list(self.edges)}")
        for name in ("smoothing_px", "ground_px", "min_contrast", "split_depth_px", "min_area_px"):
            if getattr(self, name) < 0:
                raise UserError(f"model.{name} must not be negative, got {getattr(self, name)}")


class ClassicalModel(SegmentationModel):
    """Keeps the contract without anything to learn; all particles are of the first class."""

    def __init__(self, spec: Classical) -> None:
        super().__init__()
        self.spec = spec

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """There are none: UserError."""
        raise UserError("model=classical learns nothing: leave the train stage out")

    def predict(self, images: list[Tensor], frames: list[tuple[int, int]] | None = None) -> list[Prediction]:
        """See the contract. A particle's score is the chance that a pixel of it is darker (brighter) than one of the
        ground beside it; what is hardly so is none."""
        shown = [np.ascontiguousarray(image[0].detach().cpu().numpy(), np.float32) for image in images]
        sizes = frames or [(image.shape[0], image.shape[1]) for image in shown]
        return [self._see(image, frame) for image, frame in zip(shown, sizes, strict=True)]

    def _see(self, image: Image, frame: tuple[int, int]) -> Prediction:
        spec = self.spec
        even = image - ground_of(image, spec.ground_px) if spec.ground_px else image
        smooth = cv2.GaussianBlur(even, (0, 0), spec.smoothing_px) if spec.smoothing_px else even
        inside, bright = foreground(np.asarray(smooth, np.float32), spec)
        labels = apart(inside, spec.split_depth_px) if spec.split else ndimage.label(inside)[0].astype(np.int32)
        scores = contrasts(image, labels, bright)
        seen = scores >= VISIBLE
        labels = np.concatenate([[0], np.where(seen, np.cumsum(seen), 0)]).astype(np.int32)[labels]
        found = Regions(labels, inside.astype(np.float32), scores[seen], np.zeros(int(seen.sum()), np.int64))
        return to_prediction(found, frame, min_area_px=spec.min_area_px, max_instances=spec.max_instances, edges=False)


def foreground(smooth: Image, spec: Classical) -> tuple[Mask, bool]:
    """smooth (H, W) in [0, 1] → which pixels are particles' (H, W), and whether those are brighter than the ground.

    Nothing where the two sides of the split differ by less than spec.min_contrast of their standard deviations: a
    threshold always finds two sides, in noise too (2.7 apart for normal noise, 3.5 for an even slope).
    """
    if float(smooth.max()) == float(smooth.min()):
        return np.zeros(smooth.shape, bool), False
    inside = closed_edges(smooth, spec) if spec.method == "canny" else thresholded(smooth, spec)
    if spec.fill_holes:
        inside = ndimage.binary_fill_holes(inside)
    if not inside.any() or inside.all():
        return np.zeros(smooth.shape, bool), False
    outside = ~inside
    if spec.method == "canny":  # which finds some particles only: the others are no ground
        near, edge = (ndimage.binary_dilation(inside, iterations=steps) for steps in (2 * RING_PX, 3))
        outside = near & ~edge if (near & ~edge).any() else outside
    own, ground = smooth[inside], smooth[outside]
    difference = float(own.mean(dtype=np.float64) - ground.mean(dtype=np.float64))
    spread = float(np.sqrt((own.var(dtype=np.float64) + ground.var(dtype=np.float64)) / 2))
    if abs(difference) < spec.min_contrast * spread:
        return np.zeros(smooth.shape, bool), False
    return np.asarray(inside, bool), difference > 0


def ground_of(image: Image, around_px: float) -> Image:
    """The median of image (H, W) in [0, 1] over about ``around_px``, from a smaller picture of it."""
    shrink = max(1.0, around_px / CELLS)
    size = [max(1, round(side / shrink)) for side in image.shape]
    small = (cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA).clip(0, 1) * 255).astype(np.uint8)
    side = max(3, round(around_px / shrink) // 2 * 2 + 1)
    median = cv2.medianBlur(small, side).astype(np.float32) / 255
    return np.asarray(cv2.resize(median, image.shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def thresholded(smooth: Image, spec: Classical) -> Mask:
    """The side of a threshold that spec.contrast asks for; auto: the smaller one."""
    if spec.method == "otsu":
        level, offset = np.float32(threshold_otsu(smooth)), 0.0
    else:
        level, offset = threshold_local(smooth, spec.window_px, method="mean"), spec.offset
    dark, bright = smooth < level - offset, smooth > level + offset
    if spec.contrast == "auto":
        return dark if dark.sum() <= bright.sum() else bright
    return dark if spec.contrast == "dark" else bright


def closed_edges(smooth: Image, spec: Classical) -> Mask:
    """What edges enclose (Canny 1986), of the contrast that spec asks for; open edges enclose nothing.

    Edges are as thin as a pixel, and belong to what they enclose.
    """
    weak, strong = spec.edges
    lines = canny(smooth, sigma=0.0, low_threshold=SOBEL * weak, high_threshold=SOBEL * strong)
    closed = cv2.morphologyEx(lines.view(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)).astype(bool)
    filled = ndimage.binary_fill_holes(closed)
    enclosed = cv2.morphologyEx(filled.view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(bool)
    if spec.contrast == "auto" or not enclosed.any():
        return enclosed
    labels, count = ndimage.label(enclosed)
    means = ndimage.mean(smooth, labels, np.arange(1, count + 1))
    ground = float(np.median(smooth[~enclosed])) if not enclosed.all() else float(np.median(smooth))
    right = np.concatenate([[False], (means > ground) == (spec.contrast == "bright")])
    return np.asarray(right[labels], bool)


def apart(inside: Mask, depth_px: float) -> NDArray[np.int32]:
    """Particles (H, W) → labels (H, W) int32, cut along necks by a watershed on the distance to the border.

    Middles are maxima of the distance that rise by at least depth_px over the saddle to a higher one (Soille's
    h-maxima; every particle has one).
    """
    if not inside.any():
        return np.zeros(inside.shape, np.int32)
    distance = cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if depth_px > 0:
        middles = h_maxima(distance, depth_px).astype(bool)
        parts, count = ndimage.label(inside)
        without = np.setdiff1d(np.arange(1, count + 1), parts[middles])  # lower than depth_px everywhere
        middles |= np.isin(parts, without)
    else:
        middles = distance == ndimage.maximum_filter(distance, 3)
    seeds = ndimage.label(middles & inside, np.ones((3, 3)))[0]
    return np.asarray(watershed(-distance, seeds, mask=inside), np.int32)


def contrasts(image: Image, labels: NDArray[np.int32], bright: bool) -> NDArray[np.float32]:
    """For each of N regions the chance (N,) in [0, 1] that a pixel of it is darker than one of the ground beside it.

    bright: brighter. Ties count one half (the area under the ROC curve). Where no ground is near, all of it counts; 0.5
    where there is none.
    """
    scores, anywhere = [], np.sort(image[labels == 0])
    for index, window in enumerate(ndimage.find_objects(labels)):
        around = tuple(slice(max(0, side.start - RING_PX), side.stop + RING_PX) for side in window)
        near, grey = labels[around], image[around]
        own, ground = grey[near == index + 1], np.sort(grey[near == 0])
        if not len(ground):
            ground = anywhere
        if not len(ground):
            scores.append(0.5)
            continue
        below = (np.searchsorted(ground, own, "left") + np.searchsorted(ground, own, "right")) / (2 * len(ground))
        scores.append(float(below.mean()) if bright else 1.0 - float(below.mean()))
    return np.array(scores, np.float32)
