"""Which weights of an R-CNN keep their start, for either back end (model.freeze)."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from tem_seg.core.errors import UserError

log = logging.getLogger(__name__)
# from the input to the output; the first pattern that is found in a parameter's name says which part it belongs to
PARTS = {
    "stem": r"\.stem\.|^backbone\.(body\.)?(conv1|bn1)\.",
    "layer1": r"\.(layer1|res2)\.",
    "layer2": r"\.(layer2|res3)\.",
    "layer3": r"\.(layer3|res4)\.",
    "layer4": r"\.(layer4|res5)\.",
    "fpn": r"^backbone\.",
    "rpn": r"^(rpn|proposal_generator)\.",
    "mask_head": r"mask|refinement",
    "box_head": "",
    "predictors": None,
}
PREDICTORS = re.compile(
    r"^roi_heads\..*(cls_score|bbox_pred|mask_fcn_logits|mask_head\.predictor|coarse_head\.prediction)\."
)
"""The layers that give classes, boxes and masks: the last of each branch."""
BACKBONE = ("stem", "layer1", "layer2", "layer3", "layer4")
USUAL = ("stem", "layer1")
"""Frozen where ImageNet or COCO weights are the start and nothing else is asked for, as in Detectron2's zoo configs."""
ALL_BUT_LAST = re.compile(r"all_but_last_(\d+)")


def chosen_by_default(weights: str) -> tuple[str, ...]:
    """What model.freeze=null stands for."""
    return USUAL if weights in ("imagenet", "coco") else ()


def part_of(name: str) -> str:
    """The part that a parameter belongs to, from its name in either back end."""
    short = name.removeprefix("network.")  # Detectron2's network within our model
    if PREDICTORS.search(short):
        return "predictors"
    return next(part for part, pattern in PARTS.items() if pattern is not None and re.search(pattern, short))


def values(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def unchanged(model: nn.Module, before: Mapping[str, Tensor]) -> set[str]:
    """Parameters of the modules in which no loading has changed anything since ``before``: they start at random."""
    after = dict(model.named_parameters())
    loaded = {name.rpartition(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    return {name for name in before if name.rpartition(".")[0] not in loaded}


def freeze(model: nn.Module, entries: Sequence[str], random: Collection[str] = ()) -> None:
    """Takes the parameters that ``entries`` name out of training; their batch norms then keep their statistics too.

    random: parameters that no weights were loaded into, which train in any case, with a warning (the classes of another
    dataset, a head that the published weights do not have).

    An entry is a part (stem, layer1 … layer4, fpn, rpn, mask_head, box_head, predictors), "backbone" (stem to layer4),
    "all_but_last_<n>" (of the layers with weights, in the order of the parts), or a pattern with * over parameter
    names. Raises UserError for an entry that names nothing, with what there is, and where nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    named = {name for entry in entries for name in _named(entry, model)}
    for name in named.difference(random):
        parameters[name].requires_grad_(False)
    if spared := sorted({name.rpartition(".")[0] for name in named.intersection(random) if parameters[name].ndim > 1}):
        log.warning("model.freeze: %s start at random and are not frozen", ", ".join(spared))
    if entries and not any(parameter.requires_grad for parameter in parameters.values()):
        raise UserError(f"model.freeze={list(entries)} leaves nothing to train: leave an entry out")
    hold_norms(model)


def hold_norms(model: nn.Module) -> None:
    """Batch norms with frozen weights stay in evaluation mode: they use their statistics and do not update them."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine and not module.weight.requires_grad:
            module.eval()


def counts(model: nn.Module) -> tuple[int, int]:
    """(parameters that train, all parameters)."""
    everyone = list(model.parameters())
    return sum(p.numel() for p in everyone if p.requires_grad), sum(p.numel() for p in everyone)


def layers(model: nn.Module) -> list[list[str]]:
    """Parameter names of each layer, from the input to the output; a norm belongs to the layer before it."""
    names = [name for part in PARTS for name, _ in model.named_parameters() if part_of(name) == part]
    grouped: dict[str, list[str]] = {}
    parameters = dict(model.named_parameters())
    for name in names:
        module = name.rpartition(".")[0]
        has_weights = parameters.get(f"{module}.weight", parameters[name]).ndim > 1
        key = module if has_weights or not grouped else next(reversed(grouped))
        grouped.setdefault(key, []).append(name)
    return list(grouped.values())


def _named(entry: str, model: nn.Module) -> list[str]:
    """Parameters that an entry names; UserError for none."""
    names = [name for name, _ in model.named_parameters()]
    parts = BACKBONE if entry == "backbone" else (entry,)
    if found := ALL_BUT_LAST.fullmatch(entry):
        return _all_but_last(int(found[1]), model)
    if entry == "backbone" or entry in PARTS:
        chosen = [name for name in names if part_of(name) in parts]
    else:
        chosen = [name for name in names if fnmatchcase(name, entry)]
    if chosen:
        return chosen
    there = [part for part in PARTS if any(part_of(name) == part for name in names)]
    shown = sorted({name.rpartition(".")[0] for name in names})
    raise UserError(
        f"model.freeze: '{entry}' names nothing in this model. Parts: backbone, {', '.join(there)}; or "
        f"all_but_last_<n>; or a pattern with * over names such as {', '.join(shown[:: max(1, len(shown) // 6)])}"
    )


def _all_but_last(count: int, model: nn.Module) -> list[str]:
    found = layers(model)
    if not 0 < count < len(found):
        raise UserError(f"model.freeze: all_but_last_<n> needs n from 1 to {len(found) - 1} here, got {count}")
    return [name for layer in found[:-count] for name in layer]
