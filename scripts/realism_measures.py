"""How far two sets of micrographs are apart: a classifier's AUC, power spectra, grey levels. Numpy and OpenCV only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

Image = NDArray[np.float32]
CROP_PX = 128
BAND_EDGES = (1, 2, 3, 4, 6, 8, 12, 16, 23, 32, 45, 64)
"""Cycles a crop."""
LEVELS = 256
RIDGE = 0.02
"""Weight of the squared coefficients in the classifier's loss: a few dozen independent images allow no more freedom."""


@dataclass(frozen=True)
class Set:
    """Crops (N, 128, 128) float32 in [0, 1] of one set's micrographs, and the group (origin) of each crop."""

    crops: Image
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.crops)


# ---------------------------------------------------------------------------------------------------------- crops


def overlay_px(pixels: Image, particles: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """(H, W): what looks like text, bars and frames in pixels in [0, 1]; particles (H, W) are known to be none.

    Flat black or white, or a step of more than 0.45 from one pixel to the next that a median filter leaves standing:
    no microscope draws such an edge, a scale bar has nothing else.
    """
    levels = np.rint(pixels * 255).astype(np.uint8)
    steps = cv2.morphologyEx(cv2.medianBlur(levels, 3), cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0.45 * 255
    flat = cv2.erode(levels, np.ones((5, 5))) == cv2.dilate(levels, np.ones((5, 5)))
    found = steps | (flat & ((levels == 0) | (levels == 255)))
    if particles is not None:
        found &= cv2.dilate(particles.astype(np.uint8), np.ones((9, 9))) == 0
    return found


def crops_of(images: Sequence[Image], groups: Sequence[str], each: int, rng: np.random.Generator,
             avoid: Sequence[NDArray[np.bool_]] | None = None) -> Set:  # fmt: skip
    """``each`` crops at random places of every image; with ``avoid`` (masks) those that hold next to none of it."""
    found, of = [], []
    names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    for index, pixels in enumerate(images):
        if min(pixels.shape) < CROP_PX:
            continue
        for _ in range(each):
            y, x = (int(rng.integers(side - CROP_PX + 1)) for side in pixels.shape)
            where = np.s_[y : y + CROP_PX, x : x + CROP_PX]
            if avoid is None or avoid[index][where].mean() < 1e-3:
                found.append(pixels[where])
                of.append(names[groups[index]])
    crops = np.stack(found) if found else np.zeros((0, CROP_PX, CROP_PX), np.float32)
    return Set(crops, np.array(of, np.int64))


# ------------------------------------------------------------------------------------------------------- spectrum


def radial_spectrum(crops: Image) -> NDArray[np.float64]:
    """(N, S/2 - 1): log10 of the power at 1, 2 … S/2 - 1 cycles a crop, averaged over directions, of sum 1."""
    size = crops.shape[1]
    window = np.outer(np.hanning(size), np.hanning(size))
    power = np.abs(np.fft.fft2((crops - crops.mean(axis=(1, 2), keepdims=True)) * window)) ** 2
    along = np.fft.fftfreq(size) * size
    radius = np.rint(np.hypot(along[:, None], along[None])).astype(int)
    weight = np.bincount(radius.ravel())[1 : size // 2]
    rings = np.stack([np.bincount(radius.ravel(), one.ravel())[1 : size // 2] / weight for one in power])
    rings += 1e-12 * max(float(rings.max()), 1e-12)  # a crop without any contrast
    return np.log10(rings / rings.sum(axis=1, keepdims=True))


def mean_by_group(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean of the groups' means: an image with many crops counts as one."""
    return np.mean([values[groups == group].mean(axis=0) for group in np.unique(groups)], axis=0)


def spectrum_distance(a: Set, b: Set) -> float:
    """Mean over frequencies of the absolute difference of the mean log10 spectra: 0.3 is a factor of two in power."""
    curves = [mean_by_group(radial_spectrum(one.crops), one.groups) for one in (a, b)]
    return float(np.abs(curves[0] - curves[1]).mean())


def histogram_distance(a: Set, b: Set) -> float:
    """Wasserstein distance of the mean grey-level distributions, in shares of the range from black to white."""
    return float(np.abs(_distribution(a) - _distribution(b)).mean())


def _distribution(one: Set) -> NDArray[np.float64]:
    levels = np.clip(one.crops * LEVELS, 0, LEVELS - 1).astype(int)
    counts = np.stack([np.bincount(crop.ravel(), minlength=LEVELS) for crop in levels]) / levels[0].size
    return np.cumsum(mean_by_group(counts, one.groups))


def halves(one: Set, rng: np.random.Generator, times: int = 10) -> Iterator[tuple[Set, Set]]:
    """The set against itself: its groups parted at random. What two sets of the same kind are apart by chance."""
    groups = np.unique(one.groups)
    for _ in range(times if len(groups) > 1 else 0):
        first = np.isin(one.groups, rng.permutation(groups)[: len(groups) // 2])
        yield Set(one.crops[first], one.groups[first]), Set(one.crops[~first], one.groups[~first])


# ----------------------------------------------------------------------------------------------------- classifier

NAMES = (
    *(f"power at {CROP_PX / high:.0f}-{CROP_PX / low:.0f} px" for low, high in pairwise(BAND_EDGES)), "contrast",
    *(f"grey levels {k / 8:.2f}-{(k + 1) / 8:.2f}" for k in range(8)), "black", "white",
    "edges (median)", "edges (90 %)", "edges (99 %)", "local noise (10 %)", "local noise (50 %)", "local noise (90 %)",
    "outliers", "rows against columns", "8 px blocks",
)  # fmt: skip


def features(crops: Image) -> NDArray[np.float64]:
    """(N, len(NAMES)): texture, grey levels, edges, noise, and traces of scanning and of JPEG."""
    spectra = radial_spectrum(crops)
    bands = np.stack([spectra[:, low - 1 : high - 1].mean(axis=1) for low, high in pairwise(BAND_EDGES)], axis=1)
    return np.concatenate([bands, np.stack([_of_one(crop) for crop in crops])], axis=1)


def _of_one(crop: Image) -> NDArray[np.float64]:
    smooth = cv2.GaussianBlur(crop, (0, 0), 1.0)
    edges = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    rest = crop - cv2.GaussianBlur(crop, (0, 0), 1.5)
    noise = np.sqrt(np.maximum(cv2.blur(rest * rest, (7, 7)), 0.0))
    along_x, along_y = np.abs(np.diff(crop, axis=1)), np.abs(np.diff(crop, axis=0))
    phases = [along_x[:, phase::8].mean() for phase in range(8)]
    parts = [
        [np.log(crop.std() + 1e-3)], np.histogram(crop, 8, (0, 1))[0] / crop.size,
        [(crop <= 0.004).mean(), (crop >= 0.996).mean()],
        np.log(np.quantile(edges, [0.5, 0.9, 0.99]) + 1e-3), np.log(np.quantile(noise, [0.1, 0.5, 0.9]) + 1e-3),
        [np.log((rest**4).mean() / ((rest**2).mean() + 1e-9) ** 2 + 1e-3)],
        [np.log((along_x.mean() + 1e-4) / (along_y.mean() + 1e-4))],
        [np.log((max(phases) + 1e-4) / (float(np.median(phases)) + 1e-4))],
    ]  # fmt: skip
    return np.concatenate([np.asarray(part, np.float64) for part in parts])


@dataclass(frozen=True)
class Separation:
    """How well crops of two sets are told apart: AUC 0.5 not at all, 1 always; tells: what told them apart most."""

    auc: float
    sd: float
    tells: list[str]


def separation(real: Set, synthetic: Set, rng: np.random.Generator, folds: int = 5, repeats: int = 3) -> Separation:
    """Logistic regression on features and their squares (too wide or too narrow a range shows as well).

    Cross-validated, whole groups held out. Mean and standard deviation over folds and repeats; NaN without two groups.
    """
    groups = [np.unique(one.groups) for one in (real, synthetic)]
    folds = min(folds, *(len(each) for each in groups))
    if folds < 2:
        return Separation(float("nan"), float("nan"), [])
    table = np.concatenate([features(real.crops), features(synthetic.crops)])
    labels = np.r_[np.zeros(len(real)), np.ones(len(synthetic))]
    aucs, weights = [], []
    for _ in range(repeats):
        dealt = [dict(zip(rng.permutation(each), np.arange(len(each)) % folds, strict=True)) for each in groups]
        fold = np.r_[[dealt[0][g] for g in real.groups], [dealt[1][g] for g in synthetic.groups]]
        for held in range(folds):
            train = fold != held
            model = Logistic.fitted(table[train], labels[train])
            aucs.append(auc(model.score(table[~train]), labels[~train]))
            weights.append(np.abs(model.weights).reshape(2, -1).sum(axis=0))
    order = np.argsort(-np.mean(weights, axis=0))
    return Separation(float(np.mean(aucs)), float(np.std(aucs)), [NAMES[k] for k in order[:5]])


@dataclass(frozen=True)
class Logistic:
    """Ridge logistic regression on standardised features and their squares; both classes weigh the same."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def fitted(cls, table: NDArray[np.float64], labels: NDArray[np.float64]) -> Logistic:
        """table (N, F), labels (N,) in {0, 1}."""
        mean, scale = table.mean(axis=0), table.std(axis=0) + 1e-6
        x, sign = _expanded((table - mean) / scale), 2 * labels - 1
        share = np.where(labels > 0, 0.5 / max(labels.mean(), 1e-9), 0.5 / max(1 - labels.mean(), 1e-9)) / len(labels)

        def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            margin = sign * (x @ w[1:] + w[0])
            slope = -share * sign * np.exp(-np.logaddexp(0, margin))
            value = share @ np.logaddexp(0, -margin) + 0.5 * RIDGE * w[1:] @ w[1:]
            return float(value), np.r_[slope.sum(), x.T @ slope + RIDGE * w[1:]]

        found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
        return cls(mean, scale, found[1:])

    def score(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,): the larger, the more like label 1."""
        return np.asarray(_expanded((table - self.mean) / self.scale) @ self.weights)


def _expanded(z: NDArray[np.float64]) -> NDArray[np.float64]:
    z = np.clip(z, -4, 4)  # one odd crop must not decide
    return np.concatenate([z, z * z - 1], axis=1)


def auc(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """Probability that a crop of label 1 scores above one of label 0 (Mann-Whitney)."""
    ones = int((labels > 0).sum())
    zeros = len(labels) - ones
    return float((rankdata(scores)[labels > 0].sum() - ones * (ones + 1) / 2) / (ones * zeros))
