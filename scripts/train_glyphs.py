"""Trains the reader of scale bar labels on drawn words: `python scripts/train_glyphs.py [words] [epochs]`.

Writes tem_seg/data/scalebar_glyphs.npz, in about five minutes on one core. No real image is used: fonts are those
that come with matplotlib and Pillow.
Words are drawn letter by letter, so that each letter's columns are known, at the sizes, strokes, slants, blurs and
noise of printed figures; pieces of letters, pairs of letters, other letters and specks are "none of these".
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageFont

from tem_seg.data.scalebar_glyphs import CLASSES, DIGIT_ROWS, WEIGHTS, normalised, patches

TARGET = Path(__file__).resolve().parents[1] / "tem_seg" / "data" / WEIGHTS
OTHERS = "abcdefghjkprstvwxyzABCDEFGHJKLMNPQRTUVWXY:=/-×*()+,%#[]"
SANS = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold"]
SERIF = ["DejaVuSerif", "DejaVuSerif-Bold", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic"]
PLAIN = ["cmss10", "cmr10", "cmtt10"]
"""Computer Modern: no µ and no Å."""
FONTS = [*SANS, *SERIF, "STIXGeneral", "STIXGeneralBol", *PLAIN, *["Aileron"] * 6]
"""Aileron, Pillow's own, looks like the Helvetica of most figures, STIX like their Times."""
STROKE = (-0.012, 0.035)
"""Of the em: how much each side of Aileron's strokes moves; it comes in one weight, figures are often bold."""
NO_HALVES = "1.4dHJKLMN"
"""Letters whose halves look like a 1."""
HIDDEN = (96, 32)
SUPERSAMPLING = 3


@dataclass(frozen=True)
class Word:
    """A drawn word: ink (h, w) in [0, 1], its letters, and each letter's box x0, y0, x1, y1 in px."""

    ink: NDArray[np.float32]
    letters: str
    boxes: NDArray[np.float64]


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    if name == "Aileron":
        found = ImageFont.load_default(size)
        assert isinstance(found, ImageFont.FreeTypeFont)
        return found
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size)


def some_text(rng: np.random.Generator, plain: bool) -> str:
    """Mostly labels; sometimes digits in any order, or letters that belong to no label."""
    kind = rng.random()
    units = ["nm", "nm", "um", "mm"] if plain else ["nm", "nm", "µm", "µm", "um", "Å", "mm"]
    unit = units[rng.integers(len(units))]
    number = str(int(rng.choice([1, 2, 5, 10, 20, 50, 100, 200, 500])))
    if kind < 0.4:
        number = "".join(str(d) for d in rng.integers(0, 10, rng.integers(1, 5)))
    if rng.random() < 0.3:
        at = int(rng.integers(1, len(number) + 1))
        number = f"{number[:at]}.{number[at:] or str(rng.integers(0, 10))}"
    if kind > 0.75:
        unit = "".join(OTHERS[k] for k in rng.integers(0, len(OTHERS), rng.integers(1, 4)))
    return f"{number}{' ' if rng.random() < 0.7 else ''}{unit}"


def draw(rng: np.random.Generator) -> Word:
    """One word at a random size, stroke, slant, tracking, blur and noise."""
    name = FONTS[rng.integers(len(FONTS))]
    text = some_text(rng, name in PLAIN)
    size = SUPERSAMPLING * float(np.exp(rng.uniform(np.log(10), np.log(48))))
    face, pen = font(name, max(8, round(size / 3) * 3)), 4.0 * SUPERSAMPLING
    tracking = rng.uniform(-0.06, 0.12) * size if rng.random() < 0.6 else 0.0
    ascent = round(1.3 * size)
    width_px = round(pen * 2 + sum(face.getlength(c) + abs(tracking) for c in text))
    canvas = np.zeros((round(2.2 * size), width_px), np.uint8)
    spans: list[tuple[str, float, float, float, float]] = []
    regular = face
    for letter in text:
        face = font("DejaVuSans", regular.size) if name == "Aileron" and letter in "µÅ" else regular  # it has neither
        mask, (dx, dy) = face.getmask2(letter, mode="L", anchor="ls")
        width, height = mask.size
        if width and height and letter != " ":
            x, y = round(pen + dx), round(ascent + dy)
            part = canvas[y : y + height, x : x + width]
            glyph = np.asarray(mask, np.uint8).reshape(height, width)[: part.shape[0], : part.shape[1]]
            np.maximum(part, glyph, out=part)
            spans.append((letter, x, y, x + width, y + height))
        pen += face.getlength(letter) + tracking
    return distorted(canvas, spans, size, name == "Aileron", rng)


