"""Positions that a state may have: that of whole epochs, or less where a run was ended inside one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from trainer.engine.checkpoint_position import find_position_problems
from trainer.engine.trainer import Trainer

CHANGES = ("max_steps: 4 -> 20 at step 4", "seed: 0 -> 1 at step 4", "max_steps: 20 -> 40 at step 7")


@pytest.mark.parametrize(
    ("step", "num_changes", "should_stop", "is_valid"),
    [
        (12, 0, False, True),
        (11, 0, False, False),
        (11, 0, True, True),
        (11, 1, False, True),
        (10, 2, False, True),
        (9, 2, False, False),
        (9, 3, False, True),
        (7, 3, False, False),
        (13, 3, False, False),
    ],
)
def test_steps_after_four_epochs_of_three(step: int, num_changes: int, should_stop: bool, is_valid: bool) -> None:
    settings = SimpleNamespace(accumulate=2, allow_changed_data=False)
    trainer: Any = SimpleNamespace(settings=settings, train_loader=range(5), total_steps=40)
    state = {
        "position": {"epoch": 4, "batch": 0, "step": step},
        "should_stop": should_stop,
        "run_metadata": {"changes": list(CHANGES[:num_changes])},
    }
    assert (not list(find_position_problems(state, cast(Trainer, trainer)))) == is_valid
