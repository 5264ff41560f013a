"""Autoregressive decoding: greedy, by sampling, or by beam search.

A model needs one method, ``decode(tokens, memory, state)``, which returns the scores of the next token after each of
``tokens`` and the state to continue from. Memory and state are tuples of tensors whose first dimension is the batch, so
that beam search can reorder and repeat rows without knowing what they hold.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from trainer.core.token_selection import TokenSelector, select_greedy

DecoderState = tuple[Tensor, ...]
"""Tensors (B, ...): the encoder output (``memory``), or a recurrent state or key-value cache (``state``)."""
END_CHECK_INTERVAL = 8
"""Steps between checks whether every row has ended, because each check synchronizes with the device."""


class Decoder(Protocol):
    """Protocol of autoregressive models."""

    def decode(
        self, tokens: Tensor, memory: DecoderState, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Decode tokens (B, T) that follow ``state``.

        Args:
            tokens: Token ids (B, T).
            memory: Output of an encoder; empty for a decoder-only model.
            state: State after the preceding tokens; None at the start.

        Returns:
            Scores (B, T, V) of the token after each of ``tokens``, and the state after the last of them.
        """


def stream_tokens(
    model: Decoder,
    memory: DecoderState,
    prompt: Tensor,
    max_steps: int,
    select_token: TokenSelector = select_greedy,
    end_token: int | None = None,
    context_length: int | None = None,
) -> Iterator[Tensor]:
    """Generate tokens step by step.

    Args:
        model: Model to decode with.
        memory: Output of its encoder, if it has one.
        prompt: Tokens (B, T) to continue; they are not yielded.
        max_steps: Maximum number of tokens.
        select_token: Function from scores (B, V) to tokens (B).
        end_token: Token that ends a row; every later token of the row is the end token too.
        context_length: Maximum number of tokens that the model can attend to. When it is exceeded, decoding restarts
            from the later half of the context. None for unlimited.

    Yields:
        The tokens (B) of the next step, until ``max_steps`` or until every row has ended.
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
        is_check_step = step % END_CHECK_INTERVAL == END_CHECK_INTERVAL - 1
        if end_token is not None and is_check_step and bool(is_finished.all()):
            return
        tokens = next_tokens[:, None]
        if context_length is not None:
            context_tokens = torch.cat((context_tokens, tokens), 1)


def continue_prompts(
    model: Decoder,
    prompts: Tensor,
    lengths: Tensor,
    max_steps: int,
    select_token: TokenSelector = select_greedy,
    context_length: int | None = None,
) -> Tensor:
    """Return the tokens (B, max_steps) that continue prompts of different lengths.

    All rows start at position 0 and advance together: while a row is within its prompt, the token of the prompt
    replaces the generated one. A row is therefore continued as it would be alone.

    Args:
        model: Decoder-only model.
        prompts: Prompts (B, T), padded at the end, of at most ``context_length`` tokens.
        lengths: Length (B,) of each prompt, on the CPU.
        max_steps: Number of tokens to generate for each row.
        select_token: Function from scores (B, V) to tokens (B).
        context_length: Maximum number of tokens that the model can attend to, see ``stream_tokens``.
    """
    shortest, longest = int(lengths.min()), int(lengths.max())
    positions, device_lengths = itertools.count(shortest), lengths.to(prompts.device)

    def select_or_copy(scores: Tensor) -> Tensor:
        tokens, position = select_token(scores), next(positions)
        return tokens if position >= longest else torch.where(position < device_lengths, prompts[:, position], tokens)

    steps = longest - shortest + max_steps
    stream = stream_tokens(model, (), prompts[:, :shortest], steps, select_or_copy, context_length=context_length)
    generated = torch.stack(list(stream), 1)
    first = (device_lengths - shortest)[:, None]
    return generated.gather(1, first + torch.arange(max_steps, device=prompts.device))


def generate_tokens(
    model: Decoder,
    memory: DecoderState,
    prompt: Tensor,
    max_steps: int,
    select_token: TokenSelector = select_greedy,
    end_token: int | None = None,
) -> Tensor:
    """Return the tokens of ``stream_tokens`` as (B, L), with L at most ``max_steps``.

    Args:
        model: Model to decode with.
        memory: Output of its encoder, if it has one.
        prompt: Tokens (B, T) to continue; they are not returned.
        max_steps: Maximum number of tokens.
        select_token: Function from scores (B, V) to tokens (B).
        end_token: Token that ends a row.
    """
    return torch.stack(list(stream_tokens(model, memory, prompt, max_steps, select_token, end_token)), 1)


def decode_greedy_scores(model: Decoder, memory: DecoderState, prompt: Tensor, max_steps: int) -> Tensor:
    """Return the scores (B, max_steps, V) of greedy decoding.

    Args:
        model: Model to decode with.
        memory: Output of its encoder, if it has one.
        prompt: First token (B, 1).
        max_steps: Number of steps.
    """
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
    """Return the best hypothesis of beam search for each row.

    Hypotheses are pruned by log probability; the best one is chosen by log probability / length^length_penalty.

    Args:
        model: Model to decode with.
        memory: Output of its encoder, if it has one.
        prompt: First token (B, 1).
        max_steps: Maximum number of tokens.
        beam_size: Number of hypotheses per row; 1 is greedy decoding.
        end_token: Token that ends a hypothesis.
        length_penalty: Exponent of the length; 0 compares log probabilities.

    Returns:
        Tokens (B, L) with L at most ``max_steps``.

    References:
        Wu et al., Google's Neural Machine Translation System, 2016, eq. 14 (without its constant 5).
    """
    batch_size = len(prompt)
    memory = _repeat_rows(memory, beam_size)
    tokens, state = prompt.repeat_interleave(beam_size, 0), None
    log_probs = prompt.new_zeros((batch_size, beam_size), dtype=torch.float)
    log_probs[:, 1:] = -torch.inf  # all hypotheses start equal, so only one is expanded at first
    is_finished = torch.zeros_like(log_probs, dtype=torch.bool)
    lengths = torch.zeros_like(log_probs)
    sequences = prompt.new_empty((batch_size, beam_size, 0))
    for step in range(max_steps):
        scores, state = model.decode(tokens, memory, state)
        next_log_probs = scores[:, -1].float().log_softmax(-1).view(batch_size, beam_size, -1)
        if end_token is not None:
            # A finished hypothesis continues with the end token alone, at no cost.
            end_index = torch.tensor(end_token, device=next_log_probs.device)
            finished_log_probs = torch.full_like(next_log_probs[0, 0], -torch.inf).index_fill(0, end_index, 0.0)
            next_log_probs = torch.where(is_finished[..., None], finished_log_probs, next_log_probs)
        log_probs, flat_index = (log_probs[..., None] + next_log_probs).flatten(1).topk(beam_size)
        parents, next_tokens = flat_index // next_log_probs.shape[-1], flat_index % next_log_probs.shape[-1]
        parent_sequences = sequences.gather(1, parents[..., None].expand_as(sequences))
        sequences = torch.cat((parent_sequences, next_tokens[..., None]), -1)
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
