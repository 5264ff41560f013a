"""The command ``train search``: from a space of configurations to the best one, within a budget."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.config import secret_masking
from trainer.config.launcher_options import LauncherOptions
from trainer.config.run_config import Config
from trainer.config.search_points import PointComposer
from trainer.runs import run_dir, sweep_dir
from trainer.search import (
    finalists,
    importance,
    planning,
    search_console,
    search_files,
)
from trainer.search.clock import MAIN_SHARE, Clock
from trainer.search.finalists import Finalist
from trainer.search.importance import Importance
from trainer.search.options import SearchOptions
from trainer.search.run_pool import RunPool
from trainer.search.successive_halving import Stage, SuccessiveHalving
from trainer.search.trial import Trial
from trainer.search.trial_factory import TrialFactory
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError


def run_search(
    options: SearchOptions,
    composer: PointComposer,
    launcher_options: LauncherOptions | None = None,
    on_write: Callable[[Path], None] | None = None,
) -> int:
    """Search the best configuration.

    Args:
        options: Options of the search.
        composer: Composes the points of its space, whose corners have been checked.
        launcher_options: Options of a launcher; None for processes of this machine.
        on_write: Called with the directory of the search whenever its files have been written.

    Returns:
        Exit code: 0 if there is a result.

    Raises:
        ConfigError: A value or a data set is invalid; nothing has been run.
        Interrupted: A signal has stopped the search.
    """
    space = composer.space
    factory = TrialFactory(composer, planning.make_sampler(options, space), is_promoting=options.is_promoting)
    planning.draw_first(options, factory)
    if not factory.trials:
        raise ConfigError(*dict.fromkeys(trial.reason for trial in factory.refused))
    configs = [trial.config for trial in factory.trials if trial.config is not None]
    pool = RunPool(configs, launcher_options)
    try:
        root = _find_root(options, factory, configs)
        factory.place(root, may_reuse=configs[0].settings.resume == "auto")
        return Search(options, factory, pool, root, on_write).run()
    finally:
        pool.close()


def _find_root(options: SearchOptions, factory: TrialFactory, configs: Sequence[Config]) -> Path:
    """Create the directory of the search; with ``resume=auto``, first look for that of an earlier command."""
    # Not all configurations: a time budget decides later how many there are.
    digested = [factory.with_digests(config) for config in configs]
    hashes = [config.config_hash for config in digested]
    exact = [config.exact_data_digest for config in digested]
    identity = [options.describe(), list(factory.composer.space.descriptions), hashes, *([exact] if any(exact) else [])]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    jobs = [(name, digested[0])]
    if configs[0].settings.resume == "auto":
        return sweep_dir.find_sweep_dir(jobs) or sweep_dir.claim_sweep_dir(jobs, may_reuse=False)
    root = run_dir.claim_dir(configs[0].sweep_dir)
    sweep_dir.record_sweep_dir(jobs, root)  # for a later command with resume=auto
    return root


def _read_number(values: Mapping[str, Any], key: str) -> float | None:
    """Return a number of a file that may have been changed; None if it is none."""
    value = values.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value >= 0 else None


class Search:
    """A search whose first trials are known.

    Args:
        options: Options of the search.
        factory: Makes its trials.
        pool: Starts their runs.
        root: Its directory.
        on_write: Called with the directory whenever the files have been written.
    """

    def __init__(
        self,
        options: SearchOptions,
        factory: TrialFactory,
        pool: RunPool,
        root: Path,
        on_write: Callable[[Path], None] | None = None,
    ):
        self.options, self.factory, self.pool, self.root, self.on_write = options, factory, pool, root, on_write
        self.earlier = search_files.read_search(root)
        self.clock = Clock(_read_number(self.earlier, "seconds") or 0.0, options.time_limit)
        share = MAIN_SHARE if options.seeds > 1 else 1.0
        deadline = self.clock.find_deadline(share)
        self.halving = SuccessiveHalving(pool, options.finalists, deadline, self._report_stage, self._report_runs)
        planned = _read_number(self.earlier, "num_planned")
        self.num_planned = None if planned is None else int(planned)
        trials = self.earlier.get("trials")
        num_listed = len(trials) if isinstance(trials, list) else 0
        self.num_earlier = max(num_listed, int(_read_number(self.earlier, "num_trials") or 0))
        self.replicates: list[Trial] = []
        self.ranked: list[Finalist] = []
        self.importance: Importance | None = None

    def run(self) -> int:
        """Run the search, and return the exit code.

        Raises:
            Interrupted: A signal has stopped it.
        """
        atomic_write.remove_leftovers(self.root)
        search_console.print_start(self)
        try:
            planning.run_first_rung(self)
            self.halving.run_rungs(self.factory.trials)
            self._run_finalists()
            space, trials = self.factory.composer.space, self.factory.trials
            self.importance = importance.estimate_importance(space, trials, self.options.search_seed)
        finally:
            self.write()  # also for the time that was used by a search that is stopped
        search_console.print_result(self)
        return 0 if self.ranked and self.ranked[0].val else 1

    def _run_finalists(self) -> None:
        """Train the best trials with further seeds, as far as the time allows."""
        selected = finalists.select_finalists(self.factory.trials, self.options.finalists, self.halving)
        seeds = range(1, self.options.seeds)
        replicates = {trial.number: [self._make_replicate(trial, offset) for offset in seeds] for trial in selected}
        for trial in selected:
            if trial.record.status != "finished":  # the time is over
                replicates[trial.number] = []
        # The first further seed of all finalists before the second one of any.
        waiting = [run for group in itertools.zip_longest(*replicates.values()) for run in group if run is not None]
        self.replicates = waiting
        search_console.print_finalists(self, [trial for trial in selected if replicates[trial.number]])
        self.pool.run(waiting, lambda _: None, self.clock.find_deadline(), self._report_runs)
        monitor = self.halving.direction.monitor
        found = [finalists.read_finalist(trial, replicates[trial.number], monitor) for trial in selected]
        self.ranked = finalists.rank_finalists(found, higher_is_better=self.halving.direction.higher_is_better)

    def _make_replicate(self, trial: Trial, offset: int) -> Trial:
        assert trial.config is not None
        return self.factory.make_replicate(trial, trial.config.settings.seed + offset)

    def _report_stage(self, stage: Stage, trials: Sequence[Trial]) -> None:
        search_console.print_stage(self, stage)
        self.write()

    def _report_runs(self, trials: Sequence[Trial], num_ended: int) -> None:
        search_console.print_progress(self, trials, num_ended)
        self._write_files()  # a search that is killed has used this time

    def list_runs(self) -> list[Trial]:
        """Return all runs of this search, with further seeds of the finalists."""
        return [*self.factory.trials, *self.replicates]

    def count_steps(self) -> int:
        """Return the number of steps that all runs of this search have taken, without those of reused runs."""
        described = [search_files.describe_trial(run) for run in self.list_runs() if not run.is_reused]
        return sum(int(item["steps"]) for item in described)

    def _format_best_command(self) -> str | None:
        """Return the command of the best configuration; None before there is a finalist."""
        return search_files.format_command(self.ranked[0].trial, self.factory.composer) if self.ranked else None

    def write(self) -> None:
        """Write the files of the search and its page.

        Raises:
            SystemFault: A file cannot be written.
        """
        self._write_files()
        if self.on_write is not None:
            self.on_write(self.root)

    def _write_files(self) -> None:
        trials = [*self.factory.trials, *self.factory.refused]
        described = [search_files.describe_trial(trial) for trial in sorted(trials, key=lambda trial: trial.number)]
        space = self.factory.composer.space
        values: dict[str, Any] = {
            "options": self.options.describe(),
            "space": list(space.descriptions),
            "fixed": [secret_masking.mask_override(word) for word in space.fixed],
            "monitor": self.halving.direction.monitor,
            "higher_is_better": self.halving.direction.higher_is_better,
            "seconds": round(self.clock.seconds, 3),
            "steps": self.count_steps(),
            "num_planned": self.num_planned,
            "num_trials": max(self.num_earlier, len(self.factory.trials)),
            "stages": [vars(stage) for stage in self.halving.stages],
            "score_note": search_console.explain_scores(trials) if self.options.is_promoting and trials else None,
            "rows_note": None if self.factory.has_same_rows else search_console.ROWS_NOTE,
            "trials": described,
            "finalists": [search_files.describe_finalist(finalist) for finalist in self.ranked],
            "importance": search_files.describe_importance(self.importance),
            "command": self._format_best_command(),
            "working_dir": os.getcwd(),
        }
        search_files.write_search(self.root, values)
        keys = [dimension.key for dimension in space.dimensions]
        search_files.write_trials(self.root, described, keys, self.halving.direction.monitor)
