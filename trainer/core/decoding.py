"""Autoregressive decoding: greedy, by sampling, or by beam search.

A model needs one method, ``decode(tokens, memory, state)``, which returns the scores of the next token after each of
``tokens`` and the state to continue from. Memory and state are tuples of tensors whose first dimension is the batch, so
that beam search can reorder and repeat rows without knowing what they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

DecoderState = tuple[Tensor, ...]
"""Tensors (B, ...): the encoder output (``memory``), or a recurrent state or key-value cache (``state``)."""
TokenSelector = Callable[[Tensor], Tensor]
"""Function from scores (B, V) to the next tokens (B)."""
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


def select_greedy(scores: Tensor) -> Tensor:
    """Return the most likely tokens (B) of scores (B, V)."""
    return scores.argmax(-1)


def make_sampler(temperature: float, top_k: int | None, top_p: float, generator: torch.Generator) -> TokenSelector:
    """Return a function that samples tokens from ``softmax(scores / temperature)``, truncated by top-k, then by top-p.

    Args:
        temperature: Softmax temperature; 0 selects the most likely token.
        top_k: Number of most likely tokens to sample from; None for all.
        top_p: Probability mass of the smallest set of most likely tokens to sample from, in [0, 1]; 1 for all.
        generator: Generator on the device of the scores.

    References:
        Fan et al., Hierarchical Neural Story Generation, ACL 2018 (top-k sampling).
        Holtzman et al., The Curious Case of Neural Text Degeneration, ICLR 2020 (nucleus sampling).
    """

    def sample_token(scores: Tensor) -> Tensor:
        logits, tokens = (scores.float() / temperature).sort(stable=True, dim=-1, descending=True)
        if top_k is not None:
            logits[:, top_k:] = -torch.inf
        probs = logits.softmax(-1)
        probs = probs.masked_fill(probs.cumsum(-1) - probs >= top_p, 0.0)
        probs[:, 0] += probs[:, 0] == 0  # a top_p of 0 keeps the most likely token
        return tokens.gather(-1, torch.multinomial(probs, 1, generator=generator)).squeeze(-1)

    return sample_token if temperature > 0 else select_greedy


def exclude_token(select_token: TokenSelector, token: int) -> TokenSelector:
    """Return a selector like ``select_token`` that never selects one token.

    Args:
        select_token: Function from scores (B, V) to tokens (B).
        token: Excluded token.
    """

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
