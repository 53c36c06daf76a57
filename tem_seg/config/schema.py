"""Every key that our code reads, typed. What is plugged in (``_target_``) is checked against its signature instead."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


class Stage(Enum):
    """The stages, in the order in which they run. Files are the interface between them."""

    generate = "generate"
    train = "train"
    predict = "predict"
    evaluate = "evaluate"
    measure = "measure"
    report = "report"


class Augment(Enum):
    """How a micrograph is shown when it is predicted; what the looks find is brought back and averaged."""

    none = "none"
    flip = "flip"
    dihedral = "dihedral"


class BorderRule(Enum):
    """Particles that reach the micrograph's border: kept, left out, or left out with the others weighted for it."""

    keep = "keep"
    exclude = "exclude"
    weight = "weight"


class ContactRule(Enum):
    """Particles in contact with others."""

    count = "count"
    exclude = "exclude"


class AggregateRule(Enum):
    """Masks that hold several particles grown together."""

    count = "count"
    exclude = "exclude"
    split = "split"


class SweepKind(Enum):
    """How a sweep finds its jobs: all combinations, at random, or by what the earlier ones gave."""

    grid = "grid"
    random = "random"
    tpe = "tpe"


class SweepMetric(Enum):
    """Figures of the validation split that a sweep may look at, all better the higher."""

    ap = "ap"
    ap50 = "ap50"
    ap75 = "ap75"
    f1 = "f1"
    balanced_accuracy = "balanced_accuracy"


@dataclass
class Paths:
    """Where data lie and where results go."""

    data: str = MISSING
    """Folder of real micrographs (one sub-folder a dataset)."""
    outputs: str = MISSING
    """Where runs and generated datasets go."""


@dataclass
class Budget:
    """What a run may cost under one profile: steps, never a clock."""

    steps: int = MISSING
    """Optimiser steps."""
    validate_every: int = MISSING
    """Steps between validations; a checkpoint is written at each."""
    images: dict[str, int] = field(default_factory=dict)
    """Micrographs to generate for each split; {} for a dataset that is read."""
    batch_size: int = MISSING
    crop_px: int = MISSING
    scales: list[float] = MISSING
    finest: float | None = MISSING
    """Where a profile's own do not suit the experiment (laptop: 4 crops of 320 px; study: looks at 0.4 and 1); left out
    they are the profile's, of ``laptop`` the model's (conf/profile_model)."""


@dataclass
class Dataset:
    """Which micrographs, and what of them."""

    name: str = MISSING
    """Short name, part of folder names."""
    reader: Any = None
    """``_target_`` of a reader of existing data; null: the recipe draws the dataset."""
    read: list[str] | None = None
    """With a reader and a recipe: splits that are read, e.g. [val, test]; the others are drawn. null: all are read."""
    pixel_size_nm: float | None = None
    """Overrides the calibration of every micrograph of a dataset that is read; null: what the files say."""
    limit: int | None = None
    """Use at most so many micrographs of each split."""
    classes: list[str] | None = None
    """Only particles of these classes, in this order; null: all. Micrographs without one stay, as negatives."""
    where: str | None = None
    """Where to get these files and how to lay them out: what a run says that does not find them."""
    labels_note: str | None = None
    """What is to be known of the classes before a figure is believed; said beside a classifier's. null: nothing."""
    stand_in: str | None = None
    """What these micrographs are, where they stand in for a paper's own; null: they are no stand-in."""


@dataclass
class Generation:
    """How many micrographs are drawn, and what else is written of them."""

    images: dict[str, int] = field(default_factory=dict)
    """Micrographs for each split."""
    image_size: list[int] = field(default_factory=lambda: [512, 512])
    """Height and width, px."""
    workers: int | None = None
    """Processes; null: one a core."""
    stream: bool = False
    """Training draws a new micrograph for each of its samples; the train split is not written."""
    contact_sheet: bool = False
    """Writes contact_sheet.png: 12 micrographs with outlines. With stages=[generate] that is all that is drawn."""
    exports: list[str] = field(default_factory=list)
    """Other formats to write the datasets in: tiff_pairs, yolo, labelme, coco_polygons."""


@dataclass
class Crop:
    """What a training sample shows: size, magnification, direction."""

    crop_px: int = 512
    """Side of a training crop, px."""
    scale_range: list[float] = field(default_factory=lambda: [0.35, 1.6])
    """Magnification of the micrograph before cropping, log-uniform."""
    particle_px_range: list[float] = field(default_factory=lambda: [8.0, 200.0])
    """The median particle's size is kept within it in the crop, px."""
    stretch: float = 0.0
    """The two sides' magnifications differ by up to this share: particles of other aspect ratios."""
    rotate_deg: float = 0.0
    """Crops are turned by up to this angle either way, beside quarter turns; 45 makes all directions equally likely."""


