"""Contents of ``search.json``, written without a search."""

from __future__ import annotations

from typing import Any


def make_trial(
    number: int, values: dict[str, str], scores: list[float | None], steps: int, **changes: Any
) -> dict[str, Any]:
    return {
        "number": number,
        "status": "paused",
        "values": values,
        "seed": 0,
        "pauses": [10],
        "total_steps": 40,
        "scores": scores,
        "steps": steps,
        "seconds": steps / 10,
        "test": {},
        "reason": None,
        "run_dir": None,
        "is_reused": False,
    } | changes


def make_search() -> dict[str, Any]:
    trials = [
        make_trial(0, {"optimizer.lr": "0.001", "model.activation": "relu"}, [0.5, 0.9], 40, status="finished"),
        make_trial(1, {"optimizer.lr": "0.1", "model.activation": "tanh"}, [0.6], 10),
        make_trial(2, {"optimizer.lr": "0.01"}, [None], 3, status="failed", reason="loss is <nan>"),
    ]
    finalist = {"number": 0, "values": trials[0]["values"], "val": [0.9, 0.8], "test": [0.7, 0.7]}
    return {
        "format_version": 1,
        "options": {"method": "asha", "budget": None},
        "space": ["optimizer.lr=tag(log,interval(1e-3,1e-1))"],
        "monitor": "accuracy",
        "higher_is_better": True,
        "seconds": 5.0,
        "steps": 53,
        "stages": [{"rung": 0, "trials": [0, 1, 2]}, {"rung": 1, "trials": [0]}],
        "trials": trials,
        "finalists": [finalist],
        "command": "train model=mlp optimizer.lr=0.001 model.activation=relu",
        "importance": {
            "shares": {"model.activation": 0.2, "optimizer.lr": 0.8},
            "explained": 0.5,
            "num_scores": 3,
            "step": 10,
        },
    }
