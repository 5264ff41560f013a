"""Repetition of a run from the start, in a directory of its own, and whether it has the same bits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainer.analysis.diff_runs import JOINT_RUNS, Difference, diff_runs
from trainer.analysis.run_record import RunRecord
from trainer.config import plugins
from trainer.config.run_config import Config
from trainer.engine import checkpoint
from trainer.runs import hub_folder, initial_weights, run_dir
from trainer.runs.metrics_file import read_history
from trainer.runs.run_files import make_sibling_path
from trainer.runs.train import execute_run
from trainer.utils.digests import digest_values
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count
from trainer.viz.loggers.csv_logger import STEPS_FILE

SUFFIX = "-rerun"
TIME_COLUMNS = {"seconds", "rows_per_second"}
"""Columns of the metrics that are measured times."""
CAUSE_KEYS = ("device used", "threads used", "deterministic", "devices", "strategy", "shard_optimizer", JOINT_RUNS)
"""Keys without an effect on the result in exact arithmetic that may change the order of additions."""


@dataclass(frozen=True)
class FirstDifference:
    """The first recorded value in which two runs differ.

    Args:
        after: Last step after which all recorded values are the same.
        until: Step at which the value was recorded.
        name: Name of the value.
        texts: The value of each run.
    """

    after: int
    until: int
    name: str
    texts: tuple[str, str]

    def __str__(self) -> str:
        steps = (
            f"at step {self.until}" if self.until == self.after + 1 else f"in steps {self.after + 1} to {self.until}"
        )
        return f"{steps}: {self.name} is {self.texts[0]}, in the rerun {self.texts[1]}"


@dataclass(frozen=True)
class Comparison:
    """A run and its repetition.

    Args:
        compared: What was compared, such as ``3 validations``.
        difference: The first difference; None if there is none.
        causes: What may have caused it.
    """

    compared: Sequence[str]
    difference: FirstDifference | None
    causes: Sequence[Difference]


def rerun(saved: Config, record: RunRecord) -> RunRecord:
    """Train a run again, with its configuration, seed and number of threads, on the same data.

    Args:
        saved: Configuration of the run, with overrides of the command.
        record: What it has recorded.

    Returns:
        The record of the repetition.

    Raises:
        ConfigError: It is not a run that was trained from the start, or its data has changed.
    """
    path = Path(saved.run_dir)
    if hub_folder.is_hub_folder(path):
        raise ConfigError(f"{path} is a hub folder, which holds no training to repeat")
    if record.results.get("changes"):
        raise ConfigError(
            f"{path} continued another run with changes ({'; '.join(record.results['changes'])}); a rerun starts with"
            " the first step: rerun the run that it continued"
        )
    config = _make_new_config(saved, record)
    plugins.declare_plugins(config.settings.plugins, Path(config.working_dir))
    config = initial_weights.with_input_digests(config)
    _check_data(config, record)
    claimed = run_dir.claim_run(str(_make_rerun_path(path)))
    config = replace(config, run_dir=str(claimed.path), sweep_dir=str(claimed.path))
    result = execute_run(config, claimed.path, lock=claimed.lock)
    return RunRecord(claimed.path, vars(result))


def _make_rerun_path(path: Path) -> Path:
    """Return the directory of a repetition: beside the run, or in one beside its sweep, whose runs are its jobs."""
    real = path.resolve()
    if (real.parent / run_dir.JOBS_DIR).is_dir():
        return make_sibling_path(real.parent, SUFFIX) / real.name
    return make_sibling_path(path, SUFFIX)


def _make_new_config(saved: Config, record: RunRecord) -> Config:
    """Return the configuration of a new run: ``resume`` is not repeated, the number of threads is."""
    fresh: Mapping[str, Any] = {"resume": None, "resume_allow": []}
    threads = saved.settings.threads or record.results.get("threads") or None
    settings = replace(saved.settings, resume=None, resume_allow=[], threads=threads)
    return replace(saved, tree={**saved.tree, **fresh}, raw={**saved.raw, **fresh}, settings=settings)


def _check_data(config: Config, record: RunRecord) -> None:
    recorded, current = record.results.get("data_digest"), config.data_digest
    if recorded != current and not config.settings.allow_changed_data:
        raise ConfigError(
            f"the data of {record.path} has changed since it was trained (digest {recorded}, now {current}), so that a"
            " rerun cannot have the same bits; allow_changed_data=true trains it on the current data"
        )


def compare_runs(first: RunRecord, second: RunRecord) -> Comparison:
    """Compare what a run and its repetition have recorded, to the bit.

    Args:
        first: The run.
        second: The repetition.
    """
    compared, found = [], []
    for name, noun in ((STEPS_FILE, "logged step"), (run_dir.METRICS_FILE, "validation")):
        rows = [read_history(each.path / name) for each in (first, second)]
        if rows[0]:
            compared.append(format_count(min(map(len, rows)), noun))
            found += [each for each in [find_first_difference(*rows)] if each]
    states = [*_compare_states(first.path, second.path)]
    compared += [name for name, _ in states]
    found += [difference for _, difference in states if difference]
    if first.results.get("test") and first.status == "finished":
        compared.append("test scores")
        found += _compare_scores(first, second)
    # Of several records that bound the same first step, the tightest bounds.
    first_difference = min(found, key=lambda each: (each.until, -each.after), default=None)
    return Comparison([*dict.fromkeys(compared)], first_difference, _find_causes(first, second))


def find_first_difference(
    first: Sequence[Mapping[str, float]], second: Sequence[Mapping[str, float]]
) -> FirstDifference | None:
    """Find the first row and column in which two histories differ; measured times are left out.

    Args:
        first: Rows with a ``step``, in order.
        second: Rows of the repetition.
    """
    after = 0
    for old, new in zip(first, second, strict=False):
        for name in old.keys() | new.keys() if old.keys() != new.keys() else old:
            values = old.get(name, math.nan), new.get(name, math.nan)
            if name not in TIME_COLUMNS and values[0] != values[1] and not all(map(math.isnan, values)):
                return FirstDifference(after, int(old.get("step", 0)), name, (repr(values[0]), repr(values[1])))
        after = int(old.get("step", after))
    return None


def _compare_states(first: Path, second: Path) -> Iterator[tuple[str, FirstDifference | None]]:
    """Compare the weights of every checkpoint that both runs have."""
    names = [file.name for file in first.glob("*.pt") if (second / file.name).is_file()]
    for name in sorted(names, key=lambda name: (name == checkpoint.LAST, name == checkpoint.BEST, name)):
        if name == checkpoint.PREVIOUS:
            continue
        states = [checkpoint.load_checkpoint(folder / name) for folder in (first, second)]
        steps = [_read_step(state) for state in states]
        if steps[0] == steps[1]:  # else the histories differ, or one run ended earlier
            has_step = states[0].get("step", 0) is not None  # an ensemble has none
            title = f"weights of step {steps[0]}" if has_step else "weights of the members"
            yield title, _compare_weights(states[0]["task"], states[1]["task"], steps[0])


def _read_step(state: Mapping[str, Any]) -> int:
    position = state.get("position")
    return int((position["step"] if isinstance(position, Mapping) else state.get("step")) or 0)


def _compare_weights(first: Mapping[str, Any], second: Mapping[str, Any], step: int) -> FirstDifference | None:
    for name in dict.fromkeys([*first, *second]):
        digests = [digest_values([state[name]]) if name in state else "missing" for state in (first, second)]
        if digests[0] != digests[1]:
            return FirstDifference(0, step, f"the digest of {name}", (digests[0], digests[1]))
    return None


def _compare_scores(first: RunRecord, second: RunRecord) -> list[FirstDifference]:
    scores = [{"step": float(each.results["steps"]), **each.results.get("test", {})} for each in (first, second)]
    found = find_first_difference([scores[0]], [scores[1]])
    return [replace(found, after=found.until - 1, name=f"test {found.name}")] if found else []


def _find_causes(first: RunRecord, second: RunRecord) -> list[Difference]:
    difference = diff_runs(first, second)
    runtime = [each for each in difference.runtime if each.name in CAUSE_KEYS]
    return [*difference.data, *difference.settings, *difference.code, *runtime]
