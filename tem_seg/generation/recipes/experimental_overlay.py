"""Synthetic particles over experimental substrates. Values and units: conf/recipe/experimental_overlay.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Instances, Modality, Scene
from tem_seg.generation.microscope.imaging import Contrast
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, Range, check, describe, log_uniform, uniform
from tem_seg.generation.real.substrates import Substrates, canvas, noise_of
from tem_seg.generation.recipe import Picture, Recipe
from tem_seg.generation.truth import instances_of

Pixels = NDArray[np.float32]
OWN = ("zoom", "reflect", "black", "fresnel_px", "fringe", "blur_px", "signal")


@dataclass(frozen=True, kw_only=True)
class ExperimentalOverlay:
    """Lays the particles of another recipe over experimental micrographs of the bare support (paper 000).

    Bright field: the substrate's signal (its grey level above black) is multiplied by the particles' transmission;
    other modalities add the particles' signal. Particles are blurred at least as much as the substrate's own noise is.
    Where they absorb, the noise that fewer electrons have is topped up: the substrate's own, multiplied by T, has T² of
    its variance, counted electrons have T.
    """

    recipe: Recipe
    contrast: Contrast
    substrates: Substrates
    zoom: Range
    reflect: bool
    black: Range
    fresnel_px: Range
    fringe: Range
    blur_px: Range
    signal: Range

    composes_pictures = True

    def __post_init__(self) -> None:
        limits = {"zoom": (0.1, 10.0), "black": (-1.0, 0.95), "fresnel_px": POSITIVE, "fringe": (-2.0, 2.0)}
        check(self, limits | {"blur_px": NOT_NEGATIVE, "signal": POSITIVE})
        if self.recipe.composes_pictures:
            raise UserError("ExperimentalOverlay.recipe must draw scenes, not pictures: give one drawn from scratch")

    @property
    def categories(self) -> tuple[str, ...]:
        """Those of the particles' recipe."""
        return self.recipe.categories

    @property
    def modality(self) -> str:
        """That of the particles' recipe."""
        return self.recipe.modality

    @property
    def occlusion(self) -> str:
        """That of the particles' recipe."""
        return self.recipe.occlusion

    @property
    def min_visible_px(self) -> int:
        """That of the particles' recipe."""
        return self.recipe.min_visible_px

    def identity(self) -> dict[str, Any]:
        """The recipe's, the substrates' and the own parameters."""
        own = {
            name: getattr(self, name)
            for name in ("zoom", "reflect", "black", "fresnel_px", "fringe", "blur_px", "signal")
        }
        parts = {"recipe": self.recipe.identity(), "substrates": self.substrates.identity()}
        return {"class": type(self).__qualname__, "contrast": describe(self.contrast)} | parts | own

    def check_fits(self, image_size: tuple[int, int]) -> None:
        """UserError if the particles do not fit, or a substrate is too small and may not be continued."""
        self.recipe.check_fits(image_size)
        if not self.reflect:
            for index in range(len(self.substrates)):
                canvas(self.substrates.substrate(index)[0], image_size, self.zoom[0], False, np.random.default_rng(0))

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int]) -> Picture:
        """One picture of (H, W) px."""
        pixels, pixel_size_nm = self.substrates.substrate(int(rng.integers(len(self.substrates))))
        zoom = log_uniform(rng, self.zoom)
        substrate = canvas(pixels, image_size, zoom, self.reflect, rng)
        scene = self.recipe.draw(rng, image_size)
        assert isinstance(scene, Scene), "__post_init__ has seen to it"
        noise_sd, noise_blur_px = noise_of(substrate)
        seen = self._blurred(self.contrast(scene, image_size, rng), noise_blur_px, rng)
        if self.modality == Modality.BRIGHT_FIELD:
            laid = self._absorbed(substrate, seen, noise_sd, noise_blur_px, rng)
        else:
            laid = substrate + seen * np.float32(
                log_uniform(rng, self.signal) * (255.0 - float(np.median(substrate[::4, ::4])))
            )
        instances = self._instances(scene, image_size, pixel_size_nm and pixel_size_nm / zoom)
        return Picture(np.clip(np.rint(laid), 0.0, 255.0), instances, pixel_size_nm and pixel_size_nm / zoom)

    def _blurred(self, sharp: Pixels, noise_blur_px: float, rng: np.random.Generator) -> Pixels:
        """With the fringe of a defocus, and no sharper than the substrate."""
        fresnel_px, fringe = log_uniform(rng, self.fresnel_px), np.float32(uniform(rng, self.fringe))
        fringed = sharp + fringe * (sharp - cv2.GaussianBlur(sharp, (0, 0), 0.7 * fresnel_px))
        sigma = float(np.hypot(noise_blur_px, uniform(rng, self.blur_px)))
        return np.maximum(cv2.GaussianBlur(np.asarray(fringed, np.float32), (0, 0), max(sigma, 0.3)), np.float32(0.0))

    def _absorbed(
        self, substrate: Pixels, transmission: Pixels, noise_sd: float, noise_blur_px: float, rng: np.random.Generator
    ) -> Pixels:  # fmt: skip
        black = np.float32(uniform(rng, self.black) * float(np.median(substrate[::4, ::4])))
        laid = black + (substrate - black) * transmission
        lost = np.clip(transmission - transmission * transmission, 0.0, None)
        if noise_sd > 0.3 and lost.any():
            white = rng.standard_normal(substrate.shape, dtype=np.float32)
            grain = np.asarray(cv2.GaussianBlur(white, (0, 0), max(noise_blur_px, 0.3)), np.float32)
            spread = max(float(grain[::4, ::4].std()), 1e-6)
            grain *= np.sqrt(lost, out=lost)
            laid += grain * np.float32(noise_sd / spread)
        return np.asarray(laid, np.float32)

    def _instances(self, scene: Scene, image_size: tuple[int, int], pixel_size_nm: float | None) -> Instances:
        """Masks, and true sizes in the substrate's pixel size, or in px where that is not known."""
        drawn_nm = scene.field_of_view_nm[0] / image_size[0]
        hidden = np.zeros(image_size, bool)
        found = instances_of(scene, hidden, drawn_nm, self.categories, self.occlusion, self.min_visible_px)
        truths = [rescaled(truth, drawn_nm, pixel_size_nm) for truth in found.truths]
        return Instances(found.size, found.labels, found.segmentations, found.full_segmentations, truths)


def rescaled(truth: dict[str, Any], drawn_nm: float, pixel_size_nm: float | None) -> dict[str, Any]:
    """Truth of a particle drawn at one pixel size, as it is at another; in px (``true_…_px``) where that is None."""
    factor, unit = (1.0 / drawn_nm, "px") if pixel_size_nm is None else (pixel_size_nm / drawn_nm, "nm")
    found: dict[str, Any] = {}
    for key, value in truth.items():
        if key.endswith("_nm"):
            found[f"{key[:-3]}_{unit}"] = round(value * factor, 4)
        elif key.endswith("_nm2"):
            found[f"{key[:-4]}_{unit}2"] = round(value * factor * factor, 4)
        else:
            found[key] = value
    return found
