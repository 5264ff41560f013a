"""Sums over processes: the same bits by whole vectors and by chunks, on any number of processes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.process_groups import run_processes
from trainer.engine import shard_sum
from trainer.engine.process_group import ProcessGroup, SingleProcess
from trainer.engine.shard_sum import ShardSum

LENGTH = 37


def compute_parts(shard: int) -> tuple[Tensor, Tensor]:
    values = torch.randn(LENGTH, generator=torch.Generator().manual_seed(shard)) * 10.0**shard
    return values[:-2].clone(), values[-2:].clone()


@pytest.mark.slow
@pytest.mark.parametrize(("size", "count"), [(2, 6), (3, 3), (4, 4)])
def test_chunks_have_the_bits_of_one_process(size: int, count: int) -> None:
    def compute(group: ProcessGroup) -> list[list[float]]:
        sums = []
        for limit in (1 << 30, 0):
            shard_sum.MAX_GATHERED_BYTES = limit
            sums.append(ShardSum(group, count).sum_shards(compute_parts).tolist())
        return sums

    expected = ShardSum(SingleProcess(), count).sum_shards(compute_parts)
    assert expected.shape == (LENGTH,)
    assert run_processes(size, compute) == [[expected.tolist()] * 2] * size
    in_turn = sum(torch.cat(compute_parts(shard)) for shard in range(count))
    torch.testing.assert_close(expected, in_turn)


class LoopbackGroup(SingleProcess):
    """Process 0 of four; the others send what it sends. It counts the bytes that it receives."""

    size = 4

    def __init__(self) -> None:
        self.received: list[int] = []

    def start_all_gather(self, values: Tensor) -> object:
        self.received.append(4 * values.nbytes)
        return lambda: torch.stack([values] * 4)

    def all_to_all(self, values: Tensor) -> Tensor:
        self.received.append(values.nbytes)
        return values[:1].expand_as(values).clone()


def test_long_vectors_are_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    vector = torch.zeros(64)
    for limit, received in ((4 * vector.nbytes, [4 * vector.nbytes]), (4 * vector.nbytes - 1, [vector.nbytes] * 2)):
        monkeypatch.setattr(shard_sum, "MAX_GATHERED_BYTES", limit)
        group = LoopbackGroup()
        ShardSum(group, 4).sum_shards(lambda _: (vector,))
        assert group.received == received
