"""From what stands on the command line, and in ``sweep.space``, to what each job gets."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString, RangeSweep
from hydra.errors import HydraException

from tem_seg.core.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SETTINGS = "sweep"
EXPERIMENT = "experiment"


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line, parted. fixed: as typed, the same for every job; settings: of the sweep itself.

    experiments: the values of a swept ``experiment=``; [] where there is one or none. swept: key → its values.
    """

    fixed: list[str]
    settings: list[str]
    experiments: list[str]
    swept: dict[str, Override]


def parse(arguments: list[str], loader: ConfigLoader) -> Arguments:
    """Parts the overrides of a multirun. Raises UserError for a sweep over the sweep's own settings."""
    parted = Arguments([], [], [], {})
    for override in OverridesParser.create(config_loader=loader).parse_overrides(arguments):
        line, key = str(override.input_line), override.key_or_group
        ours = key == SETTINGS or key.startswith(f"{SETTINGS}.")
        if ours and override.is_sweep_override():
            raise UserError(f"{line}: the sweep's own settings have one value each")
        if ours or not override.is_sweep_override():
            (parted.settings if ours else parted.fixed).append(line)
        elif key == EXPERIMENT:
            parted.experiments.extend(_values(override))
        else:
            parted.swept[override.get_key_element()] = override
    return parted


def fixed_keys(lines: Iterable[str], loader: ConfigLoader) -> set[str]:
    """The keys that overrides set."""
    return {o.key_or_group for o in OverridesParser.create(config_loader=loader).parse_overrides(list(lines))}


def grid(swept: dict[str, Override]) -> list[dict[str, Any]]:
    """Every combination, the last key changing fastest; [{}] without any."""
    return [dict(zip(swept, values, strict=True)) for values in itertools.product(*map(_values, swept.values()))]


def named(space: dict[str, Any], loader: ConfigLoader) -> dict[str, Override]:
    """``sweep.space`` of a config, parsed; entries that are null are left out."""
    found = {}
    for key, text in space.items():
        if text is None:
            continue
        try:
            override = OverridesParser.create(config_loader=loader).parse_override(f"{key}={text}")
        except HydraException as error:
            raise UserError(f"sweep.space, '{key}: {text}': {str(error).splitlines()[0]}") from error
        if not override.is_sweep_override():
            raise UserError(f"sweep.space, '{key}: {text}': write interval(…), range(…), choice(…), or null")
        found[override.get_key_element()] = override
    return found


def distributions(space: dict[str, Override]) -> dict[str, BaseDistribution]:
    """Optuna's form of a search space. Raises UserError for bounds that hold nothing."""
    return {key: _distribution(override) for key, override in space.items()}


def _distribution(override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    log = isinstance(value, (IntervalSweep, RangeSweep)) and "log" in value.tags
    try:
        if isinstance(value, IntervalSweep):
            low, high = value.start, value.end
            assert low is not None and high is not None
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log=log)
            return FloatDistribution(float(low), float(high), log=log)
        if isinstance(value, RangeSweep):
            numbers = sorted(value.range())
            if not numbers:
                raise ValueError("the range is empty")
            if isinstance(numbers[0], int):
                return IntDistribution(numbers[0], numbers[-1], log=log, step=1 if log else abs(int(value.step)))
            if not log:
                return FloatDistribution(numbers[0], numbers[-1], step=abs(float(value.step)))
            return FloatDistribution(numbers[0], numbers[-1], log=True)
    except ValueError as error:
        raise UserError(f"{override.input_line}: {error}") from error
    return CategoricalDistribution(tuple(dict.fromkeys(_values(override))))


def _values(override: Override) -> list[str]:
    if not override.is_discrete_sweep():
        raise UserError(
            f"{override.input_line}: an interval has no end of values; a grid needs them one by one (a,b,c or "
            "range(…)). For a search add sweep=random or sweep=tpe"
        )
    found = list(override.sweep_string_iterator())
    if not found:
        raise UserError(f"{override.input_line}: there is no value in it")
    return found


def as_overrides(parameters: dict[str, Any]) -> list[str]:
    """What a job gets on its command line. Numbers come from a distribution, texts are in Hydra's grammar already."""
    return [f"{key}={value}" for key, value in parameters.items()]


def quoted(text: str) -> str:
    """A path or name as Hydra's grammar takes it, whatever is in it."""
    return QuotedString(text, Quote.single).with_quotes()
