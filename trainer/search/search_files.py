"""Files of a search in its directory: ``search.json`` with everything, ``trials.csv`` with a row for each trial."""

from __future__ import annotations

import io
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.config import sweep_keys
from trainer.config.search_points import PointComposer
from trainer.config.secret_masking import mask_override
from trainer.search.finalists import Finalist
from trainer.search.importance import Importance
from trainer.search.trial import Trial
from trainer.utils import atomic_write
from trainer.utils.csv_lines import make_csv_writer

SEARCH_FILE, TRIALS_FILE = "search.json", "trials.csv"
FORMAT_VERSION = 1


def read_search(root: Path) -> dict[str, Any]:
    """Read ``search.json``; empty if it does not exist or is damaged.

    Args:
        root: Directory of the search.
    """
    try:
        values = json.loads((root / SEARCH_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def describe_trial(trial: Trial) -> dict[str, Any]:
    """Return what a trial has done, as plain values.

    Args:
        trial: The trial.
    """
    record = trial.record if trial.config is not None else None
    results = {} if record is None else record.results
    status = "refused" if record is None else "failed" if trial.reason else record.status or "waiting"
    return {
        "number": trial.number,
        "status": status,
        "values": dict(trial.values),
        "overrides": [] if trial.config is None else [mask_override(word) for word in trial.config.overrides],
        "seed": None if trial.config is None else trial.config.settings.seed,
        "pauses": list(trial.pauses),
        "total_steps": trial.length.steps,
        "scores": [_to_plain(score) for score in trial.scores],
        "steps": 0 if record is None else max(record.steps, int(results.get("steps", 0))),
        "seconds": results.get("seconds", 0.0),
        "test": {name: _to_plain(value) for name, value in results.get("test", {}).items()},
        "reason": trial.reason or None,
        "run_dir": str(trial.path) if record is not None else None,
        "is_reused": trial.is_reused,
    }


def format_command(trial: Trial, composer: PointComposer) -> str:
    """Return the command line that trains the configuration of a trial.

    Args:
        trial: The trial.
        composer: Composer of the configurations of the search.
    """
    words = sweep_keys.select_run_overrides(composer.space.to_overrides(trial.values))
    flags = [word for directory in composer.config_dirs for word in ("--config-dir", str(directory))]
    return shlex.join(["train", *flags, *map(mask_override, words)])


def describe_finalist(finalist: Finalist) -> dict[str, Any]:
    """Return the scores of a finalist, as plain values.

    Args:
        finalist: The finalist.
    """
    return {
        "number": finalist.trial.number,
        "values": dict(finalist.trial.values),
        "run_dirs": [str(run.path) for run in (finalist.trial, *finalist.replicates)],
        "val": [_to_plain(value) for value in finalist.val],
        "test": [_to_plain(value) for value in finalist.test],
        "num_failed": finalist.num_failed,
        "is_finished": finalist.is_finished,
        "replicates": [describe_trial(run) for run in finalist.replicates],
    }


def describe_importance(importance: Importance | None) -> dict[str, Any] | None:
    """Return the importance of the keys, as plain values.

    Args:
        importance: The importance; None before it is estimated.
    """
    return None if importance is None else {**vars(importance), "explained": _to_plain(importance.explained)}


def write_search(root: Path, values: Mapping[str, Any]) -> None:
    """Write ``search.json``.

    Args:
        root: Directory of the search.
        values: Its contents.

    Raises:
        SystemFault: The file cannot be written.
    """
    text = json.dumps({"format_version": FORMAT_VERSION, **values}, indent=2, allow_nan=False)
    atomic_write.write_text(root / SEARCH_FILE, text + "\n")


def write_trials(root: Path, trials: Sequence[Mapping[str, Any]], keys: Sequence[str], monitor: str) -> None:
    """Write ``trials.csv``.

    Args:
        root: Directory of the search.
        trials: Plain values of each trial.
        keys: Keys of the space.
        monitor: Name of the monitored metric.

    Raises:
        SystemFault: The file cannot be written.
    """
    num_rungs = max((len(trial["scores"]) for trial in trials), default=0)
    columns = ["number", "status", "seed", *keys, *(f"val_{monitor}_rung_{rung}" for rung in range(num_rungs))]
    columns += [f"test_{monitor}", "steps", "total_steps", "seconds", "reason", "run_dir"]
    text = io.StringIO()
    writer = make_csv_writer(text)
    writer.writerow(columns)
    for trial in trials:
        scores = [*trial["scores"], *[None] * (num_rungs - len(trial["scores"]))]
        row = [trial["number"], trial["status"], trial["seed"], *(trial["values"].get(key) for key in keys), *scores]
        row += [trial["test"].get(monitor), *(trial[name] for name in columns[-5:])]
        writer.writerow(["" if value is None else value for value in row])
    atomic_write.write_text(root / TRIALS_FILE, text.getvalue())


def _to_plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
