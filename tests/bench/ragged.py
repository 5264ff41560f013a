"""Sequences of unequal length: what padding, packing and sorting by length cost, one thread.

    python -m tests.bench.ragged

An LSTM on var_len_sum, 3 to 20 steps and 10 to 200: an epoch of training passes over batches of 64, medians of
interleaved rounds. ``padded`` reads every row to the longest of all and picks out its end; ``packed`` is torch's
packing on the same batches; ``ours`` is the model as it is, with the loader's sorting by length, and without.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from trainer.core.batch import Batch
from trainer.data.datasets.sequence.memory_tasks import VarLenSum
from trainer.data.splits.ragged import Ragged, RaggedSplit
from trainer.engine.dataloader import Loader
from trainer.models.layers.sequence.recurrent import run_rnn

ROUNDS, ROWS, BATCH, WIDTH = 5, 1024, 64, 64
CPU = torch.device("cpu")


def padded(cells: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    steps, _ = cells(x)
    return steps[torch.arange(len(x)), lengths - 1]


def packed(cells: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    _, (ends, _) = cells(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return ends[-1]


def ours(cells: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    return run_rnn(cells, x, lengths)[1][-1]


def epoch(batches: list[Batch], cells: nn.LSTM, last: Callable[[nn.LSTM, Tensor, Tensor], Tensor]) -> float:
    started = time.perf_counter()
    for batch in batches:
        last(cells, batch.inputs["x"], batch.inputs["lengths"]).sum().backward()
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(1)
    print(f"ms for {ROWS} rows, median of {ROUNDS} interleaved rounds, and the ratio to padded")
    for shortest, longest in ((3, 20), (10, 200)):
        split = VarLenSum(rows=5 * ROWS // 3, shortest=shortest, longest=longest, seed=0).train
        x, lengths = split.inputs["x"], split.inputs["lengths"]  # type: ignore[attr-defined]
        rows = RaggedSplit({"x": Ragged.from_rows([row[:n] for row, n in zip(x, lengths.tolist(), strict=True)])}, None)
        whole = list(Loader(split, "train", batch_size=BATCH, device=CPU, train=True).iter_epoch(0))
        mixed, sorted_ = (
            list(Loader(rows, "train", batch_size=BATCH, device=CPU, train=True, bucket=bucket).iter_epoch(0))
            for bucket in (1, 50)
        )
        cells = nn.LSTM(1, WIDTH, batch_first=True)
        contenders = {
            "padded": (whole, padded),
            "packed": (whole, packed),
            "packed, sorted": (sorted_, packed),
            "ours, mixed": (mixed, ours),
            "ours, sorted": (sorted_, ours),
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(ROUNDS + 1):
            for name, (batches, last) in contenders.items():
                times[name].append(epoch(batches, cells, last))
        for name, taken in times.items():
            ratio = statistics.median(a / b for a, b in zip(taken[1:], times["padded"][1:], strict=True))
            print(f"{shortest:3} to {longest:3}   {name:15} {1e3 * statistics.median(taken[1:]):7.0f}   {ratio:.2f}x")


if __name__ == "__main__":
    main()
