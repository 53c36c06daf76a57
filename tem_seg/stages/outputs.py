"""What generate makes beside the datasets: a contact sheet, exports in other formats, a stream instead of a split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tem_seg.config.schema import Stage
from tem_seg.core.errors import UserError
from tem_seg.data import atomic, coco, exports
from tem_seg.data.annotations import outline_of
from tem_seg.data.images import normalise, read_micrograph
from tem_seg.generation.render import GENERATOR_VERSION
from tem_seg.reporting import contact_sheet
from tem_seg.reporting.contact_sheet import Shown
from tem_seg.stages import common
from tem_seg.stages.common import DATASETS_FILE, SPLITS

SHEET_FILE = "contact_sheet.png"
EXPORTS_FOLDER = "exports"
LATER = "generation.contact_sheet=false, a later stage or an export makes them"


def streamed(cfg: DictConfig) -> list[str]:
    """Splits that are drawn while training; config.check has seen to it that there is a recipe for them."""
    return ["train"] if cfg.generation.stream else []


def written_counts(cfg: DictConfig) -> dict[str, int]:
    """Micrographs to draw for the files of each split: not for splits that are read or streamed."""
    elsewhere = [*(cfg.dataset.read or []), *streamed(cfg)]
    return {str(split): int(count) for split, count in cfg.generation.images.items() if split not in elsewhere}


def draws_files(cfg: DictConfig) -> bool:
    """Whether a recipe has files to fill."""
    has_recipe = cfg.dataset.reader is None or cfg.dataset.read is not None
    return has_recipe and (any(written_counts(cfg).values()) or not cfg.generation.stream)


def sheet_alone(cfg: DictConfig, run_dir: Path) -> bool:
    """Whether a look at the recipe is all that is wanted: then its dozen micrographs are drawn, and no dataset."""
    wanted = cfg.generation.contact_sheet and list(cfg.stages) == [Stage.generate] and not cfg.generation.exports
    return bool(wanted and _first_drawn(cfg) is not None and not (run_dir / DATASETS_FILE).is_file())


def only_sheet(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """The contact sheet without datasets."""
    notes = _contact_sheet(cfg, run_dir)
    print(f"  no dataset is made for a contact sheet alone ({LATER})", flush=True)
    return notes


def beside(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """All that is asked for beside the datasets; what is noted of it."""
    notes: dict[str, Any] = {}
    if cfg.generation.stream:
        notes |= _announce_stream(cfg, run_dir)
    if cfg.generation.contact_sheet:
        notes |= _contact_sheet(cfg, run_dir)
    if cfg.generation.exports:
        notes["exports"] = _exports(cfg, run_dir)
    return notes


# ------------------------------------------------------------------------------------------------- contact sheet


def _contact_sheet(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Of the first split there is: from its files, or drawn where it has none."""
    files = atomic.read_json(run_dir / DATASETS_FILE) if (run_dir / DATASETS_FILE).is_file() else {}
    split = _first_drawn(cfg)
    if split is None or split in files:
        split = next(name for name in SPLITS if name in files)
        shown, categories = _read(coco.read(Path(files[split])))
    else:
        shown, categories = _drawn(cfg, split)
    contact_sheet.write(run_dir / SHEET_FILE, shown, categories)
    print(f"  contact sheet of {len(shown)} micrographs of split '{split}': {run_dir / SHEET_FILE}", flush=True)
    return {"contact_sheet": f"{len(shown)} micrographs of split '{split}'"}


def _first_drawn(cfg: DictConfig) -> str | None:
    """The first split, where a recipe draws it; None where it is read."""
    if cfg.dataset.reader is not None and cfg.dataset.read is None:
        return None
    drawn = {*streamed(cfg), *(split for split, count in written_counts(cfg).items() if count)}
    first = next((split for split in SPLITS if split in drawn or split in (cfg.dataset.read or [])), None)
    return first if first in drawn else None


def _read(dataset: coco.CocoDataset) -> tuple[list[Shown], list[str]]:
    """A dozen micrographs, spread evenly over the split, as models see them."""
    chosen = dataset.subset(contact_sheet.COUNT)
    shown = []
    for image in chosen.images:
        found = [entry for entry in chosen.annotations[image.id] if not entry.get("iscrowd")]
        segmentations = [outline_of(entry, (image.height, image.width)) for entry in found]
        labels = [entry["label"] for entry in found]
        pixels = normalise(read_micrograph(image.path).pixels)
        shown.append(Shown(image.path.stem, pixels, segmentations, labels, image.pixel_size_nm))
    return shown, dataset.categories


def _drawn(cfg: DictConfig, split: str) -> tuple[list[Shown], list[str]]:
    """The micrographs that _read would find in the split's files, drawn."""
    stream = common.stream(cfg, split)
    count = int(cfg.generation.images.get(split) or contact_sheet.COUNT)  # a stream needs no number
    shown = []
    for index in _spread(count, contact_sheet.COUNT):
        drawn = stream.drawn(index)
        pixels, found = stream.seen(drawn)
        segmentations, labels = [e["segmentation"] for e in found], [e["label"] for e in found]
        shown.append(Shown(f"{index:05d}", pixels, segmentations, labels, drawn.micrograph.pixel_size_nm))
    return shown, stream.categories


def _spread(count: int, wanted: int) -> list[int]:
    """As CocoDataset.subset."""
    number = min(count, wanted)
    return [int((index + 0.5) * (count / number)) for index in range(number)]


# ------------------------------------------------------------------------------------------------------ streaming


def _announce_stream(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Checks what training will draw from, and says what there will not be."""
    known = common.stream(cfg).categories
    for split, path in atomic.read_json(run_dir / DATASETS_FILE).items():
        found = [entry["name"] for entry in atomic.read_json(Path(path))["categories"]]
        if found != known:
            raise UserError(
                f"generation.stream: the recipe draws the classes {known}, split '{split}' has {found}: give the "
                "recipe the same classes, in the same order"
            )
    print("  train is streamed: drawn while training and not written, a new micrograph for each sample; "
          "training micrographs are neither scored, nor predicted, nor exported", flush=True)  # fmt: skip
    return {"streamed": "train", "generator_version": GENERATOR_VERSION}


# -------------------------------------------------------------------------------------------------------- exports


def _exports(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Every split that has files, in every format asked for."""
    formats, folder = list(dict.fromkeys(cfg.generation.exports)), run_dir / EXPORTS_FOLDER
    notes: dict[str, dict[str, Any]] = {name: {} for name in formats}
    for split in SPLITS:
        dataset = common.dataset(cfg, run_dir, split)
        if dataset is None:
            continue
        for name, found in exports.export(dataset, split, formats, folder).items():
            notes[name][split] = found["particles"]
            hidden = found.get("without_a_pixel", 0)
            if hidden:
                print(f"  {name}, {split}: {hidden} particles lie wholly under others and have no pixel", flush=True)
    print(f"  exported as {', '.join(formats)} to {folder}", flush=True)
    return notes
