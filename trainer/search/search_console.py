"""What a search prints: its plan, a line for each rung, its finalists, and the best configuration as a command."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.runs.run_command import format_saved_command
from trainer.search import finalists, planning, run_progress, rungs, search_files
from trainer.search.clock import MAIN_SHARE
from trainer.search.search_files import SEARCH_FILE, TRIALS_FILE
from trainer.search.trial import Trial
from trainer.utils.text import format_count
from trainer.viz.console import console, print_line
from trainer.viz.progress_bar import format_duration
from trainer.viz.score_tables import format_metric_name, format_number, new_table

if TYPE_CHECKING:
    from trainer.search.search_run import Search
    from trainer.search.successive_halving import Stage

MAX_NAMED = 8
"""Number of promoted trials that a line names."""
BAR_WIDTH = 20
MIN_TABLE_WIDTH = 76
"""Width of a terminal from which on the table of finalists has a column with their values."""
LENGTH_FREE_SCHEDULES = frozenset({"none", "constant", "schedule_free"})
"""Schedules whose learning rate at a step does not depend on the number of steps."""
ROWS_NOTE = (
    "the configurations have different validation rows, so that a better score may be that of easier rows; give the"
    " keys of the data one value each"
)
STABLE_SCHEDULE = "wsd"
"""Schedule whose learning rate does not depend on it before its decay."""


def print_start(search: Search) -> None:
    """Print the plan of a search."""
    options, factory = search.options, search.factory
    space, trials = factory.composer.space, factory.trials
    size = "" if space.size is None else f" of {space.size:,}"
    first = "first " if options.time_limit is not None or options.method == "tpe" else ""
    print_line(
        f"search={options.method}: {first}{format_count(len(trials), 'configuration')}{size}"
        f"{f' ({len(factory.refused)} incompatible)' if factory.refused else ''}, {search.pool.description}, in"
        f" {search.root}"
    )
    if options.is_promoting and trials[0].pauses:
        counts = rungs.count_per_rung(len(trials), trials[0].num_rungs, options.finalists)
        ends = [_format_range([trial.get_end(rung) for trial in trials]) for rung in range(trials[0].num_rungs)]
        plan = " -> ".join(f"{count} to step {end}" for count, end in zip(counts, ends, strict=True))
        print_line(f"runs: {plan}; paused ones continue exactly where they were")
        if options.time_limit is None:
            print_line(f"steps: {describe_steps(search)}")
        print_line(f"scores before the end: {explain_scores(trials)}")
    elif options.is_promoting:
        print_line("runs are too short to pause: no validation comes before their end (val_every, epochs)")
    if not factory.has_same_rows:
        print_line(f"note: {ROWS_NOTE}")
    if reused := sum(trial.is_reused for trial in trials):
        print_line(f"resume=auto: {format_count(reused, 'finished run')} of other commands reused")


def describe_steps(search: Search) -> str:
    """Return the most steps of a search without a time budget, as a share of those of all runs to their ends.

    Runs of unequal lengths take the most if the longest ones continue, which only the scores decide.

    Args:
        search: The search.
    """
    most, lengths = planning.plan_work(search).steps, [trial.length.steps for trial in search.factory.trials]
    condition = " if the longest runs continue" if len({*lengths}) > 1 else ""
    share = f"{most / sum(lengths):.0%} of the {sum(lengths):,} that all runs take to their ends"
    return f"at most {most:,} with further seeds{condition}, {share}"


def _format_range(steps: Sequence[int]) -> str:
    """Format numbers of steps that may differ from trial to trial: ``12`` or ``12-48``."""
    low, high = min(steps), max(steps)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def explain_scores(trials: Sequence[Trial]) -> str:
    """Return what the scores of runs mean that have not ended.

    Args:
        trials: Trials of the search.
    """
    names = {trial.config.names["scheduler"] for trial in trials if trial.config is not None}
    if names <= LENGTH_FREE_SCHEDULES:
        return "as good as those of runs that end there, because the learning rate does not depend on the length"
    if names <= {*LENGTH_FREE_SCHEDULES, STABLE_SCHEDULE} and all(map(_pauses_before_decay, trials)):
        return "at the constant learning rate of the stable phase, before its decay; comparable at any length"
    return "of a learning rate that has not fallen as far as it will; only runs of the same rung are compared"


def _pauses_before_decay(trial: Trial) -> bool:
    """Return whether a trial pauses only in the stable phase of its schedule, if it has one."""
    if trial.config is None or trial.config.names["scheduler"] != STABLE_SCHEDULE or not trial.pauses:
        return True
    node = trial.config.tree["scheduler"]
    warmup, steps = int(node["warmup"]), trial.length.steps
    return trial.pauses[-1] <= steps - round(float(node["decay"]) * (steps - warmup))


def print_progress(search: Search, trials: Sequence[Trial], num_ended: int) -> None:
    """Print a line about runs that have ended, while others of the same rung are running.

    Args:
        search: The search.
        trials: The trials of the rung that run now, or the runs with further seeds.
        num_ended: Number of those that have ended.
    """
    known = search.factory.trials
    is_replicates = trials[0].path not in {trial.path for trial in known}
    compared = trials if trials[0].pauses or is_replicates else known
    name = "further seeds  " if is_replicates else _name_rung(len(trials[0].scores), trials[0].num_rungs)
    parts = [f"{name}{num_ended} of {format_count(len(trials), 'run')}"]
    if not is_replicates and (best := _find_best(compared)) is not None:
        parts.append(f"best val {format_metric_name(best.record.monitor)} {_format_score(best)} (#{best.number})")
    parts += _describe_time(search)
    print_line("  ".join(parts))


def _name_rung(rung: int, num_rungs: int) -> str:
    return f"rung {rung + 1}/{num_rungs}  " if num_rungs > 1 else ""


def _find_best(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the best validation score so far."""
    scores = {trial.number: trial.record.find_best_score() for trial in trials}
    higher_is_better = any(trial.record.higher_is_better for trial in trials)
    number = next(iter(rungs.rank(scores, higher_is_better=higher_is_better)), None)
    found = [trial for trial in trials if trial.number == number and scores[trial.number] is not None]
    return found[0] if found else None