def distorted(
    canvas: NDArray[np.uint8], spans: list[tuple[str, float, float, float, float]], size: float, plump: bool,
    rng: np.random.Generator,
) -> Word:  # fmt: skip
    """The supersampled word slanted, stretched, put on pixels, thickened or thinned, blurred and made noisy."""
    stretch, shear = rng.uniform(0.75, 1.2), rng.normal(0.0, 0.05)
    shift = rng.uniform(0.0, 1.0, 2)
    height, width = canvas.shape
    matrix = np.array([[stretch, shear, -0.6 * shear * height], [0.0, 1.0, 0.0]])
    margin = abs(shear) * height
    matrix[0, 2] += margin + shift[0] * SUPERSAMPLING
    matrix[1, 2] += shift[1] * SUPERSAMPLING
    out = (int(stretch * width + 2 * margin) + 8, height + 8)
    ink = cv2.warpAffine(canvas, matrix, out).astype(np.float32) / 255.0
    stroke = rng.uniform(*(STROKE if plump else (-0.02, 0.02))) * size
    if abs(stroke) > 1.0:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(abs(stroke)) + 1,) * 2)
        ink = (cv2.dilate if stroke > 0 else cv2.erode)(ink, kernel) if stroke > 0 or size > 80 else ink
    small = cv2.resize(ink, (out[0] // SUPERSAMPLING, out[1] // SUPERSAMPLING), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(0.2, 0.8 if size < 45 else 1.3)))
    full = max(float(np.percentile(small[small >= 0.4 * small.max()], 80)), 0.05)
    small = small / full * rng.uniform(0.9, 1.4) + rng.uniform(-0.15, 0.1)
    small = np.clip(small + rng.normal(0.0, rng.uniform(0.0, 0.08), small.shape), 0.0, 1.0).astype(np.float32)
    boxes = []
    for _, x0, y0, x1, y1 in spans:
        lean = [shear * y + matrix[0, 2] for y in (y0, y1)]
        boxes.append((stretch * x0 + min(lean), y0 + matrix[1, 2], stretch * x1 + max(lean), y1 + matrix[1, 2]))
    return Word(small, "".join(s[0] for s in spans), np.array(boxes) / SUPERSAMPLING)


def pieces_of(word: Word, rng: np.random.Generator) -> tuple[NDArray[np.float32], list[int]]:
    """Patches of one word and their classes."""
    top, bottom = word.boxes[0, [1, 3]]
    error = rng.normal(0.0, max(0.03 * (bottom - top), 0.35), 2)
    top, bottom = top + error[0], bottom + error[1]
    line = normalised(word.ink, top, bottom)
    scale = DIGIT_ROWS / (bottom - top)
    edges = word.boxes[:, [0, 2]] * scale
    segments: list[tuple[int, int]] = []
    labels: list[int] = []

    def add(start: float, end: float, label: int) -> None:
        start_px, end_px = max(0, round(start)), min(line.shape[1], round(end))
        if end_px - start_px >= 2:
            segments.append((start_px, end_px))
            labels.append(label)

    none = len(CLASSES)
    for k, letter in enumerate(word.letters):
        start, end = edges[k] + rng.normal(0.0, 0.8, 2) + np.array([-0.5, 0.5])
        add(start, end, CLASSES.find(letter) if letter in CLASSES else none)
        if rng.random() < 0.6 and letter not in NO_HALVES:  # half a letter, but no half that looks like another
            middle = start + (end - start) * rng.uniform(0.3, 0.7)
            add(*((start, middle) if rng.random() < 0.5 else (middle, end)), none)
        if k + 1 < len(word.letters) and rng.random() < 0.5:
            add(start, edges[k + 1, 1], none)
        if k + 1 < len(word.letters) and rng.random() < 0.3:
            add((start + end) / 2, edges[k + 1].mean(), none)
    return patches(line, segments) if segments else np.zeros((0, 0), np.float32), labels


def speck(rng: np.random.Generator) -> NDArray[np.float32]:
    """A round blob as particles beside a label leave: unlike a point it is large or high up."""
    line = np.zeros((52, 60), np.float32)
    low = rng.random() < 0.5
    radius = float(rng.uniform(7, 20)) if low else float(rng.uniform(2, 20))
    centre = (30, int(rng.integers(30, 42)) if low else int(rng.integers(8, 26)))
    radii = (round(radius), round(radius * rng.uniform(0.6, 1.0)))
    cv2.ellipse(line, centre, radii, rng.uniform(0, 180), 0, 360, 1.0, -1)
    columns = np.nonzero(line.any(axis=0))[0]
    return patches(cv2.GaussianBlur(line, (0, 0), 1.0), [(int(columns[0]), int(columns[-1]) + 1)])


def flagged_one(rng: np.random.Generator) -> NDArray[np.float32]:
    """A 1 without a foot, as Helvetica and Arial draw it in many weights: a stem and a flag."""
    line = np.zeros((52, 60), np.float32)
    thick, flag = rng.uniform(2.5, 8.5), rng.uniform(4, 12)
    top, right = 8 + rng.normal(0, 1.0), 34.0
    drop, weight = flag * rng.uniform(0.3, 0.9), thick * rng.uniform(0.5, 0.95)
    stem = [(right - thick, top), (right, top), (right, 40 + rng.normal(0, 1.0)), (right - thick, 40.0)]
    bend = (right - thick - flag * 0.4, top + drop * rng.uniform(0.5, 0.8))
    wing = [(right - thick * 0.7, top), (right - thick, top + weight + 1), (bend[0], bend[1] + weight),
            (right - thick - flag, top + drop + weight), (right - thick - flag, top + drop), bend]  # fmt: skip
    for shape in (stem, wing):
        cv2.fillPoly(line, [np.rint(np.array(shape) * 16).astype(np.int32)], 1.0, cv2.LINE_8, 4)
    line = cv2.GaussianBlur(line, (0, 0), float(rng.uniform(0.5, 2.5)))
    columns = np.nonzero((line > 0.3).any(axis=0))[0]
    line = np.clip(line * rng.uniform(0.9, 1.4) + rng.uniform(-0.1, 0.05), 0, 1)
    start, end = int(columns[0]) + int(rng.integers(-2, 2)), int(columns[-1]) + int(rng.integers(0, 3))
    return patches(line, [(max(0, start), end)])


def samples(words: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    inputs, labels = [], []
    for _ in range(words):
        found, classes = pieces_of(draw(rng), rng)
        if classes:
            inputs.append(found.astype(np.float16))
            labels += classes
        if rng.random() < 0.3:
            inputs.append(speck(rng).astype(np.float16))
            labels.append(len(CLASSES))
        if rng.random() < 0.25:
            inputs.append(flagged_one(rng).astype(np.float16))
            labels.append(CLASSES.index("1"))
    return torch.from_numpy(np.concatenate(inputs)), torch.tensor(labels)


def train(words: int, epochs: int) -> None:
    torch.manual_seed(0)
    inputs, labels = samples(words, seed=1)
    check_inputs, check_labels = samples(words // 20, seed=2)
    print(f"{len(labels)} pieces of {words} words", flush=True)
    sizes = [inputs.shape[1], *HIDDEN, len(CLASSES) + 1]
    layers: list[torch.nn.Module] = []
    for one, other in pairwise(sizes):
        layers += [torch.nn.Linear(one, other), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-4)
    steps = epochs * (len(labels) // 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps + epochs + 1)
    for epoch in range(epochs):
        for batch in torch.randperm(len(labels)).split(256):
            loss = torch.nn.functional.cross_entropy(model(inputs[batch].float()), labels[batch], label_smoothing=0.01)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        right = (model(check_inputs.float()).argmax(1) == check_labels).float().mean()
        print(f"epoch {epoch + 1}: {100 * right:.2f} % of unseen pieces", flush=True)
    linear = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
    weights = [part.detach().numpy() for layer in linear for part in (layer.weight.T, layer.bias)]
    np.savez_compressed(TARGET, **{f"layer{k}": weight.astype(np.float16) for k, weight in enumerate(weights)})
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    train(int(sys.argv[1]) if len(sys.argv) > 1 else 30_000, int(sys.argv[2]) if len(sys.argv) > 2 else 16)
