"""Trials in the order of their numbers: points of a sampler, composed and checked, with their run directories."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.config.run_config import Config
from trainer.config.search_points import PointComposer
from trainer.runs import matching_run, run_dir, sweep
from trainer.search.run_length import LoadedData, measure_lengths
from trainer.search.rungs import RunLength, plan_pauses
from trainer.search.samplers import Observation, Point, Sampler
from trainer.search.trial import Trial, read_record
from trainer.utils.errors import IncompatibleError

DRAW_LIMIT = 20
"""Draws for each trial after which no further one is looked for: their options are incompatible, or are repeated."""


class TrialFactory:
    """Makes trials.

    Args:
        composer: Composes the points of the space.
        sampler: Chooses points.
        is_promoting: Whether runs pause at rungs.
    """

    def __init__(self, composer: PointComposer, sampler: Sampler, *, is_promoting: bool):
        self.composer, self.sampler, self.is_promoting = composer, sampler, is_promoting
        self.trials: list[Trial] = []
        self.refused: list[Trial] = []
        self.root = Path()
        self._max_pauses: int | None = None
        self._loaded: dict[str, LoadedData] = {}
        self._finished: dict[str, dict[str, Any]] = {}
        self._digested: dict[str, Config] = {}
        self._found: set[tuple[tuple[str, str], ...]] = set()
        self._num_drawn = self._num_numbered = 0

    @property
    def has_same_rows(self) -> bool:
        """Whether all trials so far are scored on the same targets."""
        return len({data.scored_rows for data in self._loaded.values()}) < 2

    def extend(self, count: int, observed: Sequence[Observation] = ()) -> list[Trial]:
        """Make further trials, fewer if the space has no other points.

        Args:
            count: Number of trials whose options are compatible.
            observed: Points so far with their scores.

        Raises:
            ConfigError: Points are invalid, or their data sets cannot be loaded.
        """
        new: list[Trial] = []
        limit, num_refused = self._num_drawn + DRAW_LIMIT * count, len(self.refused)
        while len(new) < count and self._num_drawn < limit:
            refused = [Observation(trial.point, None) for trial in self.refused[num_refused:]]
            points = self.sampler.propose(count - len(new), [*observed, *refused])
            if not points:
                break
            self._num_drawn += len(points)
            new += self._make_trials(points)
        self._plan(new)
        self.trials += new
        for trial in new:
            self._place(trial)
        return new

    def place(self, root: Path, *, may_reuse: bool) -> None:
        """Give all trials their directories.

        Args:
            root: Directory of the search.
            may_reuse: Whether finished runs of other commands are used instead of being repeated.
        """
        self.root = root
        self._finished = matching_run.list_finished_runs() if may_reuse else {}
        for trial in [*self.trials, *self.refused]:
            self._place(trial)

    def make_replicate(self, trial: Trial, seed: int) -> Trial:
        """Return a trial of the same point with another seed.

        Args:
            trial: The trial.
            seed: The seed.
        """
        config = self.composer.compose(trial.values, [f"seed={seed}"])
        replicate = replace(trial, config=config, pauses=(), reason="", scores=[], is_reused=False)
        self._place(replicate, f"seed={seed}")
        return replicate

    def _make_trials(self, points: Sequence[Point]) -> list[Trial]:
        distinct = []
        for point in points:
            values = self.composer.select_values(point)
            key = tuple(values.items())
            if key not in self._found:  # points differ in keys that their options do not have
                self._found.add(key)
                distinct.append((point, values))
        configs = self.composer.compose_all([values for _, values in distinct])
        first = self._num_numbered
        self._num_numbered += len(distinct)
        length = RunLength(0, 1, 1)
        trials = [
            Trial(first + index, point, values, config if isinstance(config, Config) else None, Path(), length)
            for index, ((point, values), config) in enumerate(zip(distinct, configs, strict=True))
        ]
        for trial, config in zip(trials, configs, strict=True):
            trial.reason = str(config) if isinstance(config, IncompatibleError) else ""
        self.refused += [trial for trial in trials if trial.config is None]
        return [trial for trial in trials if trial.config is not None]

    def _plan(self, trials: Sequence[Trial]) -> None:
        """Set the lengths of trials and the steps at which they pause, as many as those of the first ones."""
        configs = [trial.config for trial in trials if trial.config is not None]
        lengths = measure_lengths(configs, self._loaded)
        if self._max_pauses is None and lengths:
            self._max_pauses = len(plan_pauses(lengths)[0]) if self.is_promoting else 0
        for trial, length in zip(trials, lengths, strict=True):
            trial.length, trial.pauses = length, length.list_pauses(self._max_pauses or 0)

    def _place(self, trial: Trial, *extra: str) -> None:
        """Set the run directory of a trial, whose name has its number, further overrides and its values."""
        space = self.composer.space
        keys = {dimension.key for dimension in space.dimensions} | {word.partition("=")[0] for word in extra}
        name = sweep.name_job(trial.number, [*extra, *space.list_assignments(trial.values)], keys)
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        trial.path = next(path for path in map(self.root.joinpath, names) if self._may_use(trial, path))
        trial.forget_record()
        self._reuse(trial)

    def _may_use(self, trial: Trial, path: Path) -> bool:
        """Return whether the run of a trial can begin or go on in a directory: there is no run, or that of the trial.

        The run of a trial is another one if its data has changed, or nothing says which scores it had at its pauses.
        """
        if trial.config is None or not os.path.lexists(path):
            return True
        if not path.is_dir():
            return False
        if run_dir.is_abandoned_run(path):
            return True
        # Widths that are solved for when a run starts are not known yet.
        is_known = trial.config.settings.match is None
        if is_known and matching_run.find_matching_run(self.with_digests(trial.config), path) is None:
            return False
        return not (trial.pauses and read_record(path).has_lost_history)

    def _reuse(self, trial: Trial) -> None:
        """Use the finished run of another command that has the configuration of a trial, if there is one."""
        is_known = trial.config is not None and trial.config.settings.match is None
        if trial.config is None or not is_known or not self._finished or trial.path.exists():
            return
        found = matching_run.select_finished_run(self.with_digests(trial.config), self._finished)
        if found is not None and self._may_use(trial, found):
            trial.path, trial.is_reused = found, True

    def with_digests(self, config: Config) -> Config:
        """Return a configuration with the digests of its inputs, which are computed once for each data set.

        Args:
            config: The configuration.
        """
        key = repr((config.tree["data"], config.settings.init_from, config.settings.data_dir))
        if key not in self._digested:
            from trainer.runs import initial_weights  # here, because invalid spaces are reported without torch

            self._digested[key] = initial_weights.with_input_digests(config)
        first = self._digested[key]
        return replace(
            config,
            fingerprint=first.fingerprint,
            fingerprint_time=first.fingerprint_time,
            source_digest=first.source_digest,
        )
