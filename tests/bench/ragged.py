"""Time of padding, packing and sorting sequences of unequal length, one thread.

    python -m tests.bench.ragged

An LSTM on var_len_sum, 3 to 20 steps and 10 to 200: an epoch of training passes over batches of 64, medians of
interleaved rounds. ``padded`` pads every row to the longest of all and selects its last step; ``packed`` is torch's
packing on the same batches; ``model`` is ``run_rnn``, with and without the loader's sorting by length.
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


def run_padded(lstm: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    steps, _ = lstm(x)
    return steps[torch.arange(len(x)), lengths - 1]


def run_packed(lstm: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    _, (ends, _) = lstm(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return ends[-1]


def run_model(lstm: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    return run_rnn(lstm, x, lengths)[1][-1]


def time_epoch(batches: list[Batch], lstm: nn.LSTM, encode: Callable[[nn.LSTM, Tensor, Tensor], Tensor]) -> float:
    start = time.perf_counter()
    for batch in batches:
        encode(lstm, batch.inputs["x"], batch.inputs["lengths"]).sum().backward()
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    print(f"ms for {ROWS} rows, median of {ROUNDS} interleaved rounds, and the ratio to padded")
    for shortest, longest in ((3, 20), (10, 200)):
        split = VarLenSum(rows=5 * ROWS // 3, shortest=shortest, longest=longest, seed=0).train
        x, lengths = split.inputs["x"], split.inputs["lengths"]  # type: ignore[attr-defined]
        rows = RaggedSplit({"x": Ragged.from_rows([row[:n] for row, n in zip(x, lengths.tolist(), strict=True)])}, None)
        padded_batches = list(Loader(split, "train", batch_size=BATCH, device=CPU, train=True).iter_epoch(0))
        unsorted_batches, sorted_batches = (
            list(Loader(rows, "train", batch_size=BATCH, device=CPU, train=True, bucket=bucket).iter_epoch(0))
            for bucket in (1, 50)
        )
        lstm = nn.LSTM(1, WIDTH, batch_first=True)
        contenders = {
            "padded": (padded_batches, run_padded),
            "packed": (padded_batches, run_packed),
            "packed, sorted": (sorted_batches, run_packed),
            "model, unsorted": (unsorted_batches, run_model),
            "model, sorted": (sorted_batches, run_model),
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(ROUNDS + 1):
            for name, (batches, encode) in contenders.items():
                times[name].append(time_epoch(batches, lstm, encode))
        for name, elapsed in times.items():
            ratio = statistics.median(a / b for a, b in zip(elapsed[1:], times["padded"][1:], strict=True))
            print(f"{shortest:3} to {longest:3}   {name:15} {1e3 * statistics.median(elapsed[1:]):7.0f}   {ratio:.2f}x")


if __name__ == "__main__":
    main()
