"""In-situ videos: particles move, grow, dissolve, ripen, merge. Values and units: conf/recipe/insitu_video.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tem_seg.core.errors import UserError
from tem_seg.core.seeds import child_rng
from tem_seg.generation import ranges
from tem_seg.generation.contrast.video import FrameScene
from tem_seg.generation.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check, log_uniform, uniform
from tem_seg.generation.scenes.dynamics import Motion, simulate
from tem_seg.generation.scenes.filming import Look, bodies_of, checked_processes, film, new_forms
from tem_seg.generation.scenes.kinds import categories_of, checked_kinds
from tem_seg.generation.scenes.placement import Crowding
from tem_seg.generation.scenes.shapes import SHAPES, Roughness
from tem_seg.generation.scenes.sizes import Magnification, biggest_median_px, check_smallest, log_normal, mean_area

RANGES: dict[str, Range] = {
    "particles": NOT_NEGATIVE, "diameter_nm": POSITIVE, "sigma_log": (0.0, 1.0), "diameter_px": (2.0, 1e4),
    "pixel_size_nm": POSITIVE, "shapes_per_sequence": (1.0, 100.0), "corner": (0.01, 1.0), "irregularity": (0.0, 0.2),
    "touching": SHARE, "frame_interval_s": POSITIVE, "diffusivity_nm2_s": POSITIVE, "rotation_rad2_s": POSITIVE,
    "drift_nm_s": NOT_NEGATIVE, "wander_nm2_s": NOT_NEGATIVE, "growth_nm_s": POSITIVE, "dissolution_nm_s": POSITIVE,
    "ripening_nm_s": POSITIVE, "nuclei": NOT_NEGATIVE, "contact_s": POSITIVE, "relaxation_s": POSITIVE,
    "flicker_s": POSITIVE, "optical_density": (0.001, 20.0), "density_spread": (0.0, 1.0), "crystalline": SHARE,
}  # fmt: skip
NUMBERS: dict[str, Range] = {
    "frames": (1.0, 100_000.0), "max_coverage": (0.01, 0.6), "min_diameter_px": (2.0, 1e4), "max_step": (0.0, 2.0),
    "max_turn_deg": (0.0, 180.0), "max_drift": (0.0, 5.0), "max_change": (0.0, 2.0), "passing": SHARE,
    "empty_fraction": SHARE, "min_visible_px": (1.0, 1e6),
}  # fmt: skip
LARGEST_SIGMAS = 2.5
KEPT_SEQUENCES = 4


@dataclass(frozen=True, slots=True)
class Setting:
    """What a sequence is filmed with. field_nm (height, width); lasts_s: from the first frame to the last."""

    median_nm: float
    sigma_log: float
    pixel_nm: float
    field_nm: tuple[float, float]
    interval_s: float
    lasts_s: float


@dataclass(frozen=True, kw_only=True)
class InsituVideo:
    """Draws sequences of scenes. Fields are explained, with units, in conf/recipe/insitu_video.yaml.

    A whole sequence is simulated at once, from the rng's state alone, and kept until a few others have been drawn.
    """

    shapes: Mapping[str, Mapping[str, Any]]
    processes: Mapping[str, float]
    frames: int
    particles: Range
    diameter_nm: Range
    sigma_log: Range
    diameter_px: Range
    pixel_size_nm: Range
    min_diameter_px: float
    max_coverage: float
    shapes_per_sequence: Range
    corner: Range
    irregularity: Range
    touching: Range
    passing: float
    frame_interval_s: Range
    diffusivity_nm2_s: Range
    max_step: float
    rotation_rad2_s: Range
    max_turn_deg: float
    drift_nm_s: Range
    wander_nm2_s: Range
    max_drift: float
    growth_nm_s: Range
    dissolution_nm_s: Range
    ripening_nm_s: Range
    max_change: float
    nuclei: Range
    contact_s: Range
    relaxation_s: Range
    optical_density: Range
    density_spread: Range
    crystalline: Range
    flicker_s: Range
    empty_fraction: float
    occlusion: str
    min_visible_px: int

    modality = "bright_field"
    composes_pictures = False

    def __post_init__(self) -> None:
        check(self, RANGES, NUMBERS)
        for name in ("frames", "min_visible_px"):
            object.__setattr__(self, name, int(getattr(self, name)))
        object.__setattr__(self, "shapes", checked_kinds("InsituVideo.shapes", self.shapes, SHAPES))
        object.__setattr__(self, "processes", checked_processes("InsituVideo", self.processes))
        check_smallest("InsituVideo", self.min_diameter_px, self.diameter_px, 1.0)
        if np.pi / 4.0 * self.min_diameter_px**2 < 1.3 * self.min_visible_px:
            raise UserError(
                f"InsituVideo.min_diameter_px {self.min_diameter_px:g}: discs of that size have hardly the "
                f"min_visible_px {self.min_visible_px} pixels that are annotated, and tracks would have gaps: "
                f"at least {np.sqrt(1.3 * self.min_visible_px * 4.0 / np.pi):.1f} px"
            )

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories in the order in which ``shapes`` first names them."""
        return categories_of(self.shapes)

    def identity(self) -> dict[str, Any]:
        """Class and parameters."""
        return ranges.describe(self)

    def check_fits(self, image_size: tuple[int, int]) -> None:
        """UserError if even the fewest particles do not fit, or no magnification shows them at the wanted size."""
        biggest_px = self._biggest_median_px(image_size)
        if biggest_px < self.diameter_px[0]:
            fit = int(
                self.max_coverage * image_size[0] * image_size[1] / mean_area(self.diameter_px[0], self.sigma_log[1])
            )
            raise UserError(
                f"InsituVideo.particles: {self.particles[0]:g} particles of median diameter {self.diameter_px[0]:g} "
                f"px do not fit in {image_size[0]} × {image_size[1]} px at max_coverage {self.max_coverage:g}, {fit} "
                "do: ask for fewer particles, smaller diameter_px or larger images"
            )
        self._magnification.check(self.diameter_nm, biggest_px)

    def draw(self, rng: np.random.Generator, image_size: tuple[int, int] = (512, 512)) -> FrameScene:
        """The first frame."""
        return self.draw_frame(rng, image_size, 0)

    def draw_frame(self, rng: np.random.Generator, image_size: tuple[int, int], frame: int) -> FrameScene:
        """Frame 0 … frames − 1 of the sequence that rng stands for, for an image of (H, W) px."""
        if not 0 <= frame < self.frames:
            raise ValueError(f"frame must lie between 0 and {self.frames - 1}, got {frame}")
        # the seed is drawn also where the sequence is kept already: the caller's rng goes on alike
        key = (int(rng.integers(2**63)), int(image_size[0]), int(image_size[1]))
        scenes = self._kept.get(key)
        if scenes is None:
            scenes = self._simulated(child_rng(key[0], "sequence"), key[1:])
            for old in list(self._kept)[: 1 - KEPT_SEQUENCES]:
                self._kept.pop(old, None)
            self._kept[key] = scenes
        return scenes[frame]

    @cached_property
    def _kept(self) -> dict[tuple[int, int, int], list[FrameScene]]:
        return {}

    @property
    def _magnification(self) -> Magnification:
        return Magnification("InsituVideo", self.diameter_px, self.pixel_size_nm)

    def _biggest_median_px(self, image_size: tuple[int, int]) -> float:
        return biggest_median_px(self.particles[0], self.max_coverage, self.sigma_log[1], image_size)

    def _simulated(self, rng: np.random.Generator, image_size: tuple[int, int]) -> list[FrameScene]:
        setting = self._setting(rng, image_size)
        if rng.random() < self.empty_fraction:
            return [FrameScene((), setting.field_nm, {"time_s": k * setting.interval_s}) for k in range(self.frames)]
        motion = self._motion(rng, setting)
        size = np.subtract(motion.high_nm, motion.low_nm)
        share = float(np.prod(size)) / float(np.prod(setting.field_nm))
        room = self.max_coverage * float(np.prod(setting.field_nm)) / mean_area(setting.median_nm, setting.sigma_log)
        most = int(min(self.particles[1], max(self.particles[0], room)))
        count = round(int(rng.integers(int(self.particles[0]), most + 1)) * share)
        limits = (motion.smallest_nm * 1.02, setting.median_nm * float(np.exp(LARGEST_SIGMAS * setting.sigma_log)))
        diameters = log_normal(rng, count, setting.median_nm, setting.sigma_log, limits)
        rough = Roughness(uniform(rng, self.corner), uniform(rng, self.irregularity))
        look = Look(log_uniform(rng, self.optical_density) / setting.median_nm, uniform(rng, self.density_spread),
                    uniform(rng, self.crystalline))  # fmt: skip
        forms = new_forms(self.shapes, self.shapes_per_sequence, count, rough, look, rng)
        crowding = Crowding(0.0, uniform(rng, self.touching), (0.1, 0.3), setting.pixel_nm)
        bodies = bodies_of(forms, diameters, motion, crowding, rng)
        history = simulate(bodies, motion, self.frames, rng)
        return film(history, forms, setting.field_nm, image_size, setting.interval_s, self.min_visible_px)

    def _setting(self, rng: np.random.Generator, image_size: tuple[int, int]) -> Setting:
        median_nm, sigma = log_uniform(rng, self.diameter_nm), uniform(rng, self.sigma_log)
        pixel_nm = log_uniform(rng, self._magnification.pixel_sizes_nm(median_nm, self._biggest_median_px(image_size)))
        interval = log_uniform(rng, self.frame_interval_s)
        field_nm = (image_size[0] * pixel_nm, image_size[1] * pixel_nm)
        return Setting(median_nm, sigma, pixel_nm, field_nm, interval, interval * max(1, self.frames - 1))

    def _motion(self, rng: np.random.Generator, setting: Setting) -> Motion:
        """Laws of a sequence: each rate from its range, and no faster than can be followed (max_step and others)."""
        median, interval, lasts = setting.median_nm, setting.interval_s, setting.lasts_s
        most_drift = self.max_drift * min(setting.field_nm)
        diffusivity = min(log_uniform(rng, self.diffusivity_nm2_s), (self.max_step * median) ** 2 / (4.0 * interval))
        turn = min(log_uniform(rng, self.rotation_rad2_s), np.deg2rad(self.max_turn_deg) ** 2 / (2.0 * interval))
        heading, speed = rng.uniform(0.0, 2.0 * np.pi), min(uniform(rng, self.drift_nm_s), most_drift / lasts)
        wander = min(uniform(rng, self.wander_nm2_s), most_drift**2 / (4.0 * lasts))
        smallest = self.min_diameter_px * setting.pixel_nm
        largest = median * np.exp(LARGEST_SIGMAS * setting.sigma_log) + self.max_change * median
        step = np.sqrt(2.0 * interval * (diffusivity * median / smallest + wander))
        margin = float(1.2 * largest + speed * interval + 4.0 * step)
        field_nm = (setting.field_nm[1], setting.field_nm[0])
        return Motion(
            low_nm=(-margin, -margin), high_nm=(field_nm[0] + margin, field_nm[1] + margin),
            interval_s=interval, substeps=int(np.clip(4.0 * diffusivity * interval / (0.1 * median) ** 2, 2, 12)),
            reference_nm=median, smallest_nm=smallest, diffusivity_nm2_s=diffusivity, rotation_rad2_s=float(turn),
            drift_nm_s=(float(speed * np.cos(heading)), float(speed * np.sin(heading))), wander_nm2_s=wander,
            tilt_s=log_uniform(rng, self.flicker_s), relaxation_s=log_uniform(rng, self.relaxation_s),
            passing=bool(rng.random() < self.passing),
            **self._changes(rng, setting, (field_nm[0] + 2 * margin) * (field_nm[1] + 2 * margin)),
        )  # fmt: skip

    def _changes(self, rng: np.random.Generator, setting: Setting, box_nm2: float) -> dict[str, float]:
        """Rates of what happens to sizes and numbers, 0 (or never) for what does not happen in this sequence."""
        fastest = self.max_change * setting.median_nm / setting.lasts_s
        which, happens = rng.random(), {name: rng.random() < share for name, share in self.processes.items()}
        rates = {
            "growth": min(log_uniform(rng, self.growth_nm_s), fastest),
            "dissolution": -min(log_uniform(rng, self.dissolution_nm_s), fastest),
            "ripening": min(log_uniform(rng, self.ripening_nm_s), fastest),
            "nuclei": uniform(rng, self.nuclei) / setting.lasts_s * box_nm2 / float(np.prod(setting.field_nm)),
            "contact": log_uniform(rng, self.contact_s),
        }
        grows = which < self.processes["growth"]
        dissolves = not grows and which < self.processes["growth"] + self.processes["dissolution"]
        return {
            "growth_nm_s": rates["growth"] if grows else rates["dissolution"] if dissolves else 0.0,
            "ripening_nm_s": rates["ripening"] if happens["ripening"] else 0.0,
            "nuclei_per_s": rates["nuclei"] if grows and happens["nucleation"] else 0.0,
            "contact_s": rates["contact"] if happens["coalescence"] else float("inf"),
        }
