"""Plan of a search with promotions under a time budget: it fits into the time, and reused runs do not change it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainer.search import planning, rungs
from trainer.search.clock import MAIN_SHARE
from trainer.search.options import SearchOptions, make_options
from trainer.search.rungs import RunLength
from trainer.search.successive_halving import SuccessiveHalving
from trainer.search.trial import RunRecord, Trial

LENGTH, PAUSES = RunLength(160, 10, 1), (10, 40)
RATE = 20.0


class Clock:
    seconds = 0.0


class SimulatedSearch(SimpleNamespace):
    """Search whose workers take steps at a fixed rate, one group of runs after the other."""

    def __init__(self, options: SearchOptions, workers: int, num_reused: int = 0):
        super().__init__(options=options, clock=Clock(), num_planned=None, write=lambda: None)
        self.pool = SimpleNamespace(at_a_time=workers)
        self.factory = SimpleNamespace(trials=[], refused=[], extend=self.extend)
        self.halving = SimpleNamespace(is_over=False, run_first=self.run_first)
        self.num_reused = num_reused
        self.extend(planning.FIRST_BATCH)

    def extend(self, count: int) -> list[Trial]:
        first = len(self.factory.trials)
        new = [Trial(first + index, {}, {}, None, Path(), LENGTH, PAUSES) for index in range(count)]
        for trial in new:
            set_steps(trial, PAUSES[0] if trial.number < self.num_reused else 0)
        self.factory.trials += new
        return new

    def run_first(self, trials: list[Trial]) -> None:
        waiting = [trial for trial in trials if trial.record.steps < PAUSES[0]]
        self.clock.seconds += -(-len(waiting) // self.pool.at_a_time) * PAUSES[0] / RATE
        for trial in waiting:
            set_steps(trial, PAUSES[0])


def set_steps(trial: Trial, steps: int) -> None:
    trial.__dict__["record"] = RunRecord({}, [{"step": steps}])


def count_seconds(count: int, options: SearchOptions, workers: int) -> tuple[float, float]:
    """Return how long all rungs take, and with further seeds."""
    groups = [-(-number // workers) for number in rungs.count_per_rung(count, 3, options.finalists)]
    main = (groups[0] * 10 + groups[1] * 30 + groups[2] * 120) / RATE
    further = -(-options.finalists * (options.seeds - 1) // workers) * 160 / RATE
    return main, main + further


@pytest.mark.parametrize(("workers", "limit"), [(1, 300), (4, 300), (16, 300), (64, 60)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_planned_runs_fit_into_the_time(workers: int, limit: int, seeds: int) -> None:
    options = make_options(search="asha", budget=f"{limit}s", seeds=seeds)
    search: Any = SimulatedSearch(options, workers)
    planning.run_first_rung(search)
    assert search.num_planned == len(search.factory.trials) > planning.FIRST_BATCH
    share = MAIN_SHARE if seeds > 1 else 1.0
    main, whole = count_seconds(search.num_planned, options, workers)
    assert main <= share * limit
    assert whole <= limit
    more_main, more_whole = count_seconds(search.num_planned + 4 * 4 * workers, options, workers)
    assert more_main > share * limit or more_whole > limit


@pytest.mark.parametrize("num_reused", [8, 16, 20])
def test_reused_runs_do_not_make_the_others_seem_fast(num_reused: int) -> None:
    options = make_options(search="asha", budget="300s")
    search: Any = SimulatedSearch(options, 1, num_reused)
    planning.run_first_rung(search)
    main, whole = count_seconds(search.num_planned, options, 1)
    assert main - num_reused * 10 / RATE <= MAIN_SHARE * 300
    assert whole - num_reused * 10 / RATE <= 300


def test_best_trials_of_a_rung_start_first() -> None:
    started: list[list[int]] = []
    trials = [Trial(number, {}, {}, None, Path(), LENGTH, PAUSES, scores=[float(number % 5)]) for number in range(20)]
    pool: Any = SimpleNamespace(run=lambda runs, *_: started.append([run.number for run in runs]))
    for trial in trials:
        set_steps(trial, 0)
    halving = SuccessiveHalving(pool, 2, None, lambda *_: None)
    halving.direction.higher_is_better = True
    halving.run_rungs(trials)
    assert started == [[4, 9, 14, 19, 3]]
    assert halving.stages[0].promoted == [3, 4, 9, 14, 19]