@dataclass
class Tone:
    """How grey values vary in training: chances and strengths, all 0 to 1."""

    contrast_chance: float = 0.8
    contrast: float = 0.3
    gamma_chance: float = 0.3
    noise_chance: float = 0.3
    noise_sd: float = 0.08
    blur_chance: float = 0.2
    invert_chance: float = 0.1


@dataclass
class Train:
    """The training: its length, batches, averaging and validation."""

    steps: int = MISSING
    validate_every: int = MISSING
    batch_size: int = 4
    warmup_steps: int = 200
    """Linear warm-up, at most half of the steps, then a half cosine to zero."""
    clip_norm: float = 10.0
    """Gradients are scaled down to this norm."""
    ema_decay: float = 0.998
    """Decay a step of the running average of the weights, which is what predicts; 0 turns it off."""
    crop: Crop = field(default_factory=Crop)
    tone: Tone = field(default_factory=Tone)
    workers: int = 1
    """Loader processes."""
    cache_gb: float = 4.0
    """Memory for decoded micrographs."""
    validation_images: int | None = 24
    """Micrographs scored at each validation, spread evenly over the split; null: all."""
    training_images_scored: int = 12
    """Training micrographs scored beside them, so that overfitting shows."""


@dataclass
class Pretrain:
    """A training on another dataset that comes before this one: its weights are the start (stages/chain.py)."""

    experiment: str | None = None
    """The experiment whose data and budget that training has, with this run's model, profile and seed; null: none."""
    overrides: list[str] = field(default_factory=list)
    """What is changed in it, as on the command line, e.g. ['train.steps=300']."""


@dataclass
class Trainer:
    """What the training runs on."""

    accelerator: str = "auto"
    devices: int = 1
    """Processes that train together on each node, one a GPU (or on CPU cores); the batch is shared out among them."""
    nodes: int = 1
    """Nodes of such a training; several need SLURM (docs/slurm.md)."""
    precision: str = "auto"
    """auto: bf16-mixed where the processor has fast bfloat16, else 32-true; or any of Lightning's."""
    accumulate: int = 1
    """Batches a step."""
    threads: int | None = None
    """CPU threads for torch; null: torch's choice."""


@dataclass
class PredictionConfig:
    """How micrographs are looked at."""

    scales: list[float] | None = None
    """Magnifications at which a micrograph is looked at, and what is found twice is merged; null: 1, or what
    ``find_scale`` finds."""
    finest: float | None = None
    """Where particles are small in the finest of ``scales``, looks twice as fine each follow, of up to this
    magnification; null: none."""
    merge_iou: float = 0.5
    """Mask IoU from which two detections are the same particle."""
    find_scale: bool | None = None
    """Each micrograph's own magnification is found first, in small looks; null: where the weights ask for it, as the
    starter weights do, and no ``scales`` are given."""
    min_score: float = 0.05
    """Detections below are not written."""
    tile_px: int | None = 2048
    """A micrograph that is larger, at a magnification, is looked at in tiles of this size, px as shown; null: never."""
    overlap_px: int = 256
    """Neighbouring tiles share at least so much. Particles that are larger are put together from their pieces."""
    tile_instances: int | None = None
    """The most particles that the model returns of a tile, or of an untiled micrograph; null: max_instances."""
    augment: Augment = Augment.none
    """Looks at each micrograph: none (one), flip (and mirrored), dihedral (mirrored and turned by quarters: eight)."""
    ensemble: list[str] | None = None
    """Checkpoints (or starter) that predict together, of any families with the same classes, instead of the run's own
    model (docs/models.md); null: none. Without the train stage."""
    train_images: int = 24
    """Training micrographs predicted beside validation and test, so that overfitting shows."""


@dataclass
class ParticleClassifier:
    """Which shape each particle that a segmentation found is of, written beside it (docs/models.md)."""

    checkpoint: str | None = None
    """Weights of a run of model=classifier; null: shapes are not predicted."""


@dataclass
class Evaluation:
    """How predictions are compared with annotations."""

    score: float = 0.9
    """The papers' detection threshold."""
    class_agnostic: bool = False
    """Ignore classes when matching (a model's classes differ from the dataset's)."""
    boundary_px: float = 2.0
    """Outlines agree where they lie within this distance of each other, px."""
    whole_image: bool = False
    """Also image IoU, instance IoU and Youden's index as paper 002's authors define them; needs masks."""


@dataclass
class Measurement:
    """Which particles are measured, and how they count (docs/measurands.md)."""

    min_score: float | None = None
    """Particles of at least this score are measured; null: the score that validation chose."""
    subpixel: bool = True
    """Measure on the contours that predictions carry, which run between pixels; false: on masks alone."""
    grey_levels: bool = True
    """Read the micrographs again for the grey level inside each particle and of the ground beside it."""
    border: BorderRule = BorderRule.keep
    """keep, exclude, or weight: leave out, and weight the others by 1 / (how often one so large lies inside)."""
    touching: ContactRule = ContactRule.count
    """Particles that lie against another, without overlap."""
    overlapping: ContactRule = ContactRule.count
    """Particles that share pixels with another."""
    aggregated: AggregateRule = AggregateRule.count
    """Masks that hold several particles grown together, with a neck between them; split: measure the parts."""
    neck: float = 0.7
    """A neck is narrower than this share of the smaller part's width (aggregated: exclude, split)."""
    min_size_px: float = 0.0
    """Equivalent diameter (of rotated boxes the length) below which nothing is measured."""


