"""Key-value cache of autoregressive decoding: keys and values of earlier steps, so that each is computed once."""

from __future__ import annotations

import torch
from torch import Tensor

KVCache = tuple[Tensor, ...]
"""Keys and values (B, heads, S, D) of each block in order; empty before the first step."""


def count_cached_steps(cache: KVCache) -> int:
    """Return the number of steps S in a cache."""
    return cache[0].shape[2] if cache else 0


def get_block_cache(cache: KVCache, block: int) -> KVCache:
    """Return the keys and values of one block of a stack; empty if the cache is.

    Args:
        cache: cache of the stack.
        block: index of the block.
    """
    return cache[2 * block : 2 * block + 2]


def extend_cache(cache: KVCache, keys: Tensor, values: Tensor) -> KVCache:
    """Append the keys and values of new steps to the cache of a block.

    Args:
        cache: keys and values (B, heads, S, D); empty before the first step.
        keys: keys (B, heads, T, D) of the new steps.
        values: values (B, heads, T, D) of the new steps.

    Returns:
        Keys and values (B, heads, S + T, D).
    """
    return (torch.cat((cache[0], keys), 2), torch.cat((cache[1], values), 2)) if cache else (keys, values)
