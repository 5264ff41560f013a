"""Writing tokens one by one: going on from what was kept of the past, against reading all of it again, one thread.

    python tests/bench/decoding.py

A GPT of the default size and 65 characters writes 256 tokens. Medians of interleaved rounds; both write the same.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from trainer import decoding
from trainer.models.gpt import GPT

ROUNDS, TOKENS = 5, 256


def cached(model: GPT, first: Tensor) -> Tensor:
    return decoding.write(model, (), first, TOKENS)


def uncached(model: GPT, first: Tensor) -> Tensor:
    tokens = first
    for _ in range(TOKENS):
        tokens = torch.cat((tokens, model(tokens)[:, -1:].argmax(-1)), 1)
    return tokens[:, first.shape[1] :]


def seconds(write: Callable[[GPT, Tensor], Tensor], model: GPT, first: Tensor) -> tuple[float, Tensor]:
    started = time.perf_counter()
    written = write(model, first)
    return time.perf_counter() - started, written


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    sizes = {"vocab_size": 65, "seq_len": TOKENS + 1}
    options = {"width": 128, "layers": 4, "heads": 4, "hidden": 512, "dropout": 0.0, "positions": "rotary"}
    print(f"seconds for {TOKENS} tokens, median of {ROUNDS} interleaved rounds")
    for rows in (1, 8):
        model = GPT(**sizes, **options, attention="full", attention_size=32, tied=True).eval()  # type: ignore[arg-type]
        first = torch.zeros(rows, 1, dtype=torch.long)
        ratios, times = [], []
        for turn in range(ROUNDS + 1):
            (fast, one), (slow, other) = (seconds(write, model, first) for write in (cached, uncached))
            assert torch.equal(one, other)
            if turn:
                ratios.append(slow / fast)
                times.append(fast)
        print(
            f"{rows} rows   kept {statistics.median(times):.2f}   read again {statistics.median(ratios):.1f}x as long"
        )


if __name__ == "__main__":
    main()
