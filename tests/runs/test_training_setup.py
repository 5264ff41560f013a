"""The setup of training in several processes."""

from __future__ import annotations

from functools import partial

import pytest

from tests.helpers.process_groups import run_processes
from trainer.data.datasets.tabular.synthetic import Moons
from trainer.engine.process_group import ProcessGroup
from trainer.runs.training_setup import compare_rows
from trainer.utils.errors import ConfigError


def compare(group: ProcessGroup, changed: str) -> str:
    """Return the error of a process in which the last row of a split differs in process 1, or nothing."""
    data = Moons(rows=100)
    if changed and group.rank:
        getattr(data, changed).target[-1] ^= 1
    try:
        compare_rows(data, group)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_a_data_set_that_differs_between_processes_is_refused() -> None:
    assert run_processes(2, lambda group: compare(group, "")) == ["", ""]
    for name, noun in (("train", "training"), ("val", "validation"), ("test", "test")):
        for message in run_processes(2, partial(compare, changed=name)):
            assert message.startswith(f"data: process 1 has loaded other {noun} rows than process 0")
