"""Members that are trained together, and the same runs alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from contextvars import copy_context
from unittest.mock import patch

import torch

from tests.helpers.lab import Lab, lab
from trainer.engine import factory
from trainer.engine.member_strategy import MemberMatrix, MemberStrategy, SharedBatches
from trainer.engine.member_updates import MemberLoop, take_member_updates


def train_together(members: Sequence[Sequence[str]]) -> tuple[list[Lab], list[MemberLoop]]:
    """Train runs as members of one process; errors are those of their loops."""
    matrix, batches = MemberMatrix(len(members)), SharedBatches()
    labs: list[Lab] = []
    loops: list[MemberLoop] = []
    for row, overrides in enumerate(members):
        # Members share their data set, as those of a sweep.
        with patch.object(factory, "make_dataset", return_value=labs[0].data) if labs else nullcontext():
            labs.append(lab(*overrides, strategy=MemberStrategy(row, matrix, batches)))
        loops.append(MemberLoop(row, labs[-1].trainer.iter_fit(), copy_context()))
        loops[-1].advance()
    take_member_updates(loops, matrix)
    return labs, loops


def train_alone(overrides: Sequence[str]) -> Lab:
    """Train one run as usual."""
    alone = lab(*overrides)
    alone.trainer.fit()
    return alone


def measure_difference(first: Lab, second: Lab) -> float:
    """Return the largest difference between the losses and weights of two runs."""
    losses = [
        abs(row["train_loss"] - other["train_loss"])
        for row, other in zip(first.trainer.history, second.trainer.history, strict=True)
    ]
    states = first.task.state_dict(), second.task.state_dict()
    weights = [float((value.double() - states[1][name].double()).abs().max()) for name, value in states[0].items()]
    assert torch.tensor(losses + weights).isfinite().all()
    return max(losses + weights)
