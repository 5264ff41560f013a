from __future__ import annotations

import math

import pytest
import torch

from trainer.models.layers.attention.positional_encoding import (
    LearnedPositionalEncoding,
    SinusoidalPositionalEncoding,
    apply_rotary,
    compute_angles,
    make_sinusoidal_encoding,
    rotary_cache,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_sines_and_cosines_are_the_formula_for_any_width(width: int) -> None:
    table = make_sinusoidal_encoding(0, 7, width, CPU)
    for t in range(7):
        for i in range(width):
            wave = t / 10_000 ** ((i - i % 2) / width)
            assert float(table[t, i]) == pytest.approx(math.cos(wave) if i % 2 else math.sin(wave), abs=1e-5)


def test_sequences_have_no_maximum_length_and_no_buffers() -> None:
    place = SinusoidalPositionalEncoding()
    assert place(torch.zeros(1, 6000, 3)).isfinite().all()
    assert not place.state_dict()


@pytest.mark.parametrize("place", [SinusoidalPositionalEncoding(), LearnedPositionalEncoding(9, 5)])
def test_positions_continue_from_an_offset(place: torch.nn.Module) -> None:
    x = torch.randn(2, 9, 5)
    torch.testing.assert_close(torch.cat((place(x[:, :4]), place(x[:, 4:], 4)), 1), place(x))
    assert not torch.allclose(place(x[:, 4:]), place(x)[:, 4:])


def test_learned_positions_have_a_maximum_length() -> None:
    place = LearnedPositionalEncoding(4, 3)
    assert place(torch.zeros(1, 4, 3)).shape == (1, 4, 3)
    with pytest.raises(ValueError, match=r"positions: learned for 4 steps \(seq_len\) and got 5"):
        place(torch.zeros(1, 1, 3), 4)


def test_turned_scores_depend_on_the_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8)
    scores = apply_rotary(q.expand(1, 1, 30, 8), rotary_cache(0, 30, 8, CPU)) @ apply_rotary(
        k.expand(1, 1, 30, 8), rotary_cache(0, 30, 8, CPU)
    ).transpose(2, 3)
    for distance in (-20, -1, 0, 3):
        along = scores[0, 0].diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores[0, 0, 0, 0], (q * k).sum())
    assert scores[0, 0, 0].std() > 0.01


def test_turning_is_multiplying_complex_numbers() -> None:
    x = torch.randn(1, 1, 5, 6)
    turned = torch.view_as_complex(torch.stack(x.chunk(2, -1), -1)) * torch.exp(1j * compute_angles(3, 5, 6, CPU))
    torch.testing.assert_close(apply_rotary(x, rotary_cache(3, 5, 6, CPU)), torch.cat((turned.real, turned.imag), -1))