@dataclass
class Report:
    """What the report shows."""

    n_overlays: int = 6
    """Micrographs shown with outlines."""


@dataclass
class Sweep:
    """What ``-m`` does beside the values on the command line (docs/sweeps.md)."""

    kind: SweepKind = SweepKind.grid
    """grid: every combination; random: random search; tpe: tree-structured Parzen estimator (Bergstra et al. 2011)."""
    metric: SweepMetric = SweepMetric.ap
    """The figure of the VALIDATION split that is to be high; the test split is never looked at."""
    n_trials: int = 16
    """Jobs of each experiment (random, tpe)."""
    seed: int = 0
    """The same seed and space give the same trials again."""
    n_jobs: int | None = None
    """Jobs handed to the launcher at once; null: all. Hydra's own launcher gets one at a time."""
    space: dict[str, Any] | None = field(default_factory=dict)
    """Key → its values in Hydra's grammar, e.g. optimizer.lr: tag(log, interval(1e-4, 3e-3)). The command line wins."""
    startup_trials: int = 8
    """tpe: trials at random before the first one that is modelled."""
    prune: bool = False
    """Ends a training whose best validation figure lies below the median of the finished ones at the same step."""
    prune_after_trials: int = 4
    """Finished trials before any is ended early."""
    prune_from_step: int = 0
    """Validations before this step end nothing."""


@dataclass
class PaperFigure:
    """A figure that a paper reports."""

    what: str = MISSING
    """The figure in the paper's words, with its conditions."""
    value: float | None = MISSING
    """As in metrics.json: shares, not per cent; null: an arm of ours that the paper has not."""
    n: str = MISSING
    """What it was measured on."""
    of: list[str] = field(default_factory=list)
    """What it is held against: places in metrics.json, e.g. segm_at_score.ap50, at_iou50.best.f1, splits.train.ap."""
    against: str | None = None
    """What the paper compares it with: an arm, an experiment, or another figure of this run (its ``what``); or null."""


@dataclass
class Paper:
    """What a paper says about this experiment. Nothing is computed from it; the report sets it beside the run's."""

    source: str | None = None
    """The paper and the place in it; null: the experiment is of no paper."""
    reports: list[PaperFigure] = field(default_factory=list)
    """Its figures; []: it has none for this experiment."""
    stand_in: str | None = "${dataset.stand_in}"
    """What the figures here are measured on instead of the paper's data; null: on no stand-in."""


@dataclass
class Config:
    """Everything that a run is."""

    name: str = MISSING
    """The experiment's name; runs go to <outputs>/runs/<name>/."""
    profile: str = "default"
    stages: list[Stage] = field(default_factory=lambda: list(Stage))
    seed: int = 0
    run_dir: str | None = None
    """Continue or repeat this run directory; null: the newest unfinished one of the same config, or a new one."""
    max_instances: int = 1000
    """One cap for proposals, detections (of a micrograph, and of a tile) and evaluation. Reaching it is a red flag."""
    budgets: dict[str, Budget] = field(default_factory=dict)
    """One for each profile that the experiment supports."""
    paper: Paper = field(default_factory=Paper)
    arm: str | None = None
    """The arm of an experiment that compares some: a name in ``arms``."""
    arms: dict[str, Any] = field(default_factory=dict)
    """What each arm sets: values that the experiment's own keys look up, e.g. ${arms[${arm}].images}."""
    paths: Paths = field(default_factory=Paths)
    dataset: Dataset = field(default_factory=Dataset)
    recipe: Any = None
    imaging: Any = None
    generation: Generation = field(default_factory=Generation)
    model: Any = MISSING
    train: Train = field(default_factory=Train)
    pretrain: Pretrain = field(default_factory=Pretrain)
    optimizer: Any = MISSING
    trainer: Trainer = field(default_factory=Trainer)
    prediction: PredictionConfig = field(default_factory=PredictionConfig)
    classifier: ParticleClassifier = field(default_factory=ParticleClassifier)
    evaluation: Evaluation = field(default_factory=Evaluation)
    measurement: Measurement = field(default_factory=Measurement)
    report: Report = field(default_factory=Report)
    sweep: Sweep = field(default_factory=Sweep)
    logger: Any = None
    """``_target_`` of a Lightning logger beside the CSV one; null: CSV only."""


def register() -> None:
    """Makes the schema known to Hydra as ``schema`` (the first entry of the defaults list)."""
    ConfigStore.instance().store(name="schema", node=Config)
