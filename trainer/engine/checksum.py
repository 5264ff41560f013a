"""Checksum of tensors, by which processes compare their weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_CHUNK_BYTES = 1 << 23
"""Bytes that are mixed at once, so that a large tensor needs little memory besides."""
_STEP, _FACTOR = 0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9
"""Odd constants, like those of SplitMix64 with their highest bit cleared."""


def compute_checksum(tensors: Iterable[Tensor]) -> Tensor:
    """Return a hash of the bits of tensors and of their positions, a scalar int64.

    Args:
        tensors: The tensors, in an order that counts.

    References:
        Steele et al. 2014, Fast Splittable Pseudorandom Number Generators (the mixing function).
    """
    total = torch.zeros((), dtype=torch.int64)
    for tensor in tensors:
        values = tensor.detach().reshape(-1).view(torch.uint8)
        sums = [_hash_chunk(chunk, number) for number, chunk in enumerate(values.split(_CHUNK_BYTES))]
        total = 31 * total + sum(sums[1:], start=sums[0]).cpu()
    return total


def _hash_chunk(values: Tensor, number: int) -> Tensor:
    """Return the sum, modulo 2**64, of hashes of each 8 bytes of a chunk and of their position."""
    padded = values.new_zeros(-(-len(values) // 8) * 8)
    padded[: len(values)] = values
    words = padded.view(torch.int64)
    first = number * (_CHUNK_BYTES // 8)
    words += torch.arange(first, first + len(words), device=words.device).mul_(_STEP)
    for shift in (30, 27):
        words ^= words >> shift
        words *= _FACTOR
    words ^= words >> 31
    return words.sum()
