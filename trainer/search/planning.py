"""How many trials a budget allows, and in which batches they start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trainer.config.search_space import Space
from trainer.search import rungs, samplers
from trainer.search.clock import MAIN_SHARE
from trainer.search.options import MAX_TRIALS, SearchOptions
from trainer.search.run_progress import PlannedWork
from trainer.search.samplers import Sampler, SequenceSampler
from trainer.search.tpe_sampler import BATCH_SIZE, NUM_STARTUP, TPESampler
from trainer.search.trial import Trial
from trainer.search.trial_factory import TrialFactory
from trainer.utils.errors import ConfigError

if TYPE_CHECKING:
    from trainer.search.search_run import Search

FIRST_BATCH = 16
"""Number of trials from which the time or the length of others is estimated."""
FULL_RUN_BATCH = 4
"""Number of trials of a batch that are trained to their end, under a time budget."""


def make_sampler(options: SearchOptions, space: Space) -> Sampler:
    """Return the sampler of a method.

    Args:
        options: Options of the search.
        space: The space.
    """
    if options.method == "tpe":
        return TPESampler(space, options.search_seed)
    if options.method == "grid":
        return SequenceSampler(space, samplers.list_grid(space))
    draw = samplers.draw_random if options.method == "random" else samplers.draw_sobol
    return SequenceSampler(space, draw(space, options.search_seed))


def draw_first(options: SearchOptions, factory: TrialFactory) -> None:
    """Draw the trials that are known before anything runs: all of them, unless time or scores decide about others.

    Args:
        options: Options of the search.
        factory: Makes the trials.

    Raises:
        ConfigError: The budget is too small for a single run.
    """
    limit = NUM_STARTUP if options.method == "tpe" else MAX_TRIALS
    if options.budget is None:
        factory.extend(MAX_TRIALS)
    elif options.budget.unit == "runs":
        factory.extend(min(limit, int(options.budget.amount)))
    elif options.budget.unit == "seconds":
        factory.extend(FIRST_BATCH if options.is_promoting else FULL_RUN_BATCH)
    else:
        _draw_by_steps(options, factory, limit)


def _draw_by_steps(options: SearchOptions, factory: TrialFactory, limit: int) -> None:
    """Draw as many trials as the steps allow, which depends on their lengths."""
    assert options.budget is not None
    budget = options.budget.amount
    factory.extend(1)
    while factory.trials:
        count = min(count_affordable(options, factory, budget), limit)
        if count <= len(factory.trials) or not factory.extend(count - len(factory.trials)):
            break
    count = count_affordable(options, factory, budget)
    if factory.trials and not count:
        steps = sum(_count_steps(options, factory.trials, 1))
        raise ConfigError(
            f"search budget: {options.budget.text} given; one configuration with its seeds takes {steps:,} steps;"
            " raise it, or lower seeds or finalists"
        )
    del factory.trials[count:]


def count_affordable(options: SearchOptions, factory: TrialFactory, budget: float) -> int:
    """Return the number of trials whose runs all together take at most a number of steps, with further seeds.

    Args:
        options: Options of the search.
        factory: Trials whose lengths are those of all others, too.
        budget: The number of steps.
    """
    return _find_largest(lambda count: sum(_count_steps(options, factory.trials, count)) <= budget)


def _find_largest(is_affordable: Callable[[int], bool]) -> int:
    """Return the largest number of trials up to the maximum that is affordable, as all smaller ones are."""
    low, high = 0, MAX_TRIALS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if is_affordable(middle) else (low, middle - 1)
    return low


def _count_steps(
    options: SearchOptions, known: Sequence[Trial], count: int, workers: int = 1, first_rung: int = 0
) -> tuple[int, int]:
    """Return the largest number of steps that a search of so many trials can take, and that of its further seeds.

    With several workers, these are the steps of one of them; rungs before the first one are left out.
    """
    chosen = [known[index % len(known)] for index in range(count)]
    if not chosen:
        return 0, 0
    counts = rungs.count_per_rung(count, chosen[0].num_rungs, options.finalists)
    lengths = [trial.length for trial in chosen]
    num_replicates = min(options.finalists, counts[-1]) * (options.seeds - 1)
    longest = max(length.steps for length in lengths)
    counts = [0] * first_rung + counts[first_rung:]
    steps = rungs.count_steps(lengths, [trial.pauses for trial in chosen], counts, workers)
    return steps, -(-num_replicates // workers) * longest


def run_first_rung(search: Search) -> None:
    """Run trials to their first rung, in batches where time or scores decide about the next one.

    Args:
        search: The search, with its first trials.
    """
    options, trials = search.options, search.factory.trials
    if options.is_promoting and options.time_limit is not None:
        _run_planned(search, options.time_limit)
        return
    search.halving.run_first(trials)
    search.write()
    if options.method == "tpe":
        _run_batches(search, BATCH_SIZE)
    elif options.time_limit is not None:
        _run_batches(search, FULL_RUN_BATCH)


def _run_planned(search: Search, limit: float) -> None:
    """Run trials to the first rung, as many as fit into the time with all rungs, by the time that the first ones take.

    Args:
        search: The search, with its first trials.
        limit: The time in seconds.
    """
    factory, halving, batch = search.factory, search.halving, search.factory.trials
    while batch:
        rate = _run_timed(search, batch)
        search.write()
        if rate is not None or search.num_planned is not None or halving.is_over:
            break
        batch = factory.extend(FIRST_BATCH)
    if search.num_planned is None and rate is not None and not halving.is_over:
        search.num_planned = max(len(factory.trials), estimate_count(search, limit, rate))
        search.write()
    more = (search.num_planned or 0) - len(factory.trials)
    if more > 0:
        halving.run_first(factory.extend(more))


def _run_timed(search: Search, trials: Sequence[Trial]) -> float | None:
    """Run trials to their first rung, and return the steps per second of a worker; None if all had reached it.

    Only steps that runs take now count, because those of runs that are reused or continued took no time of this clock.
    """
    before, started_at = [trial.record.steps for trial in trials], search.clock.seconds
    search.halving.run_first(trials)
    increments = [max(0, trial.record.steps - steps) for trial, steps in zip(trials, before, strict=True)]
    running = sorted((count for count in increments if count), reverse=True)
    steps = sum(running[:: search.pool.at_a_time])
    return steps / max(search.clock.seconds - started_at, 1e-3) if steps else None


def _run_batches(search: Search, size: int) -> None:
    """Run batches of trials until the budget is used."""
    factory, halving = search.factory, search.halving
    while (count := min(size, _count_left(search))) > 0:
        if halving.is_over and len(factory.trials) >= search.num_earlier:
            break
        sampler = factory.sampler
        if isinstance(sampler, TPESampler):
            sampler.higher_is_better = halving.direction.higher_is_better
            num_startup = NUM_STARTUP - len(factory.trials)
            count = min(count, num_startup) if num_startup > 0 else count
        drawn = sorted([*factory.trials, *factory.refused], key=lambda trial: trial.number)
        batch = factory.extend(count, halving.observe(drawn))
        if not batch:
            break
        halving.run_first(batch)
        search.write()  # a search that is killed has used this time


def _count_left(search: Search) -> int:
    """Return how many trials the budget still allows."""
    budget, known = search.options.budget, len(search.factory.trials)
    assert budget is not None
    if budget.unit == "runs":
        return int(budget.amount) - known
    if budget.unit == "steps":
        return count_affordable(search.options, search.factory, budget.amount) - known
    return MAX_TRIALS - known


def plan_work(search: Search) -> PlannedWork:
    """Return the most that a search without a time budget can take, with further seeds.

    Args:
        search: The search.
    """
    options, known = search.options, search.factory.trials
    count = len(known) + (max(0, _count_left(search)) if options.method == "tpe" else 0)
    counts = rungs.count_per_rung(count, known[0].num_rungs, options.finalists)
    num_replicates = min(options.finalists, counts[-1]) * (options.seeds - 1)
    return PlannedWork(sum(counts) + num_replicates, sum(_count_steps(options, known, count)))


def estimate_count(search: Search, limit: float, rate: float) -> int:
    """Return how many trials fit into the time that is left.

    All rungs must end before the share of the time at which the runs are stopped, and further seeds before its end. The
    runs of a rung need the time of the longest ones, as many at a time as there are workers.

    Args:
        search: The search, whose first trials have run.
        limit: Time of the whole search in seconds.
        rate: Steps per second of a worker.
    """
    options, known, workers = search.options, search.factory.trials, search.pool.at_a_time
    share = MAIN_SHARE if options.seeds > 1 else 1.0
    used = search.clock.seconds
    whole, later = (_count_steps(options, known, len(known), workers, first_rung)[0] for first_rung in (0, 1))
    done = whole - later

    def is_affordable(count: int) -> bool:
        steps, further = _count_steps(options, known, count, workers)
        seconds = used + (steps - done) / rate
        return seconds <= share * limit and seconds + further / rate <= limit

    return _find_largest(is_affordable)
