"""The setup of training in several processes."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.process_groups import run_processes
from trainer.core.batch import Batch
from trainer.engine.process_group import ProcessGroup
from trainer.runs.training_setup import compare_rows
from trainer.utils.errors import ConfigError


def compare(group: ProcessGroup, *, is_shuffled: bool) -> str:
    """Return the error of a process that has loaded the rows in another order, or nothing."""
    classes = torch.tensor([1, 0, 1] if is_shuffled and group.rank else [0, 1, 1])
    batch = Batch({"x": torch.ones(3, 2, dtype=torch.bool)}, classes, torch.arange(3))
    try:
        compare_rows(batch, group)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_a_data_set_that_differs_between_processes_is_refused() -> None:
    assert run_processes(2, lambda group: compare(group, is_shuffled=False)) == ["", ""]
    for message in run_processes(2, lambda group: compare(group, is_shuffled=True)):
        assert message.startswith("data: process 1 has loaded other rows than process 0")