def _format_score(trial: Trial) -> str:
    score = trial.record.find_best_score()
    return "" if score is None else format_number(score)


def _describe_time(search: Search) -> list[str]:
    """Return the time of a search so far, and how much is left, as far as it is known.

    It is not before a search that is resumed starts a run: the further seeds may be finished, too.
    """
    seconds = search.clock.seconds
    if search.clock.limit is not None:
        left = f"{format_duration(max(0.0, search.clock.limit - seconds))} left"
        return [format_duration(seconds), left]
    if not search.pool.num_started:
        return [format_duration(seconds)]
    work, workers = planning.plan_work(search), search.pool.at_a_time
    estimate = run_progress.estimate_seconds_left(search.list_runs(), work, seconds, workers)
    return [format_duration(seconds), *([f"about {format_duration(estimate)} left"] if estimate else [])]


def print_stage(search: Search, stage: Stage) -> None:
    """Print a line about a rung: who continues, the best score so far, steps and time.

    Args:
        search: The search.
        stage: What has happened at the rung.
    """
    trials = {trial.number: trial for trial in search.factory.trials}
    active = [trials[number] for number in stage.trials]
    scores = {t.number: t.scores[stage.rung] for t in active if len(t.scores) > stage.rung}
    failed = sum(score is None for score in scores.values())
    direction = search.halving.direction
    best = next(iter(rungs.rank(scores, higher_is_better=direction.higher_is_better)), None)
    num_rungs = active[0].num_rungs if active else 1
    name = _name_rung(stage.rung, num_rungs)
    parts = [f"{name}{format_count(len(active), 'run')}{f' ({failed} failed)' if failed else ''}"]
    if best is not None and (score := scores[best]) is not None:
        parts.append(f"best val {format_metric_name(direction.monitor)} {format_number(score)} (#{best})")
    if not stage.is_complete:
        share = f"{MAIN_SHARE:.0%} of the time" if search.options.seeds > 1 else "the time"
        parts.append(f"{share} is over: running ones are paused")
    elif stage.rung + 1 < num_rungs:
        parts.append(f"{len(stage.promoted)} continue: {_name_trials(stage.promoted)}")
    parts += [f"{search.count_steps():,} steps", *_describe_time(search)]
    print_line("  ".join(parts))
    for trial in active:
        if trial.reason:
            print_line(f"failed: #{trial.number} {trial.label}: {trial.reason}")


