"""From simulated bodies to scenes: outlines, contrast, and what is noted about each particle in each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tem_seg.core.errors import UserError
from tem_seg.core.types import Particle
from tem_seg.generation.contrast.video import FrameScene
from tem_seg.generation.ranges import SHARE, as_number
from tem_seg.generation.raster import Crop, bounds, cut, fill
from tem_seg.generation.scenes.dumbbell import dumbbell, volume_factor
from tem_seg.generation.scenes.dynamics import Bodies, History, Motion, new_bodies
from tem_seg.generation.scenes.kinds import drawn_kinds
from tem_seg.generation.scenes.placement import Crowding, place
from tem_seg.generation.scenes.shapes import SHAPES, Roughness, area
from tem_seg.generation.scenes.tracks import Track, assign_tracks

PROCESSES = ("growth", "dissolution", "ripening", "nucleation", "coalescence")
MERGING = ("sphere",)
"""Shapes that coalesce: facets of others would have to vanish in one step, and crystals that keep them seldom merge."""
REACH = 1.2
"""No outline reaches further from its middle, in diameters."""
BRAGG_WIDTH = 0.4
"""Of the range of tilts that meet a Bragg condition, in standard deviations of the tilt."""
ROUND = 0.15
"""A merged body is called a sphere when its lobes are no further apart."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a particle looks like at every size. outline (K, 2) and height in diameters; bragg: its darkening in a
    Bragg condition, relative."""

    outline: NDArray[np.float64]
    height: float
    shape: str
    category: str
    contrast: dict[str, float]
    bragg: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """Contrast of a sequence's particles: median scattering, standard deviation of its logarithm, share of crystals."""

    scattering_per_nm: float
    density_spread: float
    crystalline: float


def new_forms(
    shapes: Mapping[str, Mapping[str, Any]], kinds: tuple[float, float], count: int, rough: Roughness, look: Look,
    rng: np.random.Generator,
) -> list[Form]:  # fmt: skip
    """``count`` individuals. A batch holds few shapes: kinds [min, max] of them are picked by weight."""
    forms = []
    for name in drawn_kinds(rng, shapes, kinds, count):
        scattering = look.scattering_per_nm * float(np.exp(look.density_spread * rng.standard_normal()))
        crystal, category = bool(rng.random() < look.crystalline), str(shapes[name]["category"])
        forms.append(new_form(name, category, rough, scattering, crystal, rng))
    return forms


def new_form(
    name: str, category: str, rough: Roughness, scattering_per_nm: float, crystalline: bool, rng: np.random.Generator
) -> Form:  # fmt: skip
    """A random individual of a shape. Crystals get a texture, and flicker while they tilt."""
    drawn = SHAPES[name](rng, rough)
    contrast = {"scattering_per_nm": scattering_per_nm, "bevel": drawn.bevel, "edge_power": drawn.edge_power}
    texture = {
        "mottle": float(rng.uniform(0.1, 0.7)), "sectors": float(drawn.sectors),
        "sectors_gain": float(rng.uniform(0.2, 0.8)),
    }  # fmt: skip
    kind, strength = ("twins", "contours", "none")[int(rng.integers(3))], float(rng.uniform(0.3, 1.2))
    bragg = float(rng.uniform(0.2, 1.5))
    if not crystalline:
        return Form(drawn.outline, drawn.height, name, category, contrast)
    texture |= {} if kind == "none" else {kind: strength}
    return Form(drawn.outline, drawn.height, name, category, contrast | texture, bragg)


def bodies_of(
    forms: Sequence[Form], diameters_nm: NDArray[np.float64], motion: Motion, crowding: Crowding,
    rng: np.random.Generator,
) -> Bodies:  # fmt: skip
    """A body of each form and diameter (N,), laid into the box; those that find no place are left out."""
    bodies = new_bodies(len(forms))
    bodies["form"], bodies["diameter"] = np.arange(len(forms)), diameters_nm
    bodies["angle"], bodies["tilt"] = rng.uniform(0.0, 2.0 * np.pi, len(forms)), rng.standard_normal(len(forms))
    bodies["factor"] = [volume_factor(form.outline, form.contrast, form.height) for form in forms]
    bodies["merges"] = [form.shape in MERGING for form in forms]
    outlines = [turned(forms[i].outline, float(body["angle"])) * body["diameter"] for i, body in enumerate(bodies)]
    size = np.subtract(motion.high_nm, motion.low_nm)
    centres = place(outlines, (float(size[1]), float(size[0])), crowding, rng)
    found = np.array([centre is not None for centre in centres], bool)
    bodies = bodies[found]
    bodies["position"] = np.array([c for c in centres if c is not None]).reshape(-1, 2) + motion.low_nm
    return np.asarray(bodies)


