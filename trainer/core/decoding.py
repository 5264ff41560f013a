"""Writing a sequence with nothing but one's own past: greedily, by drawing, or searching with a beam.

A model is asked for one method, ``decode(tokens, memory, state)``: scores of the token after each of ``tokens``, and
a state to go on from. Memory and state are tuples of tensors with the rows first, so that a search may pick and
repeat rows without knowing what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

DecoderState = tuple[Tensor, ...]
"""Tensors with the rows first: what a model keeps of a source, or of its own past."""
TokenSelector = Callable[[Tensor], Tensor]
"""From scores (B, V) to tokens (B)."""
END_CHECK_INTERVAL = 8
"""Steps between looks at whether every row has ended: each is a wait for the device."""


class Decoder(Protocol):
    def decode(
        self, tokens: Tensor, memory: DecoderState, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """(B, T) -> (B, T, V) and the state after."""


def select_greedy(scores: Tensor) -> Tensor:
    """The likeliest token."""
    return scores.argmax(-1)


def make_sampler(temperature: float, top_k: int | None, top_p: float, generator: torch.Generator) -> TokenSelector:
    """Draws from softmax(scores / temperature), cut to the ``top_k`` likeliest tokens and then to the fewest that hold
    a share ``top_p`` of what is left (nucleus sampling, Holtzman et al. 2020). Temperature 0 is greedy.

    The generator's device is the scores'.
    """

    def draw(scores: Tensor) -> Tensor:
        ranked, tokens = (scores.float() / temperature).sort(stable=True, dim=-1, descending=True)
        if top_k is not None:
            ranked[:, top_k:] = -torch.inf
        share = ranked.softmax(-1)
        share = share.masked_fill(share.cumsum(-1) - share >= top_p, 0.0)
        share[:, 0] += share[:, 0] == 0  # a top_p of 0 leaves the likeliest
        return tokens.gather(-1, torch.multinomial(share, 1, generator=generator)).squeeze(-1)

    return draw if temperature > 0 else select_greedy


def exclude_token(choose: TokenSelector, token: int) -> TokenSelector:
    """Chooses as ``choose`` does, but never one token."""

    def choose_another(scores: Tensor) -> Tensor:
        return choose(scores.index_fill(-1, torch.tensor([token], device=scores.device), -torch.inf))

    return choose_another


def stream_tokens(
    model: Decoder,
    memory: DecoderState,
    first: Tensor,
    steps: int,
    choose: TokenSelector = select_greedy,
    end: int | None = None,
    context: int | None = None,
) -> Iterator[Tensor]:
    """Token after token (B) to follow ``first`` (B, T), at most ``steps`` of them; a row that has ended only ends.

    ``context``: how many tokens the model can look back on; when it is full, the later half of it is read anew.
    """
    tokens, state, past = first, None, first
    ended = torch.zeros(len(first), dtype=torch.bool, device=first.device)
    for step in range(steps):
        if context is not None and past.shape[1] > context:
            past = past[:, -max(1, context // 2) :]
            tokens, state = past, None
        scores, state = model.decode(tokens, memory, state)
        chosen = choose(scores[:, -1])
        if end is not None:
            chosen = chosen.masked_fill(ended, end)
            ended = ended | (chosen == end)
        yield chosen
        if end is not None and step % END_CHECK_INTERVAL == END_CHECK_INTERVAL - 1 and bool(ended.all()):
            return
        tokens = chosen[:, None]
        if context is not None:
            past = torch.cat((past, tokens), 1)


def generate_tokens(
    model: Decoder,
    memory: DecoderState,
    first: Tensor,
    steps: int,
    choose: TokenSelector = select_greedy,
    end: int | None = None,
) -> Tensor:
    """All of ``stream``, (B, L) with L at most ``steps``."""
    return torch.stack(list(stream_tokens(model, memory, first, steps, choose, end)), 1)


def decode_greedy_scores(model: Decoder, memory: DecoderState, first: Tensor, steps: int) -> Tensor:
    """Scores (B, steps, V) where the likeliest token is fed back each time, after ``first`` (B, 1)."""
    tokens, state, found = first, None, []
    for _ in range(steps):
        scores, state = model.decode(tokens, memory, state)
        found.append(scores)
        tokens = scores.argmax(-1)
    return torch.cat(found, 1)


def beam_search(
    model: Decoder,
    memory: DecoderState,
    first: Tensor,
    steps: int,
    width: int,
    end: int | None = None,
    penalty: float = 1.0,
) -> Tensor:
    """The best of ``width`` hypotheses kept at every step, (B, L).

    Hypotheses are compared by log probability; at last by log probability over length^penalty (Wu et al. 2016, eq. 14,
    without its constant). ``width`` 1 is greedy.
    """
    rows = len(first)
    memory = _repeat_rows(memory, width)
    tokens, state = first.repeat_interleave(width, 0), None
    total = first.new_zeros((rows, width), dtype=torch.float)
    total[:, 1:] = -torch.inf  # at first all hypotheses are the same one
    ended = torch.zeros_like(total, dtype=torch.bool)
    length = torch.zeros_like(total)
    written = first.new_empty((rows, width, 0))
    for step in range(steps):
        scores, state = model.decode(tokens, memory, state)
        logs = scores[:, -1].float().log_softmax(-1).view(rows, width, -1)
        if end is not None:  # what has ended goes on for nothing, in one way only
            alone = torch.full_like(logs[0, 0], -torch.inf).index_fill(0, torch.tensor(end, device=logs.device), 0.0)
            logs = torch.where(ended[..., None], alone, logs)
        total, place = (total[..., None] + logs).flatten(1).topk(width)
        parent, chosen = place // logs.shape[-1], place % logs.shape[-1]
        written = torch.cat((written.gather(1, parent[..., None].expand_as(written)), chosen[..., None]), -1)
        ended, length = ended.gather(1, parent), length.gather(1, parent)
        length = length + ~ended
        if end is not None:
            ended = ended | (chosen == end)
            if step % END_CHECK_INTERVAL == END_CHECK_INTERVAL - 1 and bool(ended.all()):
                break
        flat = (torch.arange(rows, device=parent.device)[:, None] * width + parent).flatten()
        state = tuple(part[flat] for part in state)
        tokens = chosen.view(-1, 1)
    best = (total / length.clamp(min=1) ** penalty).argmax(1)
    return written[torch.arange(rows, device=best.device), best]


def _repeat_rows(parts: DecoderState, width: int) -> DecoderState:
    return tuple(part.repeat_interleave(width, 0) for part in parts)
