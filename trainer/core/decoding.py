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

    def sample_token(scores: Tensor) -> Tensor:
        logits, tokens = (scores.float() / temperature).sort(stable=True, dim=-1, descending=True)
        if top_k is not None:
            logits[:, top_k:] = -torch.inf
        probs = logits.softmax(-1)
        probs = probs.masked_fill(probs.cumsum(-1) - probs >= top_p, 0.0)
        probs[:, 0] += probs[:, 0] == 0  # a top_p of 0 leaves the likeliest
        return tokens.gather(-1, torch.multinomial(probs, 1, generator=generator)).squeeze(-1)

    return sample_token if temperature > 0 else select_greedy


def exclude_token(select_token: TokenSelector, token: int) -> TokenSelector:
    """Chooses as ``select_token`` does, but never one token."""

    def select_other_token(scores: Tensor) -> Tensor:
        return select_token(scores.index_fill(-1, torch.tensor([token], device=scores.device), -torch.inf))

    return select_other_token


def stream_tokens(
    model: Decoder,
    memory: DecoderState,
    prompt: Tensor,
    max_steps: int,
    select_token: TokenSelector = select_greedy,
    end_token: int | None = None,
    context_length: int | None = None,
) -> Iterator[Tensor]:
    """Token after token (B) to follow ``prompt`` (B, T), at most ``max_steps`` of them; a row that has ended only ends.

    ``context_length``: how many tokens the model can look back on; when it is full, the later half of it is read anew.
    """
    tokens, state, context_tokens = prompt, None, prompt
    is_finished = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    for step in range(max_steps):
        if context_length is not None and context_tokens.shape[1] > context_length:
            context_tokens = context_tokens[:, -max(1, context_length // 2) :]
            tokens, state = context_tokens, None
        scores, state = model.decode(tokens, memory, state)
        next_tokens = select_token(scores[:, -1])
        if end_token is not None:
            next_tokens = next_tokens.masked_fill(is_finished, end_token)
            is_finished = is_finished | (next_tokens == end_token)
        yield next_tokens
        if end_token is not None and step % END_CHECK_INTERVAL == END_CHECK_INTERVAL - 1 and bool(is_finished.all()):
            return
        tokens = next_tokens[:, None]
        if context_length is not None:
            context_tokens = torch.cat((context_tokens, tokens), 1)


def generate_tokens(
    model: Decoder,
    memory: DecoderState,
    prompt: Tensor,
    max_steps: int,
    select_token: TokenSelector = select_greedy,
    end_token: int | None = None,
) -> Tensor:
    """All of ``stream``, (B, L) with L at most ``max_steps``."""
    return torch.stack(list(stream_tokens(model, memory, prompt, max_steps, select_token, end_token)), 1)


def decode_greedy_scores(model: Decoder, memory: DecoderState, prompt: Tensor, max_steps: int) -> Tensor:
    """Scores (B, max_steps, V) where the likeliest token is fed back each time, after ``prompt`` (B, 1)."""
    tokens, state, scores_per_step = prompt, None, []
    for _ in range(max_steps):
        scores, state = model.decode(tokens, memory, state)
        scores_per_step.append(scores)
        tokens = scores.argmax(-1)
    return torch.cat(scores_per_step, 1)


def beam_search(
    model: Decoder,
    memory: DecoderState,
    prompt: Tensor,
    max_steps: int,
    beam_size: int,
    end_token: int | None = None,
    length_penalty: float = 1.0,
) -> Tensor:
    """The best of ``beam_size`` hypotheses kept at every step, (B, L).

    Hypotheses are compared by log probability; at last by log probability over length^length_penalty (Wu et al. 2016,
    eq. 14, without its constant). ``beam_size`` 1 is greedy.
    """
    batch_size = len(prompt)
    memory = _repeat_rows(memory, beam_size)
    tokens, state = prompt.repeat_interleave(beam_size, 0), None
    log_probs = prompt.new_zeros((batch_size, beam_size), dtype=torch.float)
    log_probs[:, 1:] = -torch.inf  # at first all hypotheses are the same one
    is_finished = torch.zeros_like(log_probs, dtype=torch.bool)
    lengths = torch.zeros_like(log_probs)
    sequences = prompt.new_empty((batch_size, beam_size, 0))
    for step in range(max_steps):
        scores, state = model.decode(tokens, memory, state)
        next_log_probs = scores[:, -1].float().log_softmax(-1).view(batch_size, beam_size, -1)
        if end_token is not None:  # what has ended goes on for nothing, in one way only
            finished_log_probs = torch.full_like(next_log_probs[0, 0], -torch.inf).index_fill(
                0, torch.tensor(end_token, device=next_log_probs.device), 0.0
            )
            next_log_probs = torch.where(is_finished[..., None], finished_log_probs, next_log_probs)
        log_probs, flat_index = (log_probs[..., None] + next_log_probs).flatten(1).topk(beam_size)
        parents, next_tokens = flat_index // next_log_probs.shape[-1], flat_index % next_log_probs.shape[-1]
        sequences = torch.cat(
            (sequences.gather(1, parents[..., None].expand_as(sequences)), next_tokens[..., None]), -1
        )
        is_finished, lengths = is_finished.gather(1, parents), lengths.gather(1, parents)
        lengths = lengths + ~is_finished
        if end_token is not None:
            is_finished = is_finished | (next_tokens == end_token)
            if step % END_CHECK_INTERVAL == END_CHECK_INTERVAL - 1 and bool(is_finished.all()):
                break
        state_index = (torch.arange(batch_size, device=parents.device)[:, None] * beam_size + parents).flatten()
        state = tuple(tensor[state_index] for tensor in state)
        tokens = next_tokens.view(-1, 1)
    best = (log_probs / lengths.clamp(min=1) ** length_penalty).argmax(1)
    return sequences[torch.arange(batch_size, device=best.device), best]


def _repeat_rows(tensors: DecoderState, repeats: int) -> DecoderState:
    return tuple(tensor.repeat_interleave(repeats, 0) for tensor in tensors)