def turned(outline: NDArray[np.float64], angle_rad: float) -> NDArray[np.float64]:
    """Outline (K, 2) x, y turned from x towards y (clockwise as displayed)."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return np.asarray(outline @ np.array([[cosine, sine], [-sine, cosine]]))


def film(
    history: History, forms: Sequence[Form], field_nm: tuple[float, float], image_size: tuple[int, int],
    interval_s: float, min_visible_px: int,
) -> list[FrameScene]:  # fmt: skip
    """The scene of every frame: particles of which at least min_visible_px px are in the image, with their tracks."""
    pixel_nm = field_nm[0] / image_size[0]
    seen = [_in_sight(bodies, forms, field_nm, pixel_nm, image_size, min_visible_px) for bodies in history.frames]
    tracks = assign_tracks(history, [set(frame) for frame in seen])
    scenes = []
    for number, (frame, drift) in enumerate(zip(seen, history.drift_nm, strict=True)):
        particles = tuple(
            _particle(body, outline, height, forms[body["form"]], tracks[number][key])
            for key, (body, outline, height) in frame.items()
        )
        scenes.append(FrameScene(particles, field_nm, {"time_s": number * interval_s}, drift))
    return scenes


Seen = tuple[np.void, NDArray[np.float64], float]


def _in_sight(
    bodies: Bodies, forms: Sequence[Form], field_nm: tuple[float, float], pixel_nm: float,
    image_size: tuple[int, int], min_visible_px: int,
) -> dict[int, Seen]:  # fmt: skip
    """Body → (body, outline in nm, height in nm) of those that will be annotated, by truth.instances_of's count."""
    away = np.maximum(-bodies["position"], bodies["position"] - [field_nm[1], field_nm[0]]).max(axis=1, initial=-1e300)
    found: dict[int, Seen] = {}
    for body in bodies[away < REACH * bodies["diameter"]]:
        outline, height = _outline(body, forms[body["form"]])
        if _is_visible(outline / pixel_nm, image_size, min_visible_px):
            found[int(body["id"])] = (body, outline, height)
    return found


def _outline(body: np.void, form: Form) -> tuple[NDArray[np.float64], float]:
    shape, height = dumbbell(body["lobes"], float(body["apart"])) if body["fused"] else (form.outline, form.height)
    outline = turned(shape, float(body["angle"])) * body["diameter"] + body["position"]
    return outline, float(height * body["diameter"])


def _is_visible(outline_px: NDArray[np.float64], image_size: tuple[int, int], min_visible_px: int) -> bool:
    box = bounds(outline_px)
    inside = box[0] >= 0 and box[1] >= 0 and box[2] <= image_size[1] and box[3] <= image_size[0]
    if inside and area(outline_px) > 2.0 * min_visible_px + 50.0:
        return True
    crop = cut(Crop(fill(outline_px, box), box[0], box[1]), image_size)
    return crop is not None and int(crop.values.sum()) >= min_visible_px


def _particle(body: np.void, outline: NDArray[np.float64], height: float, form: Form, track: Track) -> Particle:
    contrast, shape = dict(form.contrast), form.shape
    if body["fused"]:
        contrast |= {"bevel": 1.0, "edge_power": 2.0, "sectors": 2.0 if "sectors" in contrast else 0.0}
        shape = "dumbbell" if body["apart"] > ROUND else "sphere"
    bragg = form.bragg * float(np.exp(-0.5 * (body["tilt"] / BRAGG_WIDTH) ** 2))
    contrast["scattering_per_nm"] *= 1.0 + bragg
    contrast |= {"turn": float(body["angle"]), "texture": float(body["id"])}
    notes = track.notes() | {
        "true_centroid_nm": [round(float(v), 4) for v in body["position"]],
        "true_volume_nm3": round(float(body["factor"] * body["diameter"] ** 3), 4),
    }
    return Particle(outline, height, shape, form.category, contrast, notes)


def checked_processes(owner: str, processes: Mapping[str, float]) -> dict[str, float]:
    """Process → share of the sequences, for all of PROCESSES; a UserError that names what is wrong."""
    if set(processes) != set(PROCESSES):
        raise UserError(f"{owner}.processes must have the keys {', '.join(PROCESSES)}, got {sorted(processes)}")
    plain = {name: as_number(f"{owner}.processes.{name}", processes[name], SHARE) for name in PROCESSES}
    if plain["growth"] + plain["dissolution"] > 1.0:
        raise UserError(f"{owner}.processes: growth and dissolution exclude each other, their sum must not exceed 1")
    return plain
