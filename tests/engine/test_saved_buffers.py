"""Buffers that are restored after a forward pass that must leave no trace."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.digest import digest
from tests.helpers.simulated_cuda import CUDA, simulate_cuda
from tests.helpers.tiny import LeastSquares, Linear, rows, tiny
from trainer.core.batch import Batch
from trainer.engine.saved_buffers import SavedBuffers
from trainer.engine.trainer import Trainer


class Stateful(nn.Module):
    mean: Tensor
    count: Tensor
    is_ready: Tensor
    cache: Tensor
    late: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("is_ready", torch.tensor(False))
        self.register_buffer("cache", torch.ones(1), persistent=False)
        self.register_buffer("late", None)


def change_in_place(module: Stateful) -> None:
    module.mean += torch.nan
    module.count += 1
    module.is_ready.logical_not_()
    module.cache.zero_()


def replace(module: Stateful) -> None:
    module.count = module.count + 1
    module.is_ready = ~module.is_ready
    module.cache = module.cache * 0


def replace_by_view(module: Stateful) -> None:
    module.cache = torch.zeros(2, device=module.cache.device)[1:]


def resize(module: Stateful) -> None:
    module.cache = torch.zeros(5, device=module.cache.device)


def register(module: Stateful) -> None:
    module.late = torch.ones(1, device=module.mean.device)
    module.register_buffer("other", torch.ones(1, device=module.mean.device), persistent=False)


def remove(module: Stateful) -> None:
    del module.cache


def unshare(module: Stateful) -> None:
    module.mean = module.mean + 1


CHANGES = [change_in_place, replace, replace_by_view, unshare, resize, register, remove]


def describe(module: nn.Module) -> tuple[list[str], str]:
    """Return the names of the saved buffers, and a digest of all."""
    return [*module.state_dict()], digest({name: value.cpu() for name, value in module.named_buffers()})


def change_and_restore(change: Callable[[Stateful], None], *, is_undone: bool, device: torch.device) -> bool:
    """Return whether the buffers have the values from before the change, or after it if it stays."""
    root = nn.Sequential(first := Stateful(), Stateful()).to(device)
    root[1].mean = first.mean
    changed = nn.Sequential(twin := Stateful(), Stateful()).to(device)
    changed[1].mean = twin.mean
    before = describe(root)
    saved = SavedBuffers(root)
    change(first)
    change(twin)
    after = describe(root)
    assert before != after == describe(changed)
    saved.restore(torch.tensor(float(is_undone), device=device))
    return describe(root) == (before if is_undone else after)


@pytest.mark.parametrize("is_undone", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_buffers_are_restored_or_left(change: Callable[[Stateful], None], is_undone: bool) -> None:
    assert change_and_restore(change, is_undone=is_undone, device=torch.device("cpu"))


@pytest.mark.parametrize("is_undone", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_an_accelerator_restores_them_without_waiting_unless_their_kinds_change(
    change: Callable[[Stateful], None], is_undone: bool
) -> None:
    with simulate_cuda() as device:
        assert change_and_restore(change, is_undone=is_undone, device=CUDA)
        waits = [wait for wait in device.waits if " at engine/saved_buffers.py" in wait]
    assert len(waits) == (0 if change in (change_in_place, replace, replace_by_view) else 1)


def test_modules_that_share_a_replaced_buffer_still_do() -> None:
    with simulate_cuda():
        root = nn.Sequential(first := Stateful(), second := Stateful()).to(CUDA)
        second.mean = first.mean
        saved = SavedBuffers(root)
        first.mean = second.mean = row = first.mean + 1
        saved.restore(torch.tensor(1.0, device=CUDA))
        assert first.mean is second.mean
        assert (first.mean.tolist(), row.tolist()) == ([0.0, 0.0], [1.0, 1.0])


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_buffers_of_a_scripted_module_are_restored() -> None:
    norm = torch.jit.script(nn.BatchNorm1d(2))
    before = describe(norm)
    saved = SavedBuffers(norm)
    norm(torch.randn(4, 2))
    assert describe(norm) != before
    saved.restore(torch.tensor(1.0))
    assert describe(norm) == before


class RunningMean(Linear):
    """A network that replaces its running mean in each forward pass."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return super().forward(x - self.mean)


class NanAtStep(LeastSquares):
    """A task with a NaN in the rows of one step."""

    def loss(self, batch: Batch, group: str) -> Tensor:
        is_bad = round(float(self.progress) * 4) == 2
        x = batch.inputs["x"] * (torch.nan if is_bad else 1.0)
        return super().loss(Batch({"x": x}, batch.target, batch.index), group)


def test_a_skipped_step_leaves_replaced_buffers_to_the_bit() -> None:
    trainer = tiny(NanAtStep(RunningMean()), train=rows(16), on_nonfinite="skip", ema=0.5)
    states: list[str] = []
    update = trainer.update_param_group

    def update_and_record(*args: object) -> None:
        update(*args)  # type: ignore[arg-type]
        states.append(describe_state(trainer))

    trainer.update_param_group = update_and_record  # type: ignore[method-assign]
    trainer.fit()
    assert states[1] == states[2]
    assert len({*states}) == 3


def describe_state(trainer: Trainer) -> str:
    group = trainer.param_groups["model"].state_dict()
    return digest([dict(trainer.task.model.state_dict()), group["optimizer"], group["ema"]])
