"""Buffers that a forward pass changes, replaces, registers or resizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainer.engine.buffer_changes import BufferChanges
from trainer.utils.errors import ConfigError


class Counter(nn.Module):
    """Module with buffers of two types; ``mask`` has infinite elements."""

    mean: Tensor
    count: Tensor
    mask: Tensor
    cache: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("mask", torch.tensor([-torch.inf, 0.0]))
        self.register_buffer("is_ready", torch.tensor(True))
        self.register_buffer("cache", torch.zeros(1), persistent=False)


def change_in_place(module: Counter, value: float) -> None:
    module.mean += value
    module.count += 1


def replace(module: Counter, value: float) -> None:
    module.mean = module.mean + value
    module.count = module.count + 1
    module.cache = torch.zeros(5)  # not saved


@pytest.mark.parametrize("change", [change_in_place, replace])
def test_changes_of_two_parts_are_averaged(change: Callable[[Counter, float], None]) -> None:
    root = nn.Sequential(counter := Counter())
    buffers = BufferChanges(root)
    for step in (1, 2):
        buffers.save()
        changes = []
        for value in (1.0, 3.0):
            buffers.restore()
            change(counter, value)
            changes.append(buffers.compute(torch.zeros(1)))
        buffers.apply((changes[0] + changes[1]) / 2)
        assert counter.mean.tolist() == [2.0 * step] * 2
        assert counter.count == 3 + step
        assert counter.mask.tolist() == [-torch.inf, 0.0]
        assert counter.state_dict()["mean"] is not None


def test_a_tensor_that_replaces_a_buffer_is_not_written_to() -> None:
    buffers = BufferChanges(counter := Counter())
    counter.mean = rows = torch.ones(2)
    buffers.restore()
    assert (counter.mean.tolist(), rows.tolist()) == ([0.0, 0.0], [1.0, 1.0])


def register(module: Counter) -> None:
    module.register_buffer("late", torch.zeros(1))


def remove(module: Counter) -> None:
    del module.mean


def resize(module: Counter) -> None:
    module.mean = torch.zeros(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (register, "buffer 0.late was registered during training"),
        (remove, "buffer 0.mean was removed"),
        (resize, r"buffer 0.mean was replaced by a tensor of type torch.float32 and shape \(3,\)"),
    ],
)
def test_other_changes_are_refused(change: Callable[[Counter], None], message: str) -> None:
    root = nn.Sequential(counter := Counter())
    buffers = BufferChanges(root)
    change(counter)
    with pytest.raises(ConfigError, match=message):
        buffers.compute(torch.zeros(1))


def share_mean() -> tuple[nn.Sequential, Counter, Counter]:
    """Return a module with two counters of one mean."""
    root = nn.Sequential(first := Counter(), second := Counter())
    second.mean = first.mean
    return root, first, second


@pytest.mark.parametrize("number", [0, 1])
def test_a_shared_buffer_that_one_module_replaces_is_named(number: int) -> None:
    root, *counters = share_mean()
    buffers = BufferChanges(root)
    counters[number].mean = counters[number].mean + 1
    message = f"buffer {number}.mean was replaced by a tensor of its own, but not in {1 - number}.mean, which shares it"
    with pytest.raises(ConfigError, match=message):
        buffers.compute(torch.zeros(1))


def test_a_shared_buffer_that_all_modules_replace_stays_shared() -> None:
    root, first, second = share_mean()
    buffers = BufferChanges(root)
    for step in (1, 2):
        buffers.save()
        first.mean = second.mean = first.mean + 1
        buffers.apply(buffers.compute(torch.zeros(1)))
        assert first.mean is second.mean
        assert first.mean.tolist() == [float(step)] * 2
