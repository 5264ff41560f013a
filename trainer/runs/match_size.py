"""Models of equal size: ``match=params target=50k`` replaces the widths of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from trainer.config import match_keys
from trainer.config.run_config import Config
from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.engine import dataset_loading, factory, flop_count, sanity_check, width_scaling
from trainer.runs import member_groups
from trainer.runs.step_time import StepTime
from trainer.utils import forked_call, memory
from trainer.utils.errors import ConfigError, IncompatibleError
from trainer.utils.text import format_count
from trainer.utils.time_text import format_seconds
from trainer.viz.console import print_line

MAX_DIFFERENCE = 0.1
"""Largest relative difference between the size of a model and the target."""
MAX_TIME_DIFFERENCE = 0.25
"""That of the measured time of a step, which depends on what else the machine does."""
MAX_MEMORY = 0.25
"""Largest share of the memory of the machine for the weights of a measured model; Adam has four numbers for each."""
NUM_STEPS = 100
"""About as many steps are timed in all."""
ANNOUNCED_SECONDS = 10.0
"""Length of a measurement from which on it is announced."""
MAX_ROWS = 4
"""Rows of the batch whose operations are counted."""


def with_matched_size(config: Config) -> Config:
    """Return a configuration with widths for which the model has the size that ``match`` and ``target`` ask for.

    The result has no ``match``: it is that of a run that sets these widths itself.

    Raises:
        ConfigError: The model has no width to scale, or none leads to the target.
    """
    return config if config.settings.match is None else _with_widths(config, _solve(config))


def _solve(config: Config) -> Mapping[str, Any]:
    """Return the widths for which the model has the size that is asked for, by key of the model, and print them."""
    quantity, target = config.settings.match, config.settings.target
    assert quantity is not None
    assert target is not None
    number = match_keys.parse_target(target)
    node = config.tree["model"]
    keys = _select_keys(config)
    data = dataset_loading.load_dataset(config)
    try:
        if quantity == match_keys.SECONDS:
            _announce_measurement(number)
            step_time = StepTime(config, data)
            measure = _within_memory(config, data, step_time.measure)
            solution = width_scaling.solve_widths(node, keys, measure, number, step_time.measure_together)
        else:
            measure = _make_measure(config, data, MEASURES[quantity])
            if quantity == "flops":
                measure = _within_memory(config, data, measure)
            solution = width_scaling.solve_widths(node, keys, measure, number)
    except ValueError as error:
        raise ConfigError(f"match: no width of model {config.names['model']} works: {error}") from error
    _check_size(solution, number, config)
    widths = ", ".join(f"model.{key}={_format(value)}" for key, value in solution.widths.items())
    difference = solution.size / number - 1
    size = _format_size(solution.size, quantity)
    print_line(f"match={quantity} target={_format_target(target)}: {widths}, {size} ({difference:+.1%})")
    return solution.widths


def _announce_measurement(seconds: float) -> None:
    """Print that the measurement takes a while, if it does: a target of ``2`` may be meant as milliseconds."""
    if NUM_STEPS * seconds > ANNOUNCED_SECONDS:
        print_line(f"match=seconds: about a hundred steps of {format_seconds(seconds)} are taken to measure them")


def _with_widths(config: Config, widths: Mapping[str, Any]) -> Config:
    tree, raw = (match_keys.drop_match(tree, widths) for tree in (config.tree, config.raw))
    settings = replace(config.settings, match=None, target=None, match_keys=[])
    return replace(config, tree=tree, raw=raw, settings=settings)


def match_jobs(configs: Sequence[Config | IncompatibleError]) -> list[Config | IncompatibleError]:
    """Return the configurations of the jobs of a sweep with matched sizes; those that cannot have them are refused.

    They are solved in a child process: one that has computed with several threads should not be forked for the jobs.

    Args:
        configs: Configuration of each job, or why it is refused.

    Raises:
        SystemFault: The child process was killed.
    """
    names = dict.fromkeys(item.names["data"] for item in configs if isinstance(item, Config))
    return forked_call.call_in_fork(_match_all, list(configs), f"match: sizes of models for data {', '.join(names)}")


def _match_all(configs: Sequence[Config | IncompatibleError]) -> list[Config | IncompatibleError]:
    matched: list[Config | IncompatibleError] = []
    solved: dict[str, Mapping[str, Any] | IncompatibleError] = {}
    for config in configs:
        if isinstance(config, IncompatibleError) or config.settings.match is None:
            matched.append(config)
            continue
        key = _describe_size(config)
        if key not in solved:
            try:
                solved[key] = _solve(config)
            except ConfigError as error:
                solved[key] = IncompatibleError(*error.problems)
        widths = solved[key]
        matched.append(widths if isinstance(widths, IncompatibleError) else _with_widths(config, widths))
    return matched


def _describe_size(config: Config) -> str:
    """Return what the widths depend on, as text: jobs with other seeds or learning rates have the same widths.

    Measured again, the time of a step would be slightly different, and so would the widths.
    """
    options = [config.names[group] for group in ("optimizer", "scheduler")]
    return "\n".join((member_groups.describe_common_keys(config), *options, str(config.settings.ema is None)))


def _select_keys(config: Config) -> list[str]:
    """Return the keys of the model to scale: those of ``match_keys``, or all widths."""
    node, named = config.tree["model"], [key.removeprefix("model.") for key in config.settings.match_keys]
    problems = [
        f"match_keys: model.{key} is {_format(node[key])}; only positive numbers and lists of them can be scaled"
        for key in named
        if not width_scaling.list_numbers(node[key])
    ]
    if problems:
        raise ConfigError(*problems)
    keys = named or width_scaling.find_width_keys(node)
    if not keys:
        raise ConfigError(
            f"match: model {config.names['model']} has no key that sets a width; name those to scale by match_keys"
        )
    return keys


def _format_size(size: float, quantity: str) -> str:
    if quantity == match_keys.SECONDS:
        return f"{1e3 * size:.3g} ms a step"
    return format_count(int(size), UNITS[quantity])


def _check_size(solution: width_scaling.Solution, target: float, config: Config) -> None:
    is_time = config.settings.match == match_keys.SECONDS
    if abs(solution.size / target - 1) > (MAX_TIME_DIFFERENCE if is_time else MAX_DIFFERENCE):
        widths = ", ".join(f"{key}={_format(value)}" for key, value in solution.widths.items())
        raise ConfigError(
            f"target: model {config.names['model']} cannot have a size of {_format_target(config.settings.target)}; the"
            f" closest is {_format_size(solution.size, str(config.settings.match))}, with {widths}"
        )


def _make_measure(
    config: Config, data: Dataset, measure: Callable[[Mapping[str, Any], Dataset, Config], float]
) -> Callable[[Mapping[str, Any]], float]:
    """Return a function that measures the model with given values of its keys."""

    def build_and_measure(widths: Mapping[str, Any]) -> float:
        tree = {**config.tree, "model": {**config.tree["model"], **widths}, "init": "default"}
        try:
            with rng.preserve_generators():
                return measure(tree, data, config)
        except ConfigError as error:
            raise ValueError(str(error)) from error

    return build_and_measure


def _within_memory(
    config: Config, data: Dataset, measure: Callable[[Mapping[str, Any]], float]
) -> Callable[[Mapping[str, Any]], float]:
    """Return a function that measures the model with given values of its keys, if it fits in memory.

    Raises:
        ConfigError: It does not.
    """

    def check_and_measure(widths: Mapping[str, Any]) -> float:
        tree = {**config.tree, "model": {**config.tree["model"], **widths}, "init": "default"}
        count = _count_without_memory(tree, data, config)
        if count is not None and 4 * count > MAX_MEMORY * memory.count_machine_bytes():
            raise ConfigError(
                f"target: {_format_target(config.settings.target)} given, but a model with {count:,} parameters, which"
                " is still too small, does not fit in memory"
            )
        return measure(widths)

    return check_and_measure


def _count_without_memory(tree: Mapping[str, Any], data: Dataset, config: Config) -> int | None:
    """Return the number of parameters of a model without memory for them; None if it cannot be built so."""
    try:
        with rng.preserve_generators(), torch.device("meta"):
            task = factory.instantiate_task(tree, data, config.names)
    except (NotImplementedError, RuntimeError, ConfigError):  # the model computes with values of its parameters
        return None
    return sum(parameter.numel() for parameter in task.parameters())


def _count_parameters(tree: Mapping[str, Any], data: Dataset, config: Config) -> float:
    """Return the number of parameters, without memory for them if the model can be built so."""
    count = _count_without_memory(tree, data, config)
    if count is not None:
        return count
    return sum(parameter.numel() for parameter in factory.instantiate_task(tree, data, config.names).parameters())


def _count_flops(tree: Mapping[str, Any], data: Dataset, config: Config) -> float:
    """Return the floating-point operations of the training losses of a row."""
    task = factory.make_task(tree, data, config.names)
    settings = replace(config.settings, batch_size=min(MAX_ROWS, config.settings.batch_size), num_workers=0)
    train = factory.make_loaders(tree, data, settings, torch.device("cpu"))["train"]
    return flop_count.count_flops_per_row(task, sanity_check.make_small_batch(train))


def _format_target(target: object) -> str:
    return f"{target:.12g}" if isinstance(target, float) else str(target)


def _format(value: object) -> str:
    return str(value).replace(" ", "")


MEASURES: Mapping[str, Callable[[Mapping[str, Any], Dataset, Config], float]] = {
    "params": _count_parameters,
    "flops": _count_flops,
}
UNITS: Mapping[str, str] = {"params": "parameter", "flops": "floating-point operation"}
