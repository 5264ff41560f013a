"""The callback that lets several processes stop at the same step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.helpers.process_groups import run_processes
from trainer.engine.process_group import ProcessGroup
from trainer.engine.signal_callback import SharedStopCallback
from trainer.engine.trainer import Trainer
from trainer.utils.signals import StopFlag

HOOKS = ("on_fit_start", "on_step_end", "on_validation_end", "on_epoch_end")


def stop_in_process_1(group: ProcessGroup) -> list[bool]:
    """Return whether training stops after each hook, if process 1 has set ``should_stop`` before it."""
    callback = SharedStopCallback(StopFlag(), group)
    stops = []
    for hook in HOOKS:
        trainer = cast(Trainer, SimpleNamespace(should_stop=group.rank == 1))
        arguments: list[Any] = [None] if hook in ("on_step_end", "on_validation_end") else []
        getattr(callback, hook)(trainer, *arguments)
        stops.append(trainer.should_stop)
    return stops


@pytest.mark.slow
def test_a_process_that_ends_training_in_any_hook_ends_that_of_all() -> None:
    assert run_processes(2, stop_in_process_1) == [[True] * len(HOOKS)] * 2
