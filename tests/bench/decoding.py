"""Writing 256 tokens from kept keys and values, against reading all again for each, one thread.

    python -m tests.bench.decoding

A language model of 0.8 million parameters, one row and four; CPU time, medians of interleaved rounds.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from trainer.config import compose
from trainer.core.decoding import generate_tokens
from trainer.engine.factory import instantiate_node
from trainer.models.language.gpt import GPT

ROUNDS, TOKENS, VOCAB = 5, 256, 65


def kept(model: GPT, first: Tensor) -> Tensor:
    return generate_tokens(model, (), first, TOKENS)


def anew(model: GPT, first: Tensor) -> Tensor:
    past = first
    for _ in range(TOKENS):
        past = torch.cat((past, model(past)[:, -1:].argmax(-1)), 1)
    return past[:, first.shape[1] :]


def compare(model: GPT, rows: int) -> None:
    first = torch.randint(VOCAB, (rows, 1))
    assert torch.equal(kept(model, first), anew(model, first))
    times: dict[str, list[float]] = {"kept": [], "anew": []}
    for _ in range(ROUNDS):
        for name, way in (("kept", kept), ("anew", anew)):
            started = time.process_time()
            way(model, first)
            times[name].append(1e3 * (time.process_time() - started))
    fast, slow = (statistics.median(times[name]) for name in ("kept", "anew"))
    ratio = statistics.median(a / b for a, b in zip(times["anew"], times["kept"], strict=True))
    print(f"{rows} rows: {fast:.0f} ms with what was kept, {slow:.0f} ms without: {ratio:.1f} times as fast")


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    composed = compose.compose(
        ["model=gpt", "data=tinyshakespeare", f"model.seq_len={TOKENS}", f"model.vocab_size={VOCAB}"]
    )
    model = instantiate_node(composed.tree["model"], GPT).eval()
    with torch.inference_mode():
        for rows in (1, 4):
            compare(model, rows)


if __name__ == "__main__":
    main()
