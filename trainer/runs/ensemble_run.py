"""A run of an ensemble: its members are trained as runs of their own, and their predictions averaged and scored."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch

from trainer.config import ensemble_keys, secret_masking
from trainer.config.run_config import Config
from trainer.core.dataset import Dataset
from trainer.core.task import Task
from trainer.engine import checkpoint, dataset_loading, device, ensemble, factory
from trainer.engine.dataloader import Loader
from trainer.runs import changed_run, consistency, initial_weights, run_dir, run_report
from trainer.runs.ensemble_scores import score_ensemble
from trainer.runs.member_runs import train_members
from trainer.runs.results import Result, create_result
from trainer.runs.run_command import format_saved_command
from trainer.runs.run_context import open_run, record_outcome
from trainer.runs.run_files import MEMBERS_DIR
from trainer.utils import atomic_write, signals
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count
from trainer.viz import ensemble_table, time_limit
from trainer.viz.console import console
from trainer.viz.score_tables import format_decisions

log = logging.getLogger(__name__)


def execute_ensemble(
    config: Config, path: Path, *, lock_wait: float = 0.0, quiet: bool = False, lock: IO[str] | None = None
) -> Result:
    """Train the members of an ensemble that are not finished, and score their averaged predictions.

    Args:
        config: Configuration of the ensemble.
        path: Its run directory.
        lock_wait: Seconds to wait for another process that holds the lock.
        quiet: Print only progress bars, for a nested run.
        lock: Open lock of a directory that was claimed.

    Raises:
        ConfigError: The data has changed since the first member was trained, or would differ between members.
        Interrupted: A signal has stopped a member.
    """
    with open_run(config, path, lock_wait, quiet=quiet, lock=lock) as reporter:
        is_new = not run_dir.read_results(path)
        if not is_new and (finished := _read_finished(path)) is not None:
            reporter.announce_lines([f"{path} is finished; nothing to do"])
            return finished
        config = _with_digests(config, path)
        result = create_result(config, path)
        with record_outcome(result, config, is_new=is_new), signals.prefer_interrupt(reporter.flag):
            members = _make_members(config, path)
            changed_run.write_config(config, path)
            result.status = "running"
            result.write()
            _link_latest(path, reporter)
            _announce_start(members, result, reporter)
            started_at, seconds_before = time.monotonic(), _sum_seconds(members)
            with _member_dirs(list(members)) as directories:
                train_members(list(members.values()), directories)
            seconds = seconds_before + time.monotonic() - started_at
            _finish(config, members, result, reporter, seconds)
    return result


def _sum_seconds(members: Iterable[Path]) -> float:
    """Return how long members have been trained before this process."""
    seconds = (run_dir.read_results(path).get("seconds") for path in members)
    return sum(value for value in seconds if isinstance(value, int | float))


@contextmanager
def _member_dirs(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """Create the directories of members for the block, at the end of which those that are still empty are removed."""
    with atomic_write.catch_write_errors(paths[0]):
        for path in paths:
            path.mkdir(parents=True, exist_ok=True)
    try:
        yield paths
    finally:
        for path in (*paths, paths[0].parent):
            with suppress(OSError):  # of a member that has started, or that was removed because it was rejected
                path.rmdir()


def _link_latest(path: Path, reporter: run_report.RunReporter) -> None:
    if not reporter.quiet:
        run_dir.link_latest(path)


def _read_finished(path: Path) -> Result | None:
    """Return the result of a finished ensemble; None if it is not finished, or lacks a file.

    Raises:
        ConfigError: Its weights are damaged or belong to another run.
    """
    result = Result.read(path)
    names = [checkpoint.BEST, *(result.artifacts or [])]
    if result.status != "finished" or result.artifacts is None or not all((path / name).is_file() for name in names):
        return None
    consistency.load_best(path, mmap=True)
    return result


def _with_digests(config: Config, path: Path) -> Config:
    """Return the configuration with the digests of its inputs, which must be those of the members so far."""
    if config.fingerprint is None:
        config = initial_weights.with_input_digests(config)
    saved = run_dir.read_results(path)
    if saved and saved.get("identity") != config.config_hash:
        raise ConfigError(
            f"{path}: its data or its configuration has changed since it was started; the members of an ensemble must"
            " have the same: train a new one"
        )
    return config


def _make_members(config: Config, path: Path) -> dict[Path, Config]:
    """Return the configuration of each member, by run directory."""
    assert config.settings.ensemble is not None
    directories = [path / MEMBERS_DIR / str(number) for number in range(config.settings.ensemble)]
    return {
        directory: ensemble_keys.make_member_config(config, number, str(directory))
        for number, directory in enumerate(directories)
    }


def _announce_start(members: Mapping[Path, Config], result: Result, reporter: run_report.RunReporter) -> None:
    seeds = ", ".join(str(member.settings.seed) for member in members.values())
    count = format_count(len(members), "member")
    reporter.print_line(f"ensemble of {result.model} on {result.data}: {count}, seeds {seeds}", "bold")
    log.info("ensemble: %s, seeds %s; config %s", count, seeds, result.identity)


def _finish(
    config: Config, members: Mapping[Path, Config], result: Result, reporter: run_report.RunReporter, seconds: float
) -> None:
    """Save the weights of all members as those of the ensemble, score them, and draw the figures.

    Args:
        config: Configuration of the ensemble.
        members: Configuration of each member, by run directory.
        result: Result of the ensemble.
        reporter: Prints the lines of the run.
        seconds: Most seconds that the training of all members has taken.
    """
    results = [Result.read(path) for path in members]
    bests = [_load_best(path) for path in members]
    _check_members(members, results, bests)
    _add_results(result, results)
    result.seconds = round(min(result.seconds, seconds), 3)  # some members may have been trained at the same time
    task, data = _load_task(config, bests, result.threads)
    loaders = factory.make_loaders(config.tree, data, config.settings, task.progress.device)
    score_ensemble(task, loaders, config.settings, data.info.target, result, results)
    _save_weights(config, result, task, bests[0])
    _show_scores(result, results, reporter)
    result.status = "finished"
    result.write()
    reporter.log_scores(result)
    _draw(task, loaders["test"], config, result, reporter)
    reporter.print_line(f"saved in {result.run_dir} ({result.seconds:.1f} s); its members in {MEMBERS_DIR}")


def _load_best(path: Path) -> dict[str, Any]:
    if not (path / checkpoint.BEST).exists():
        raise ConfigError(
            f"{path}: the member has no {checkpoint.BEST}: none of its validation scores was finite, or the file was"
            f" removed, which {format_saved_command('resume', path)} restores"
        )
    return consistency.load_best(path)


def _check_members(
    members: Mapping[Path, Config], results: Sequence[Result], bests: Sequence[Mapping[str, Any]]
) -> None:
    """Check that the run directories are those of the members, trained on the same rows, encoded in the same way."""
    digests = bests[0]["run_metadata"].get("data")
    for (path, config), result, best in zip(members.items(), results, bests, strict=True):
        if result.identity != config.config_hash or best["run_metadata"].get("data") != digests:
            raise ConfigError(
                f"{path} is not the run of a member of this ensemble, which has another configuration or other data;"
                " remove it, and resume the ensemble to train the member again"
            )


def _add_results(result: Result, members: Sequence[Result]) -> None:
    """Add the sizes of the ensemble to its result: the length of its longest member, the time of all."""
    first = members[0]
    result.device, result.threads, result.rows = first.device, first.threads, first.rows
    result.monitor, result.higher_is_better = first.monitor, first.higher_is_better
    result.baseline, result.best_possible = first.baseline, first.best_possible
    result.params = sum(member.params for member in members)
    result.epochs, result.steps = max(member.epochs for member in members), max(member.steps for member in members)
    result.seconds = round(sum(member.seconds for member in members), 3)
    result.skipped_updates = sum(member.skipped_updates for member in members)


def _show_scores(result: Result, members: Sequence[Result], reporter: run_report.RunReporter) -> None:
    """Print the scores of the ensemble beside those of its members."""
    if reporter.quiet:
        return
    for number, member in enumerate(members):
        reporter.print_line(ensemble_table.describe_member(f"{MEMBERS_DIR}/{number}", member, result.monitor))
    console.print(ensemble_table.build_ensemble_table(result, result.ensemble, console.width))
    if result.decisions:
        reporter.print_line(f"fitted on the validation rows: {format_decisions(result.decisions)}")
    for line in ensemble_table.describe_ensemble(result.test, result.ensemble, result.monitor, len(members)):
        reporter.print_line(line)


def _load_task(config: Config, bests: Sequence[Mapping[str, Any]], threads: int) -> tuple[Task, Dataset]:
    """Load the data set and the task of the ensemble with the weights of its members."""
    torch.set_num_threads(1)  # as in training: more threads add the numbers of a data set in another order
    data = dataset_loading.reload_dataset(config, bests[0]["data"])
    torch.set_num_threads(threads)
    with device.explain_model_memory():
        task = ensemble.make_task(config.tree, data, config.names, bests[0]["run_metadata"].get("architecture"))
        task.load_state_dict(ensemble.join_weights([best["task"] for best in bests]))
        return task.to(device.select_available_device(config.settings.device)).eval(), data


def _save_weights(config: Config, result: Result, task: Task, best: Mapping[str, Any]) -> None:
    """Save the weights and decisions of the ensemble, with the data set of a member."""
    metadata = {
        "config": secret_masking.mask_tree(config.raw),
        "identity": result.identity,
        "overrides": result.overrides,
    }
    state = {
        **best,
        "task": task.state_dict(),
        "decisions": task.decisions,
        "score": result.val.get(result.monitor),
        "tiebreak_score": None,
        "epoch": None,
        "step": None,
        "run_metadata": {**best["run_metadata"], **metadata},
    }
    checkpoint.save_checkpoint(state, Path(result.run_dir) / checkpoint.BEST)


def _draw(task: Task, test: Loader, config: Config, result: Result, reporter: run_report.RunReporter) -> None:
    """Write the figures of the averaged predictions, and list them in the results, which completes the run."""
    settings, paths, skipped = config.settings, list[Path](), list[str]()
    if settings.draw and not reporter.quiet:
        limit = time_limit.TimeLimit(settings.draw_seconds, reporter.announce_drawing, reporter.flag.raise_if_stopped)
        with closing(test.iter_epoch(0)) as batches:
            paths, skipped = time_limit.draw_with_time_limit(
                task.make_artifacts(batches), task.model, Path(result.run_dir), limit
            )
    result.artifacts = [path.name for path in paths]
    result.write()
    if paths:
        reporter.print_line(f"figures: {', '.join(result.artifacts)}")
    if skipped:
        reporter.print_line(f"not drawn within draw_seconds={settings.draw_seconds:g}: {', '.join(skipped)}")
