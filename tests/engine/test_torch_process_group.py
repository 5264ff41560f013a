"""What processes exchange, and the failure of one of them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.process_groups import run_processes
from tests.helpers.states import equal
from trainer.core import rng
from trainer.core.batch import RowValues
from trainer.engine import torch_process_group
from trainer.engine.process_group import ProcessGroup, ProcessGroupError, SingleProcess


def exchange(group: ProcessGroup) -> dict[str, Any]:
    """Call every method once, with values that depend on the process."""
    rank = group.rank
    values = torch.arange(3.0) + 10 * rank
    summed = values.clone()
    group.start_sum(summed).wait()
    state = {"random": rng.get_rng_state(torch.device("cpu")), "weights": {"w": values[:2], "b": values[2:]}}
    score = {"rows": RowValues(torch.arange(rank + 1)), "loss": torch.tensor(0.1, dtype=torch.float64)}
    received = group.broadcast_state(state if group.is_main else None)
    return {
        "all_gather": group.all_gather(values).tolist(),
        "all_to_all": group.all_to_all(values[: group.size, None]).tolist(),
        "gather": None if (gathered := group.gather(values)) is None else gathered.tolist(),
        "sum": summed.tolist(),
        "objects": [each["rows"].values.tolist() for each in group.all_gather_objects(score)],
        "maximum": group.find_maximum([rank, 5 - rank]),
        "broadcast": group.broadcast_object(("run", rank)),
        "state": rank == 0 or isinstance(received, dict),
        "equal": not group.is_main or equal(received, state),
    }


def test_two_processes_exchange_tensors_objects_and_states() -> None:
    first, second = run_processes(2, exchange)
    assert first["gather"] == first["all_gather"] == second["all_gather"] == [[0, 1, 2], [10, 11, 12]]
    assert second["gather"] is None
    assert (first["all_to_all"], second["all_to_all"]) == ([[0], [10]], [[1], [11]])
    shared = {
        "sum": [10, 12, 14],
        "objects": [[0], [0, 1]],
        "maximum": [1, 5],
        "broadcast": ("run", 0),
        "state": True,
        "equal": True,
    }
    for found in (first, second):
        assert {key: found[key] for key in shared} == shared


def test_a_single_process_exchanges_with_itself() -> None:
    found = exchange(SingleProcess())
    assert found["all_gather"] == found["gather"] == [[0, 1, 2]]
    assert found["all_to_all"] == [[0]]
    assert (found["sum"], found["maximum"], found["broadcast"]) == ([0, 1, 2], [0, 5], ("run", 0))


def test_the_death_of_a_process_is_an_error_in_the_others_at_once(tmp_path: Path) -> None:
    joined = tmp_path / "joined"

    def wait_for_dead(group: ProcessGroup) -> str:
        group.find_maximum([1])
        if group.rank == 1:
            while not joined.exists():
                time.sleep(0.01)
            os._exit(0)  # as a killed process, without leaving the group
        joined.touch()
        with pytest.raises(ProcessGroupError) as caught:
            group.find_maximum([1])
        return str(caught.value)

    (message,) = run_processes(2, wait_for_dead)
    assert message.startswith("process 1 has ended or does not respond (")
    assert ".cc" not in message
    assert "imed out" not in message


def test_a_timeout_is_reported_in_plain_words() -> None:
    text = "[/pytorch/unbound_buffer.cc:81] Timed out waiting 3000ms for recv operation to complete"
    with pytest.raises(ProcessGroupError) as caught, torch_process_group.explain_failure(is_exchange=False):
        raise RuntimeError(text)
    assert str(caught.value) == "another process has not responded within process_timeout"


def test_a_failure_is_told_without_the_source_file_and_the_advice_of_torch() -> None:
    text = "[/pytorch/pair.cc:525] Connection closed by peer [127.0.0.1]:2858. This is typically a crash. GLHF!\nMore"
    with pytest.raises(ProcessGroupError) as caught, torch_process_group.explain_failure():
        raise RuntimeError(text)
    assert str(caught.value).endswith("respond (Connection closed by peer [127.0.0.1]:2858)")
