"""Searches of tiny runs, compared by their trees and by the bits of their checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.helpers.commands import find_runs
from tests.helpers.digest import digest
from trainer.engine import checkpoint
from trainer.runs import run_dir

RUN = ("model=mlp", "data=moons", "data.rows=300", "epochs=16", "model.hidden=[4]", "draw=false", "ema=0.9")
SPACE = ("scheduler=onecycle", "optimizer.lr=tag(log,interval(1e-4,1e-1))", "batch_size=16,32,64")
ROOT = "hydra.sweep.dir=outputs/search"
SEARCH = ("search", *RUN, *SPACE, ROOT, "search=asha", "budget=6runs", "seeds=2", "resume=auto")
"""A search whose runs pause after 2, 4 and 8 of 16 epochs: 6, 2, 2 and 2 runs."""


def read_search(folder: Path) -> dict[str, Any]:
    """Read the only search below a folder."""
    (file,) = folder.glob("**/search.json")
    return json.loads(file.read_text())


def read_tree(folder: Path) -> dict[str, Any]:
    """Return what a search has decided: values, scores and promotions, without times and places."""
    search = read_search(folder)
    keys = ("number", "status", "values", "seed", "pauses", "total_steps", "scores", "steps", "test", "reason")
    return {
        "stages": search["stages"],
        "trials": [{key: trial[key] for key in keys} for trial in search["trials"]],
        "finalists": [{key: item[key] for key in ("number", "val", "test")} for item in search["finalists"]],
        "importance": search["importance"],
    }


def list_digests(folder: Path) -> dict[str, list[str]]:
    """Return the digests of the checkpoints of every run below a folder."""
    return {path.name: digest_run(path) for path in find_runs(folder)}


def digest_run(path: Path) -> list[str]:
    """Return the digests of the checkpoints of a run, whose callbacks have no state of a search."""
    return [digest(checkpoint.load_checkpoint(path / name)) for name in (checkpoint.LAST, checkpoint.BEST)]


def read_scores(path: Path) -> dict[str, Any]:
    """Return what a run has reached."""
    results = run_dir.read_results(path)
    return {key: results[key] for key in ("status", "steps", "epochs", "best_epoch", "val", "test")}
