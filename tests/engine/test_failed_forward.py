"""A forward pass that raises: if the caller goes on, the next step is that of a trainer in which nothing failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from tests.helpers.digest import digest
from tests.helpers.lab import lab
from tests.helpers.process_groups import run_processes
from trainer.engine import overlapped_data_parallel
from trainer.engine.data_parallel import DataParallel
from trainer.engine.fully_sharded import FullySharded
from trainer.engine.overlapped_data_parallel import OverlappedDataParallel
from trainer.engine.process_group import ProcessGroup, SingleProcess

CNN = ("model=cnn", "model.norm=batch", "data=gratings", "data.rows=60", "batch_size=12", "grad_clip=1", "ema=0.9")
VIT = ("model=vit_tiny", "data=gratings", "data.rows=60", "model.layers=2", "batch_size=12", "ema=0.9")
PLACES = {"first forward": 0, "second forward": 1, "backward": 1}
"""Places of a failure, with the number of the part of the batch."""


class PendingProcess(SingleProcess):
    """A process whose exchanges must be waited for before it may leave a step."""

    def __init__(self) -> None:
        self.num_pending = 0

    def start_all_gather(self, values: Tensor) -> Callable[[], Tensor]:
        self.num_pending += 1
        return lambda: (self._finish(), values[None])[1]

    def start_sum(self, values: Tensor) -> Any:
        self.num_pending += 1
        return self

    def wait(self) -> None:
        self._finish()

    def _finish(self) -> None:
        self.num_pending -= 1


def fail_once(trainer: Any, place: str) -> None:
    """Let the loss of one part of a batch raise, after the forward pass of its model or in the backward pass."""
    loss, calls, part = trainer.loss_fn, iter(range(1000)), PLACES[place]

    def raise_error(_: object) -> None:
        raise RuntimeError("failed on purpose")

    def compute_loss(batch: Any, group: str) -> Tensor:
        value = loss(batch, group)
        if next(calls) == part:
            if place == "backward":
                value.register_hook(raise_error)
            else:
                raise_error(value)
        return value

    trainer.loss_fn = compute_loss


def train_steps(strategy: Any, words: tuple[str, ...], place: str | None = None) -> str:
    """Return the digest of the state after three steps, the second of which fails once at a place."""
    trainer = lab(*words, "max_steps=3", strategy=strategy).trainer
    strategy.start(trainer)
    trainer.task.train()
    group = trainer.param_groups["model"]
    for batch in strategy.iter_epoch(trainer.train_loader, 0, 0):
        if trainer.step == 3:
            break
        if place is not None and trainer.step == 1:
            fail_once(trainer, place)
            with pytest.raises(RuntimeError, match="failed on purpose"):
                trainer.update_param_group(group, [batch, batch])
        trainer.update_param_group(group, [batch, batch])
        trainer.step += 1
    state = {name: value for name, value in trainer.task.state_dict().items() if not value.is_meta}
    return digest([state, group.params.data, group.optimizer.averages, trainer.nan_guard.totals()])


def make_overlapped(group: ProcessGroup) -> OverlappedDataParallel:
    return OverlappedDataParallel(group)


def make_exact(group: ProcessGroup) -> DataParallel:
    return DataParallel(group, 2)


def make_sharded(group: ProcessGroup) -> FullySharded:
    return FullySharded(group, 2)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("make", [make_exact, make_overlapped])
def test_the_next_step_is_right_and_no_exchange_is_pending(
    make: Callable[[ProcessGroup], DataParallel], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlapped_data_parallel, "BUCKET_BYTES", 512)
    expected = train_steps(make(SingleProcess()), CNN)
    group = PendingProcess()
    assert train_steps(make(group), CNN, place) == expected
    assert group.num_pending == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "words"),
    [(make_exact, CNN), (make_overlapped, CNN), (make_sharded, VIT)],
    ids=["exact", "overlapped", "fsdp"],
)
@pytest.mark.parametrize("place", PLACES)
def test_two_processes_in_which_the_same_step_fails_go_on(
    make: Callable[[ProcessGroup], DataParallel], words: tuple[str, ...], place: str
) -> None:
    expected = run_processes(2, lambda group: train_steps(make(group), words))
    assert run_processes(2, lambda group: train_steps(make(group), words, place)) == expected
