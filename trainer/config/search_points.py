"""Points of a search space as configurations: the keys that a point has, and the configuration of each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from trainer.config import (
    compose,
    ensemble_keys,
    hydra_compose,
    match_keys,
    precedence,
    registry,
    target_overrides,
)
from trainer.config.override_checks import find_unknown_option
from trainer.config.override_parser import parse_overrides
from trainer.config.run_config import Config
from trainer.config.schema import Settings
from trainer.config.search_space import Choice, Interval, Space
from trainer.core.types import describe_type
from trainer.utils.errors import ConfigError, IncompatibleError, UnknownNameError

MAX_GROUP_CHOICES = 256
"""Number of combinations of options above which only those that differ in one option are checked before the search."""


class PointComposer:
    """Composes the configurations of points.

    A key that only some of the chosen options have is left out of the points of the others. One that no combination of
    options has stays in all, so that composing them reports it with the nearest name.

    Args:
        space: The space.
        config_dirs: Directories with YAML files of the user.

    Raises:
        UnknownNameError: An option does not exist.
    """

    def __init__(self, space: Space, config_dirs: Sequence[Path] = ()):
        self.space, self.config_dirs = space, tuple(config_dirs)
        self._check_options()
        self._groups = [item for item in space.dimensions if isinstance(item, Choice) and item.is_group]
        self._keys: dict[tuple[str, ...], frozenset[str]] = {}
        self.group_choices = _list_choices([dimension.values for dimension in self._groups])
        self._swept = frozenset(dimension.key for dimension in space.dimensions if not dimension.is_group)
        found = frozenset[str]().union(*map(self._find_keys, self.group_choices))
        self._unknown = self._swept - found

    def select_values(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return the values of a point without those of keys that its options do not have.

        Args:
            values: Value of every key of the space.
        """
        choice = tuple(values[dimension.key] for dimension in self._groups)
        keys = self._find_keys(choice) | self._unknown | {dimension.key for dimension in self._groups}
        return {key: value for key, value in values.items() if key in keys}

    def check_corners(self) -> None:
        """Compose the corners of the space, so that its problems are reported before anything runs.

        Raises:
            ConfigError: A name or a bound is invalid, no options are compatible, or they are scored by different
                metrics; all problems are listed.
        """
        points = [self.select_values(corner) for corner in self._list_corners()]
        corners = self.compose_all(points)
        refused = [str(item) for item in corners if isinstance(item, IncompatibleError)]
        if len(refused) == len(corners):
            raise ConfigError(*dict.fromkeys(refused))
        self._check_tasks(
            [(point, item) for point, item in zip(points, corners, strict=True) if isinstance(item, Config)]
        )

    def compose_all(self, points: Sequence[Mapping[str, str]]) -> list[Config | IncompatibleError]:
        """Compose points.

        Args:
            points: Values of each point, as selected.

        Returns:
            Configuration of each point, or why its options are incompatible.

        Raises:
            ConfigError: Points are invalid; all problems are listed.
        """
        problems: list[str] = []
        composed = [self._compose(point, problems) for point in points]
        if problems:
            raise ConfigError(*dict.fromkeys(problems))
        return [item for item in composed if item is not None]

    def compose(self, values: Mapping[str, str], extra: Sequence[str] = ()) -> Config:
        """Compose one point.

        Args:
            values: Its values, as selected.
            extra: Further overrides, which take precedence.

        Raises:
            ConfigError: It is invalid, or a key has a value that a search does not take.
        """
        config = compose.compose([*self.space.to_overrides(values), *extra], self.config_dirs)
        _check_settings(config.settings)
        return config

    def _check_tasks(self, corners: Sequence[tuple[Mapping[str, str], Config]]) -> None:
        """Raise ConfigError if options that are compatible choose different tasks or metrics."""
        owners: dict[str, str] = {}
        for point, config in corners:
            choice = " ".join(f"{item.key}={point[item.key]}" for item in self._groups)
            monitor = f", monitor {config.settings.monitor}" if config.settings.monitor else ""
            owners.setdefault(f"task {config.names['task']}{monitor}", choice)
        if len(owners) > 1:
            chosen = "; ".join(f"{choice} has {task}" for task, choice in owners.items())
            raise ConfigError(
                f"{chosen}: scores of different metrics cannot be ranked against each other; leave one out"
            )

    def _compose(self, values: Mapping[str, str], problems: list[str]) -> Config | IncompatibleError | None:
        try:
            return self.compose(values)
        except IncompatibleError as error:
            return error
        except ConfigError as error:
            problems += [f"{problem}{self._suggest_integers(problem)}" for problem in error.problems]
        return None

    def _suggest_integers(self, problem: str) -> str:
        """Return the interval of integers to write, if a number of an interval should be an integer; else nothing."""
        for item in self.space.dimensions:
            if not isinstance(item, Interval) or item.is_integer:
                continue
            if problem.startswith(f"{item.key}: ") and describe_type(int) in problem:
                return f"; {item.element}={item.describe_integers()} draws whole numbers"
        return ""

    def _list_corners(self) -> list[dict[str, str]]:
        """Return for each combination of options the points with the first, and with the last value of every key."""
        others = [dimension for dimension in self.space.dimensions if not dimension.is_group]
        return [
            dict(zip((dimension.key for dimension in self._groups), choice, strict=True))
            | {dimension.key: dimension.extremes[end] for dimension in others}
            for choice in self.group_choices
            for end in (0, 1)
        ]

    def _check_options(self) -> None:
        """Raise UnknownNameError if an option that all points have does not exist."""
        groups = registry.list_groups(self.config_dirs)
        choices = [i for i in parse_overrides(self.space.fixed, self.config_dirs) if i.key_or_group in groups]
        unknown = [problem for item in choices if (problem := find_unknown_option(item, self.config_dirs))]
        if unknown:
            raise UnknownNameError(*unknown)

    def _find_keys(self, choice: tuple[str, ...]) -> frozenset[str]:
        """Return the swept keys that exist for a combination of options."""
        if choice not in self._keys:
            composed = self._compose_options(choice)
            self._keys[choice] = frozenset(key for key in self._swept if _has_key(composed, key))
        return self._keys[choice]

    def _compose_options(self, choice: Sequence[str]) -> DictConfig:
        """Return the merged YAML files of a combination of options, with the keys of their classes."""
        items = parse_overrides(self.space.fixed, self.config_dirs)
        groups = registry.list_groups(self.config_dirs)
        words = [item.input_line or "" for item in items if item.key_or_group in groups and item.value() is not None]
        words += [f"{dimension.element}={value}" for dimension, value in zip(self._groups, choice, strict=True)]
        composed = hydra_compose.compose_base(tuple(words), self.config_dirs)
        assignments = [item for item in items if item.key_or_group not in groups]
        explicit_keys = {item.key_or_group for item in assignments} | self._swept
        precedence.resolve_precedence(composed, explicit_keys, self.config_dirs)
        target_overrides.expand_targets(composed, assignments, self.config_dirs)
        return composed


