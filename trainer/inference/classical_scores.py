"""Test scores of a classical model on the data of a run, computed once and kept in its directory."""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.config import introspection
from trainer.core.types import NonNegativeInt, Number, find_mismatches
from trainer.utils import atomic_write, child_python
from trainer.utils.errors import SystemFault

FILE = "classical.json"
"""Name of the file in the run directory."""
TIME_LIMIT = 60.0
"""Seconds for loading the data, fitting the model and testing it."""
TYPES: Mapping[str, Any] = {"model": str, "rows": NonNegativeInt, "scores": dict[str, Number | None], "problem": str}


@dataclass(frozen=True)
class SavedScores:
    """What is known about a classical model.

    Args:
        model: Name of the model; empty if there is none for this data.
        rows: Number of training rows that it was fitted on.
        scores: Its test scores by metric.
        problem: Why it could not be fitted; empty if it was, or if there is none.
    """

    model: str = ""
    rows: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""


def read_scores(path: Path, results: Mapping[str, Any]) -> SavedScores | None:
    """Read the scores in a run directory; None if there are none, or those of other data or metrics.

    Args:
        path: The run directory.
        results: Results of the run.
    """
    try:
        values = json.loads((path / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(values, dict) or any(_has_wrong_type(values, key) for key in TYPES):
        return None
    if any(values.get(key) != value for key, value in _get_origin(results).items()):
        return None
    scores = {name: math.nan if value is None else value for name, value in values.get("scores", {}).items()}
    return SavedScores(values.get("model", ""), values.get("rows", 0), scores, values.get("problem", ""))


def may_have_scores(target: object) -> bool:
    """Return whether a classical model may take the place of the network of a task, as far as its class tells.

    Args:
        target: Class path of the task, as recorded.
    """
    signature = introspection.read_signature(target) if isinstance(target, str) else None
    return signature is None or signature.scores_outputs or signature.has_unknown_methods


def _has_wrong_type(values: Mapping[str, Any], key: str) -> bool:
    return key in values and any(True for _ in find_mismatches(values[key], TYPES[key], key))


def find_or_compute_scores(path: Path, results: Mapping[str, Any]) -> SavedScores:
    """Return the scores in the directory of a finished run, computed and saved if it has none.

    Data that cannot be read now may be there again later, so that such a problem is not saved; neither is anything in
    a directory that is not writable.

    Args:
        path: The run directory.
        results: Results of the run.
    """
    saved = read_scores(path, results)
    if saved is not None:
        return saved
    try:
        report, is_final = _compute(path)
    except OSError as error:  # no temporary directory, or no further process
        report, is_final = {"problem": str(error)}, False
    scores = {name: value if math.isfinite(value) else None for name, value in report.get("scores", {}).items()}
    if is_final:
        values = report | ({"scores": scores} if scores else {}) | _get_origin(results)
        with suppress(SystemFault):
            atomic_write.write_text(path / FILE, json.dumps(values, indent=2, allow_nan=False) + "\n")
    return SavedScores(**report)


def _get_origin(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the scores depend on: the data and the metrics."""
    return {"data_digest": results.get("data_digest"), "test_metrics": sorted(results.get("test") or {})}


def _compute(path: Path) -> tuple[dict[str, Any], bool]:
    """Return the report of a process that fits the model, and whether it would be the same another time."""
    with tempfile.TemporaryDirectory(prefix="train-report-", ignore_cleanup_errors=True) as folder:
        output = Path(folder, FILE)
        command = child_python.make_command("trainer.inference.classical_process", str(path.absolute()), str(output))
        try:
            process = subprocess.run(
                command,
                env=os.environ | child_python.list_path_variables(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=TIME_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"problem": f"it takes more than {TIME_LIMIT:.0f} s on this data"}, True
        if process.returncode or not output.exists():
            last_line = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            return {"problem": f"its process has failed: {last_line[:200]}"}, False
        report: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return report, report.pop("is_final", True)
