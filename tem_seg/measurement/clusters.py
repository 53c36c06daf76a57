"""How far the mean of something over particles may lie from its expectation, where particles of one image are alike.

Images are drawn, not particles: focus, drift, the place on the grid and the drop that dried there move all particles of
an image together. With particle weights ω, θ = Σ_g w_g m_g over images g = 1…G, w_g an image's share of all weight, m_g
its own mean.

Variance: V = Σ c_g w_g² (m_g - θ)², cluster-robust: it is right whatever the correlation within an image is, also
where images with many particles have other sizes. c_g removes the bias that few images have ("CR2": Bell and
McCaffrey, Survey Methodology 28, 169, 2002; Pustejovsky and Tipton, J. Bus. Econ. Stat. 36, 672, 2018), exactly so
under the working model Var m_g = τ² + σ² ν_g, ν_g = Σ ω² / (Σ ω)² over the image's particles; τ², σ²: analysis of
variance.

Quantile of (θ - E θ) / √V: exact under the working model and normal m_g, as McCaffrey and Bell (Stat. Med. 25, 4081,
2006) do by saddlepoint. V is no χ², and not independent of θ: Student's t with G - 1 degrees of freedom would be too
short where images differ in number of particles, Satterthwaite's approximation up to half too long.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

FloatArray = NDArray[np.float64]
MANY = 150
"""From this number of images on, Satterthwaite's degrees of freedom serve as well and cost less."""
LARGEST, ALONE = 1e4, 1 - 1e-6
"""A critical value above the first is none, nor is there one where an image's share is above the second."""
ONE_DEGREE = 0.998
"""An image of this share leaves one degree of freedom, to three decimals; soon above, the differences that it follows
from lose all their digits."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_SINE2 = np.sin((_NODES + 1) * np.pi / 4)[:, None] ** 2


@dataclass(frozen=True, slots=True)
class Images:
    """Which image each of N particles is of: ``owner`` (N,) 0…G-1, particle weights ω (N,), share (G,) w, noise (G,)
    ν.
    """

    owner: NDArray[np.int64]
    weights: FloatArray
    share: FloatArray
    noise: FloatArray

    @property
    def count(self) -> int:
        """G, of images with particles."""
        return len(self.share)

    def means(self, values: FloatArray) -> FloatArray:
        """Weighted mean (G,) of a value a particle (N,)."""
        total = np.bincount(self.owner, self.weights, self.count)
        return np.bincount(self.owner, self.weights * values, self.count) / total


def grouped(images: NDArray[np.generic], weights: FloatArray) -> Images:
    """From any image keys (N,) and positive weights (N,)."""
    _, owner = np.unique(images, return_inverse=True)
    owner = owner.reshape(-1).astype(np.int64)
    total = np.bincount(owner, weights)
    return Images(owner, weights, total / total.sum(), np.bincount(owner, weights**2) / total**2)


@dataclass(frozen=True, slots=True)
class Components:
    """Variance between images ``between`` (τ²), its standard error, and variance within, ``within`` (σ²)."""

    between: float
    error: float
    within: float


def components(values: FloatArray, images: Images) -> Components:
    """Analysis of variance with unequal numbers (method of moments); between is 0 where it would be negative."""
    means, share, noise = images.means(values), images.share, images.noise
    squares = np.bincount(images.owner, images.weights * (values - means[images.owner]) ** 2)
    free = float((share * (1 - noise)).sum())
    # one particle in every image: nothing is known of the scatter within, and all of it is between
    within = float(squares.sum() / images.weights.sum()) / free if free > 1e-12 else 0.0
    spread = float(1 - (share**2).sum())
    observed = float((share * (means - share @ means) ** 2).sum()) / spread
    between = observed - within * float((share * noise).sum() - (share**2 * noise).sum()) / spread
    return Components(max(between, 0.0), float(np.sqrt(2 / (images.count - 1))) * observed, within)


@dataclass(frozen=True)
class Spread:
    """Variance of θ estimated from (residuals (G,) m_g - θ, share w, working variances v), and its quantiles."""

    residuals: FloatArray
    share: FloatArray
    working: FloatArray

    @cached_property
    def factors(self) -> FloatArray:
        """c_g w_g², (G,)."""
        total = float((self.share**2 * self.working).sum())
        return self.working / (self.working * (1 - 2 * self.share) + total) * self.share**2

    @cached_property
    def standard_error(self) -> float:
        """√V."""
        return float(np.sqrt((self.factors * self.residuals**2).sum()))

    def critical(self, level: float = 0.95) -> float:
        """|θ - E θ| / √V lies below it with the probability ``level``; infinite where one image outweighs the rest."""
        if self.share.max() > ALONE:
            return float("inf")
        start = float(special.stdtrit(self.satterthwaite, (1 + level) / 2))
        if len(self.share) > MANY:
            return start
        forms = self._forms()
        low, high = 0.3, max(3.0, min(start, LARGEST))
        while _tail(high, *forms) > 1 - level:
            high *= 2
            if high > LARGEST:
                return float("inf")
        return float(optimize.brentq(lambda t: _tail(t, *forms) - (1 - level), low, high, xtol=1e-6))

    @cached_property
    def satterthwaite(self) -> float:
        """Degrees of freedom of the χ² with the mean and variance that V has under the working model."""
        if self.share.max() > ONE_DEGREE:
            return 1.0
        d, v = self.factors, self.working
        a = self.share * v
        s = float(self.share @ a)
        zero, one, two = float(d.sum()), float(d @ a), float(d @ a**2)
        mean = float(d @ (s - 2 * a + v))
        variance = s**2 * zero**2 + 2 * zero * two + 2 * one**2 - 4 * s * zero * one
        variance += float(d**2 @ ((s - 2 * a + v) ** 2 - (s - 2 * a) ** 2))
        return mean**2 / variance

    def _forms(self) -> tuple[FloatArray, FloatArray]:
        """θ² and V as quadratic forms of G standard normal numbers, (G, G) each."""
        root = np.sqrt(self.working)
        centred = (np.eye(len(root)) - self.share[None]) * root
        theta = self.share * root
        return np.outer(theta, theta), centred.T @ (self.factors[:, None] * centred)


def _tail(t: float, theta: FloatArray, variance: FloatArray) -> float:
    """P(θ² > t² V), exactly: θ² - t² V has one positive eigenvalue λ and others -μ, and with Craig's form of the normal
    tail P(λ z² > Σ μ χ²) = 2/π ∫ Π (1 + μ / (λ sin² φ))^(-1/2) dφ over 0…π/2.
    """
    values = np.linalg.eigvalsh(theta - t * t * variance)
    if values[-1] <= 0:
        return 0.0
    ratio = np.maximum(-values[:-1], 0.0) / values[-1]
    return float(_WEIGHTS / 2 @ np.exp(-0.5 * np.log1p(ratio / _SINE2).sum(axis=1)))


def spread(values: FloatArray, images: Images) -> Spread:
    """Of the weighted mean of a value a particle (N,) over at least two images.

    The working model takes τ² one standard error above its estimate: from few images it is poorly known and often
    estimated as 0, and too small a τ² costs coverage, while too large a one makes the interval little longer.
    """
    found = components(values, images)
    working = found.between + found.error + found.within * images.noise
    means = images.means(values)
    scale = float(working.max())
    return Spread(means - images.share @ means, images.share, working / scale if scale > 0 else np.ones(images.count))


def equivalent_degrees(critical: float, level: float = 0.95) -> float:
    """Degrees of freedom of Student's t with this critical value; infinite for the normal distribution's."""
    if critical <= float(special.ndtri((1 + level) / 2)) * (1 + 1e-6):
        return float("inf")
    least = 0.05
    if critical >= float(special.stdtrit(least, (1 + level) / 2)):
        return least
    return float(optimize.brentq(lambda nu: special.stdtrit(nu, (1 + level) / 2) - critical, least, 1e7, xtol=1e-6))
