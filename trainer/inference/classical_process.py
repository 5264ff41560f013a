"""Scores of a classical model on the data of a run, in a process that can be stopped when it takes too long.

The process is the program ``python -m trainer.inference.classical_process RUN OUTPUT``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trainer.utils.gc_pause import pause_gc

with pause_gc():
    from trainer.runs import saved_run
    from trainer.utils.errors import UserError


def main(arguments: list[str]) -> None:
    """Fit a model and write its scores, or why there are none.

    Args:
        arguments: The run directory, and the file to write.
    """
    path, output = map(Path, arguments)
    try:
        report = _score(path)
    except UserError as error:  # of data that may be there again later
        report = {"problem": str(error).splitlines()[0], "is_final": False}
    output.write_text(json.dumps(report), encoding="utf-8")


def _score(path: Path) -> dict[str, Any]:
    """Return the scores of a classical model; empty if there is none for this data."""
    config = saved_run.load(path)
    config = replace(  # the GPU of the run may be gone, and is not needed
        config, tree={**config.tree, "device": "cpu"}, settings=replace(config.settings, device="cpu")
    )
    with pause_gc(freeze=True):
        from trainer.engine import factory
        from trainer.inference.classical_model import score_classical_model
        from trainer.inference.load_run import load_run

    task, data = load_run(config)
    test = factory.make_eval_loader(data, data.test, "test", config.settings, task.progress.device)
    try:
        scores = score_classical_model(task, data, test)
    except ValueError as error:  # of scikit-learn, such as for rows of a single class
        return {"problem": str(error).splitlines()[0]}
    return {} if scores is None else asdict(scores)


if __name__ == "__main__":
    main(sys.argv[1:])
