"""Decoding of 256 tokens with cached keys and values against full recomputation, one thread.

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


def decode_with_cache(model: GPT, prompt: Tensor) -> Tensor:
    return generate_tokens(model, (), prompt, TOKENS)


def decode_without_cache(model: GPT, prompt: Tensor) -> Tensor:
    tokens = prompt
    for _ in range(TOKENS):
        tokens = torch.cat((tokens, model(tokens)[:, -1:].argmax(-1)), 1)
    return tokens[:, prompt.shape[1] :]


def compare(model: GPT, rows: int) -> None:
    prompt = torch.randint(VOCAB, (rows, 1))
    assert torch.equal(decode_with_cache(model, prompt), decode_without_cache(model, prompt))
    times: dict[str, list[float]] = {"cached": [], "uncached": []}
    for _ in range(ROUNDS):
        for name, decode in (("cached", decode_with_cache), ("uncached", decode_without_cache)):
            start = time.process_time()
            decode(model, prompt)
            times[name].append(1e3 * (time.process_time() - start))
    fast, slow = (statistics.median(times[name]) for name in ("cached", "uncached"))
    ratio = statistics.median(a / b for a, b in zip(times["uncached"], times["cached"], strict=True))
    print(f"{rows} rows: {fast:.0f} ms with the cache, {slow:.0f} ms without: {ratio:.1f} times as fast")


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
