"""Commands that a page shows, and the directory in which they are run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.analysis.run_record import RunRecord
from trainer.config import sweep_keys
from trainer.config.registry import list_options
from trainer.inference import method_options
from trainer.runs.run_command import format_command, read_plugins

USES: Mapping[str, tuple[str, str]] = {
    "predict": ("predict", "Predict the test rows; input=FILE for other rows"),
    "score": ("score_rows", "Score the test rows; input=FILE for other rows"),
    "sample": ("sample", "Generate samples"),
}
"""Subcommands that only some tasks have: the method of the task, and what they do."""


def find_working_dir(results: Mapping[str, Any]) -> Path:
    """Return the directory in which the commands about a run are run.

    It is where the run was started; the current one if that is gone, as on another machine.

    Args:
        results: Contents of ``results.json`` of the run.
    """
    recorded = str(results.get("working_dir") or "")
    return Path(recorded) if os.path.isabs(recorded) and os.path.isdir(recorded) else Path.cwd()


def format_run_command(verb: str, path: Path, working_dir: Path) -> str:
    """Return a command on a run.

    Args:
        verb: Name of the command.
        path: The run directory.
        working_dir: Directory in which the command is run.
    """
    absolute = Path(os.path.abspath(path))
    is_inside = absolute.is_relative_to(working_dir)
    return format_command(verb, absolute.relative_to(working_dir) if is_inside else absolute, read_plugins(path))


def list_commands(record: RunRecord, working_dir: Path) -> list[tuple[str, str]]:
    """Return the commands that repeat, continue and use a run, with what each does.

    Args:
        record: Records of the run.
        working_dir: Directory in which they are run.
    """
    question = "Ask what went wrong or right"
    uses = {"rerun": "Train it again and compare every step", "why": question}
    if record.status == "finished":
        uses["evaluate"] = "Evaluate the best weights on the test rows"
        target = str(record.config.get("task._target_") or "")
        methods = method_options.read_methods(target) if target else {}
        uses |= {verb: purpose for verb, (method, purpose) in USES.items() if method in methods}
    else:
        uses = {"resume": "Continue the run from its last checkpoint"}
        uses |= {"why": question} if record.status in ("failed", "killed") else {}
    commands = [("Train this configuration again", command) for command in _list_train_commands(record)]
    return commands + [(uses[verb], format_run_command(verb, record.path, working_dir)) for verb in uses]


def _list_train_commands(record: RunRecord) -> Sequence[str]:
    """Return the command that trains the configuration of a run; none if its options are unknown here."""
    directories = [str(name) for name in record.results.get("config_dirs") or []]
    present = [Path(name) for name in directories if os.path.isdir(name)]
    options = record.results.get("options") or {}
    if len(present) < len(directories) or not all(
        name in list_options(group, present) for group, name in options.items()
    ):
        return []
    overrides = sweep_keys.select_run_overrides([str(word) for word in record.results.get("overrides") or []])
    flags = [word for name in directories for word in ("--config-dir", name)]
    return [shlex.join(["train", *flags, *overrides])]
