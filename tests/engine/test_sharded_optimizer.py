"""The state of an optimizer divided among processes: the bits of undivided training, with a part of the memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers.digest import digest
from tests.helpers.families import COMMON, FAMILIES
from tests.helpers.lab import lab
from tests.helpers.process_groups import run_processes
from trainer.engine.data_parallel import DataParallel
from trainer.engine.process_group import ProcessGroup
from trainer.optim.flat_slice import ALIGNMENT, split_evenly
from trainer.utils.errors import ConfigError

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
FAMILY = FAMILIES["cnn with batch norm"]


def train(overrides: tuple[str, ...], group: ProcessGroup, count: int = 6) -> Any:
    """Train, resume from the whole state of process 0, and return the digest of the states and bytes of averages."""
    states: list[Any] = [None]
    for steps in (count, 2 * count):
        strategy = DataParallel(group, 4, divides_optimizer=group.size > 1)
        trainer = lab(*overrides, f"max_steps={steps}", strategy=strategy).trainer
        if states[-1] is not None:
            trainer.load_state_dict(states[-1], None)
        trainer.fit()
        strategy.restore_model(trainer.task)
        states.append(group.broadcast_state(trainer.state_dict()))
    averages = [average for each in trainer.param_groups.values() for average in each.optimizer.averages.values()]
    return digest(states[1:]), sum(average.nbytes for average in averages)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_divided_state_gives_the_same_bits(optimizer: str) -> None:
    words = (*FAMILY, *COMMON, f"optimizer={optimizer}", "scheduler=cosine", "optimizer.weight_decay=0.01")
    ((expected, whole_bytes),) = run_processes(1, lambda group: train(words, group))
    found = run_processes(2, lambda group: train(words, group))
    assert [value for value, _ in found] == [expected] * 2
    parts = [part for _, part in found]
    assert sum(parts) == whole_bytes
    assert max(parts) <= whole_bytes / 2 + 4 * ALIGNMENT * 2


@pytest.mark.slow
def test_divided_state_of_several_groups_with_options_gives_the_same_bits() -> None:
    words = (*FAMILIES["dcgan with spectral norm"], *COMMON, "optimizer=adamw")
    ((expected, _),) = run_processes(1, lambda group: train(words, group, 3))
    found = run_processes(4, lambda group: train(words, group, 3))
    assert [value for value, _ in found] == [expected] * 4


@pytest.mark.slow
def test_more_processes_than_parts_of_the_vector() -> None:
    words = ("model=mlp", "data=moons", "data.rows=100", "model.hidden=[]", "batch_size=20")
    ((expected, _),) = run_processes(1, lambda group: train(words, group))
    found = run_processes(4, lambda group: train(words, group))
    assert [value for value, _ in found] == [expected] * 4
    assert 0 in [part for _, part in found]


@pytest.mark.parametrize(("length", "count"), [(16, 1), (16, 3), (160, 4), (1008, 2), (48, 5)])
def test_parts_cover_the_vector_and_are_aligned(length: int, count: int) -> None:
    parts = split_evenly(length, count)
    vector = torch.arange(length)
    assert torch.equal(torch.cat([vector[part] for part in parts]), vector)
    assert all(part.start % ALIGNMENT == 0 for part in parts)
    assert max(len(vector[part]) for part in parts) == len(vector[parts[0]])


class TwoProcesses:
    """Stands for a group of two processes while a run is built."""

    rank, size, is_main = 0, 2, True


@pytest.mark.parametrize("optimizer", ["muon", "adagrad"])
def test_optimizers_that_cannot_be_divided_are_refused(optimizer: str) -> None:
    group: Any = TwoProcesses()
    with pytest.raises(ConfigError, match="cannot be divided among processes; choose adam, adamw, sgd or rmsprop"):
        lab(*FAMILY, f"optimizer={optimizer}", strategy=DataParallel(group, 2, divides_optimizer=True))
