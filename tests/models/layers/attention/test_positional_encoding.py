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
def test_sinusoidal_encoding_matches_formula(width: int) -> None:
    table = make_sinusoidal_encoding(0, 7, width, CPU)
    for t in range(7):
        for i in range(width):
            wave = t / 10_000 ** ((i - i % 2) / width)
            assert float(table[t, i]) == pytest.approx(math.cos(wave) if i % 2 else math.sin(wave), abs=1e-5)


def test_sinusoidal_encoding_has_no_length_limit_or_buffers() -> None:
    encoding = SinusoidalPositionalEncoding()
    assert encoding(torch.zeros(1, 6000, 3)).isfinite().all()
    assert not encoding.state_dict()


@pytest.mark.parametrize("encoding", [SinusoidalPositionalEncoding(), LearnedPositionalEncoding(9, 5)])
def test_positions_continue_from_an_offset(encoding: torch.nn.Module) -> None:
    x = torch.randn(2, 9, 5)
    torch.testing.assert_close(torch.cat((encoding(x[:, :4]), encoding(x[:, 4:], 4)), 1), encoding(x))
    assert not torch.allclose(encoding(x[:, 4:]), encoding(x)[:, 4:])


def test_learned_positions_have_a_maximum_length() -> None:
    encoding = LearnedPositionalEncoding(4, 3)
    assert encoding(torch.zeros(1, 4, 3)).shape == (1, 4, 3)
    with pytest.raises(ValueError, match=r"positions: learned for 4 steps \(seq_len\) and got 5"):
        encoding(torch.zeros(1, 1, 3), 4)


def test_rotary_scores_depend_only_on_distance() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8)
    scores = apply_rotary(q.expand(1, 1, 30, 8), rotary_cache(0, 30, 8, CPU)) @ apply_rotary(
        k.expand(1, 1, 30, 8), rotary_cache(0, 30, 8, CPU)
    ).transpose(2, 3)
    for distance in (-20, -1, 0, 3):
        diagonal = scores[0, 0].diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores[0, 0, 0, 0], (q * k).sum())
    assert scores[0, 0, 0].std() > 0.01


def test_rotary_equals_complex_multiplication() -> None:
    x = torch.randn(1, 1, 5, 6)
    rotated = torch.view_as_complex(torch.stack(x.chunk(2, -1), -1)) * torch.exp(1j * compute_angles(3, 5, 6, CPU))
    torch.testing.assert_close(apply_rotary(x, rotary_cache(3, 5, 6, CPU)), torch.cat((rotated.real, rotated.imag), -1))
