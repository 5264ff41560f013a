"""A trial in a process of its own: the first steps of a run and everything after them, in a temporary directory.

The process is the program ``python -m trainer.analysis.trial_process``, whose standard input describes the trial.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.utils.gc_pause import pause_gc

with pause_gc():
    from trainer.config import budget_keys, compose
    from trainer.config.run_config import Config
    from trainer.utils import signals
    from trainer.utils.cpu import make_clock
    from trainer.utils.errors import UserError

CSV_LOGGER = "CSVLogger"
"""Class of the logger that writes only into the run directory."""
TIMER_FILE = "timer.json"
CLASSIFIER_KEY = "classifier"


def main() -> None:
    """Run the trial, and write its report, or why the run would be refused."""
    request = json.load(sys.stdin)
    clock = make_clock(cpu_time=request["cpu_time"])
    signals.end_with_parent(request["parent"], signal.SIGKILL)  # there is nothing to save
    try:
        report = _run(request, clock)
    except UserError as error:
        report = {"error": str(error), "exit_code": error.exit_code}
    report["exit_start"] = clock()
    Path(request["output"]).write_text(json.dumps(report), encoding="utf-8")


def _run(request: Mapping[str, Any], clock: Callable[[], float]) -> dict[str, Any]:
    """Run a trial and return its report, with times by a clock."""
    folder = Path(request["folder"])
    config = compose.compose(request["overrides"], [Path(name) for name in request["config_dirs"]])
    with pause_gc(freeze=True):
        from trainer.runs import initial_weights, match_size, train

    config = _make_trial_config(config, folder, request["cpu_time"])
    imported_at = clock()
    matched = match_size.with_matched_size(config)
    widths = {key: value for key, value in matched.tree["model"].items() if value != config.tree["model"][key]}
    config = initial_weights.with_input_digests(matched)
    result = train.execute_run(config, folder / "run")
    ended_at, peak_bytes = clock(), _read_peak_bytes()
    from trainer.analysis import data_summary

    sizes = {path.name: path.stat().st_size for path in (folder / "run").iterdir() if path.suffix == ".pt"}
    data = initial_weights.load_dataset(config, initial_weights.load_source(config))
    return json.loads((folder / TIMER_FILE).read_text(encoding="utf-8")) | {
        "imported_at": imported_at,
        "ended_at": ended_at,
        "params": result.params,
        "widths": widths,
        "device": result.device,
        "threads": result.threads,
        "memory_bytes": peak_bytes,
        "device_bytes": _read_device_bytes(),
        "checkpoint_bytes": sizes,
        "data": data_summary.summarize(data),
    }


def _make_trial_config(config: Config, folder: Path, cpu_time: bool) -> Config:
    """Return the configuration of a trial: with the timer, and without what would leave traces elsewhere."""
    from trainer.analysis.trial_timer import TrialTimer
    from trainer.engine.budget import PROVISIONAL_STEPS

    if budget_keys.is_unfixed(config.tree):
        config = budget_keys.with_fixed_steps(config, PROVISIONAL_STEPS)
    target = f"{TrialTimer.__module__}.{TrialTimer.__qualname__}"
    timer = {"_target_": target, "path": str(folder / TIMER_FILE), "cpu_time": cpu_time}
    loggers = {
        name: node for name, node in config.tree["logger"].items() if node["_target_"].rpartition(".")[2] == CSV_LOGGER
    }
    changes: dict[str, Any] = {"callbacks": {"trial": timer}, "logger": loggers}
    if config.tree["task"].get(CLASSIFIER_KEY) is not None:
        changes["task"] = {**config.tree["task"], CLASSIFIER_KEY: None}
    tree, raw = {**config.tree, **changes}, {**config.raw, **changes}
    return replace(config, tree=tree, raw=raw, settings=replace(config.settings, resume=None))


def _read_peak_bytes() -> int:
    """Return the most memory that this process has had at once, its resident set."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _read_device_bytes() -> int:
    """Return the most memory of a CUDA device that was reserved for tensors at once; 0 without one."""
    import torch

    return torch.cuda.max_memory_reserved() if torch.cuda.is_initialized() else 0


if __name__ == "__main__":
    main()
