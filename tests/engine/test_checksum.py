"""Checksums of tensors differ with any bit and with the order of values and tensors."""

from __future__ import annotations

import pytest
import torch

from trainer.engine import checksum
from trainer.engine.checksum import compute_checksum


def test_one_bit_is_noticed() -> None:
    tensors = [torch.randn(3, 5), torch.tensor(3), torch.tensor([True, False]), torch.zeros(0)]
    changed = [tensors[0].clone(), *tensors[1:]]
    changed[0][2, 4] = torch.nextafter(changed[0][2, 4], torch.tensor(9.0))
    copies = [tensor.clone() for tensor in tensors]
    assert compute_checksum(tensors) == compute_checksum(copies)
    assert compute_checksum(tensors) != compute_checksum(changed)
    assert all(map(torch.equal, tensors, copies)), "the tensors are not changed"


@pytest.mark.parametrize("distance", [1, 2, 256, 1024])
def test_swapped_values_are_noticed(distance: int) -> None:
    weights = torch.ones(2000)
    weights[500] = 2.0
    swapped = weights.clone()
    swapped[500], swapped[500 + distance] = weights[500 + distance], weights[500]
    signs = torch.where(torch.arange(2000) == 500, -weights, weights)
    assert len({int(compute_checksum([each])) for each in (weights, swapped, signs)}) == 3


def test_swapped_tensors_are_noticed() -> None:
    first, second = torch.arange(24.0), torch.arange(24.0).flip(0)
    assert compute_checksum([first, second]) != compute_checksum([second, first])


def test_chunks_of_a_large_tensor_have_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(12, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(checksum, "_CHUNK_BYTES", 16)
    assert compute_checksum([values]) != compute_checksum([values.roll(4)])
    assert compute_checksum([values[1:]]) == compute_checksum([values[1:].clone()])
