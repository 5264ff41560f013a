"""Data parallel training with overlapped sums: all processes have the weights of one process, up to rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.families import COMMON, FAMILIES
from tests.helpers.lab import lab
from tests.helpers.process_groups import run_processes
from trainer.engine import overlapped_data_parallel
from trainer.engine.checksum import compute_checksum
from trainer.engine.data_parallel import DataParallel
from trainer.engine.overlapped_data_parallel import OverlappedDataParallel
from trainer.engine.process_group import ProcessGroup, SingleProcess

CHOSEN = ("cnn with batch norm", "transformer", "dcgan with spectral norm", "multimodal", "gcn")


def train(family: str, group: ProcessGroup, make: Any) -> tuple[int, Tensor]:
    """Train a few steps; return checksum and values of the weights."""
    words = (*FAMILIES[family], *COMMON, "accumulate=2", "max_steps=4", "optimizer=sgd")
    trainer = lab(*words, strategy=make(group)).trainer
    trainer.fit()
    weights = torch.cat([value.flatten().double() for value in trainer.task.state_dict().values()])
    return int(compute_checksum([weights])), weights


@pytest.mark.slow
@pytest.mark.parametrize("family", CHOSEN)
def test_all_processes_have_the_same_weights_close_to_those_of_exact_training(family: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlapped_data_parallel, "BUCKET_BYTES", 512)
        results = run_processes(2, lambda group: train(family, group, OverlappedDataParallel))
    ((_, expected),) = run_processes(1, lambda group: train(family, group, lambda each: DataParallel(each, 2)))
    assert results[0][0] == results[1][0]
    torch.testing.assert_close(results[0][1], expected, rtol=1e-4, atol=1e-5)


class RecordingProcess(SingleProcess):
    """Records the order of the sums."""

    def __init__(self) -> None:
        self.sums: list[Tensor] = []

    def start_sum(self, values: Tensor) -> Any:
        self.sums.append(values.clone())
        return super().start_sum(values)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_buckets_are_summed_once_complete_in_one_order(accumulate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlapped_data_parallel, "BUCKET_BYTES", 256)
    group = RecordingProcess()
    trainer = lab("model=mlp", "data=moons", "data.rows=100", strategy=OverlappedDataParallel(group)).trainer
    trainer.strategy.start(trainer)
    batches = trainer.strategy.iter_epoch(trainer.train_loader, 0, 0)
    params = trainer.param_groups["model"]
    for _ in range(2):
        group.sums.clear()
        step = [batch for batch, _ in zip(batches, range(accumulate), strict=False)] or step  # noqa: F821
        trainer.strategy.compute_gradient(trainer, params, step)
        buckets, rest = group.sums[:-1], group.sums[-1]
        assert len(buckets) > 2
        # Each was summed with its final values: the last parameters first.
        assert torch.equal(torch.cat(buckets[::-1]), params.params.grad)
        assert rest.shape == (1,)
