"""Selection of the next token from its scores: the most likely one, or a random one."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.ordered_sums import cumulative_sum

TokenSelector = Callable[[Tensor], Tensor]
"""Function from scores (B, V) to the next tokens (B)."""


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
        probs, tokens = _truncate_distribution(scores, temperature, top_k, top_p)
        return tokens.gather(-1, torch.multinomial(probs, 1, generator=generator)).squeeze(-1)

    return sample_token if temperature > 0 else select_greedy


def make_row_sampler(
    temperature: float, top_k: int | None, top_p: float, keys: Tensor, seed: int, first_step: int
) -> TokenSelector:
    """Return a function like that of ``make_sampler`` whose random numbers do not depend on the other rows of a batch.

    They are a function of (seed, key, step). The function must be called once for each step.

    Args:
        temperature: Softmax temperature; 0 selects the most likely token.
        top_k: Number of most likely tokens to sample from; None for all.
        top_p: Probability mass of the smallest set of most likely tokens to sample from, in [0, 1]; 1 for all.
        keys: Key (B,) of each row, int64 below 2^31.
        seed: Random seed.
        first_step: Number of the first step.
    """
    steps = itertools.count(first_step)

    def sample_token(scores: Tensor) -> Tensor:
        probs, tokens = _truncate_distribution(scores, temperature, top_k, top_p)
        cumulative = cumulative_sum(probs.double(), -1)
        threshold = rng.draw_uniform(keys, 1, seed, next(steps)).double() * cumulative[:, -1:]
        return tokens.gather(-1, torch.searchsorted(cumulative, threshold, right=True)).squeeze(-1)

    return sample_token if temperature > 0 else select_greedy


def _truncate_distribution(
    scores: Tensor, temperature: float, top_k: int | None, top_p: float
) -> tuple[Tensor, Tensor]:
    """Return the weights (B, V) of the tokens (B, V), in descending order; truncated ones are 0."""
    logits, tokens = (scores.float() / temperature).sort(stable=True, dim=-1, descending=True)
    if top_k is not None:
        logits[:, top_k:] = -torch.inf
    probs = logits.softmax(-1)
    probs = probs.masked_fill(cumulative_sum(probs, -1) - probs >= top_p, 0.0)
    probs[:, 0] += probs[:, 0] == 0  # a top_p of 0 keeps the most likely token
    return probs, tokens


def select_by_noise(probs: Tensor, noise: Tensor) -> Tensor:
    """Return the classes (...) that uniform noise selects by inversion of the cumulative probabilities.

    Args:
        probs: Probabilities (..., K).
        noise: Uniform noise (...) in [0, 1).
    """
    return (cumulative_sum(probs, -1) <= noise[..., None]).sum(-1).clamp(max=probs.shape[-1] - 1)


def exclude_token(select_token: TokenSelector, token: int) -> TokenSelector:
    """Return a selector like ``select_token`` that never selects one token.

    Args:
        select_token: Function from scores (B, V) to tokens (B).
        token: Excluded token.
    """

    def select_other_token(scores: Tensor) -> Tensor:
        return select_token(scores.index_fill(-1, torch.tensor([token], device=scores.device), -torch.inf))

    return select_other_token