def _check_settings(settings: Settings) -> None:
    """Raise ConfigError if a global key asks for what the runs of a search cannot do."""
    ensemble_keys.check_is_one_model(settings, "train an ensemble of the best configuration afterwards")
    problems = []
    if settings.members is not None:
        problems.append(
            f"members: {settings.members} given, but each run of a search has a process of its own, so that its bits do"
            " not depend on the runs beside it; leave it out, or train a sweep (train -m)"
        )
    if settings.resume not in (None, "auto"):
        problems.append(f"resume: {settings.resume!r} names one run; resume=auto continues a search")
    if settings.match == match_keys.SECONDS:
        problems.append("match: seconds gives other widths each time it is measured; a search needs params or flops")
    if problems:
        raise ConfigError(*problems)


def _has_key(composed: DictConfig, key: str) -> bool:
    node: object = composed
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in list(node):
            return False
        node = node._get_node(part)
    return True


def _list_choices(values: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Return all combinations of options; if they are too many, those that differ from the first one in one option."""
    if math.prod(map(len, values)) <= MAX_GROUP_CHOICES:
        return list(itertools.product(*values))
    first = tuple(options[0] for options in values)
    others = [
        (*first[:index], name, *first[index + 1 :]) for index, options in enumerate(values) for name in options[1:]
    ]
    return [first, *others]