def _name_trials(numbers: Sequence[int]) -> str:
    named = " ".join(f"#{number}" for number in numbers[:MAX_NAMED])
    return f"{named} ..." if len(numbers) > MAX_NAMED else named


def print_finalists(search: Search, selected: Sequence[Trial]) -> None:
    """Print which trials get further seeds.

    Args:
        search: The search.
        selected: The trials.
    """
    if selected:
        names = " ".join(f"#{trial.number}" for trial in selected)
        print_line(f"finalists {names}: {format_count(search.options.seeds, 'seed')} each")


def print_result(search: Search) -> None:
    """Print the finalists, the importance of the keys, the best configuration as a command, and the files."""
    if not search.ranked or not search.ranked[0].val:
        print_line("no run has a validation score, so there is no best configuration")
        if search.options.time_limit is not None and not any(run.reason for run in search.factory.trials):
            print_line("the time was over before the first validation of a run; give a larger budget")
        print_line(f"all trials: {search.root}/{TRIALS_FILE}")
        return
    _print_table(search)
    _print_importance(search)
    best = search.ranked[0]
    if not best.is_finished:
        total = best.trial.length.steps
        print_line(
            f"the time was over before any run ended: the scores are those of #{best.trial.number} after {best.step:,}"
            f" of {total:,} steps; {format_saved_command('resume', best.trial.path)} continues it"
        )
    for run in (run for finalist in search.ranked for run in finalist.replicates if run.reason):
        seed = "" if run.config is None else f" with seed {run.config.settings.seed}"
        print_line(f"failed: #{run.number}{seed}: {run.reason}")
    print_line("best configuration, by the mean validation score (the test score had no part in it):")
    print_line(f"  {search_files.format_command(best.trial, search.factory.composer)}")
    runs = search.factory.trials
    print_line(
        f"{format_count(len(runs), 'configuration')}, {search.count_steps():,} steps,"
        f" {format_duration(search.clock.seconds)}; everything is in {search.root} ({SEARCH_FILE}, {TRIALS_FILE})"
    )


def _print_table(search: Search) -> None:
    name = format_metric_name(search.halving.direction.monitor)
    table = new_table(f"Finalists, {finalists.describe_order(search.ranked)}")
    for column in ("#", f"val {name}", f"test {name}", "seeds"):
        table.add_column(column, justify="right", no_wrap=True)
    is_wide = console.width >= MIN_TABLE_WIDTH
    if is_wide:
        table.add_column("values", overflow="fold")
    for finalist in search.ranked:
        val, test = (_format_mean(scores) for scores in (finalist.val, finalist.test))
        label = [finalist.trial.label] if is_wide else []
        failed = f" ({finalist.num_failed} failed)" if finalist.num_failed else ""
        table.add_row(str(finalist.trial.number), val, test, f"{len(finalist.val)}{failed}", *label)
    console.print(table)
    for finalist in () if is_wide else search.ranked:
        print_line(f"#{finalist.trial.number} {finalist.trial.label}")


def _format_mean(scores: Sequence[float]) -> str:
    if not scores:
        return "-"
    mean = format_number(statistics.fmean(scores))
    return mean if len(scores) == 1 else f"{mean} ± {format_number(statistics.stdev(scores))}"


def _print_importance(search: Search) -> None:
    found = search.importance
    if found is None:
        return
    if found.reason:
        print_line(f"importance of the keys: not estimated ({found.reason})")
        return
    place = "" if found.step is None else f" at step {found.step:,}"
    print_line(
        f"importance of the keys for the scores of {found.num_scores} trials{place} (a random forest explains"
        f" {found.explained:.0%} of their order):"
    )
    width = max(map(len, found.shares))
    for key, share in found.shares.items():
        print_line(f"  {key:{width}}  {share:4.0%}  {'#' * round(share * BAR_WIDTH)}".rstrip())
