"""Beam search, greedy decoding and sampling against brute force on a model that can be enumerated."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from trainer.core import decoding, token_selection

V, END, STEPS = 4, 3, 5


class Chain:
    """A Markov chain of order two, one table per row of memory; its state is the token before the last."""

    def __init__(self) -> None:
        self.input_lengths: list[int] = []

    def decode(
        self, tokens: Tensor, memory: decoding.DecoderState, state: decoding.DecoderState | None = None
    ) -> tuple[Tensor, decoding.DecoderState]:
        self.input_lengths.append(tokens.shape[1])
        (transitions,) = memory  # (B, V + 1, V + 1, V)
        before = torch.full_like(tokens[:, :1], V) if state is None else state[0]
        past = torch.cat((before, tokens), 1)
        rows = torch.arange(len(tokens))[:, None]
        return transitions[rows, past[:, :-1], past[:, 1:]], (tokens[:, -1:],)


def make_tables(rows: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(rows, V + 1, V + 1, V, generator=torch.Generator().manual_seed(seed))


FIRST = torch.full((6, 1), V)


def compute_log_prob(table: Tensor, tokens: tuple[int, ...]) -> float:
    past = [V, V, *tokens]
    logs = table.log_softmax(-1)
    return sum(float(logs[past[i], past[i + 1], token]) for i, token in enumerate(tokens))


def list_hypotheses() -> list[tuple[int, ...]]:
    """List all sequences: each ends at its first end token or after ``STEPS`` tokens."""
    sequences = (tokens for n in range(1, STEPS + 1) for tokens in itertools.product(range(V), repeat=n))
    return [t for t in sequences if END not in t[:-1] and (t[-1] == END or len(t) == STEPS)]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_exhaustive_beam_search_finds_the_optimum(penalty: float) -> None:
    memory = make_tables(6)
    result = decoding.beam_search(
        Chain(), (memory,), FIRST, STEPS, beam_size=V**STEPS, end_token=END, length_penalty=penalty
    )
    for row, table in zip(result.tolist(), memory, strict=True):
        tokens = tuple(row[: row.index(END) + 1] if END in row else row)
        best = max(list_hypotheses(), key=lambda t: compute_log_prob(table, t) / len(t) ** penalty)
        assert compute_log_prob(table, tokens) / len(tokens) ** penalty == pytest.approx(
            compute_log_prob(table, best) / len(best) ** penalty, abs=1e-4
        )


@pytest.mark.parametrize("end", [None, END])
def test_a_beam_of_one_matches_greedy_decoding(end: int | None) -> None:
    memory = (make_tables(6),)
    result = decoding.beam_search(Chain(), memory, FIRST, STEPS, 1, end)
    assert torch.equal(result, decoding.generate_tokens(Chain(), memory, FIRST, STEPS, end_token=end))


def test_wider_beam_is_at_least_as_likely_as_greedy() -> None:
    memory = make_tables(40, seed=1)
    first = torch.full((40, 1), V)
    gains = []
    for table, beam, greedy in zip(
        memory,
        decoding.beam_search(Chain(), (memory,), first, STEPS, 8).tolist(),
        decoding.generate_tokens(Chain(), (memory,), first, STEPS).tolist(),
        strict=True,
    ):
        gains.append(compute_log_prob(table, tuple(beam)) - compute_log_prob(table, tuple(greedy)))
    assert min(gains) > -1e-4
    assert max(gains) > 0.5


def test_decoding_stops_early_after_all_sequences_end() -> None:
    memory = torch.zeros(6, V + 1, V + 1, V)
    memory[..., END] = 9
    tokens = decoding.generate_tokens(Chain(), (memory,), FIRST, 100, end_token=END)
    assert tokens.shape == (6, decoding.END_CHECK_INTERVAL)
    assert (tokens == END).all()


def sample_frequencies(temperature: float, top_k: int | None, top_p: float, count: int = 20000) -> Tensor:
    logits = torch.tensor([0.5, 0.2, 0.25, 0.05]).log().expand(count, V)
    sampler = token_selection.make_sampler(temperature, top_k, top_p, torch.Generator().manual_seed(0))
    return torch.bincount(sampler(logits), minlength=V) / count


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "expected"),
    [
        (1.0, None, 1.0, [0.5, 0.2, 0.25, 0.05]),
        (0.5, None, 1.0, [0.7042, 0.1127, 0.1761, 0.0070]),
        (0.0, None, 1.0, [1, 0, 0, 0]),
        (1.0, 1, 1.0, [1, 0, 0, 0]),
        (1.0, 2, 1.0, [2 / 3, 0, 1 / 3, 0]),
        (1.0, None, 0.0, [1, 0, 0, 0]),
        (1.0, None, 0.4, [1, 0, 0, 0]),
        (1.0, None, 0.6, [2 / 3, 0, 1 / 3, 0]),
        (1.0, 3, 0.9, [0.5 / 0.95, 0.2 / 0.95, 0.25 / 0.95, 0]),
    ],
)
def test_samples_follow_the_truncated_distribution(
    temperature: float, top_k: int | None, top_p: float, expected: list[float]
) -> None:
    actual = sample_frequencies(temperature, top_k, top_p)
    assert actual.tolist() == pytest.approx(expected, abs=0.012)
    assert [bool(share) for share in actual] == [share > 0 for share in expected]


def test_a_full_context_is_reencoded_from_its_second_half() -> None:
    model = Chain()
    tokens = list(
        decoding.stream_tokens(model, (make_tables(2),), torch.zeros(2, 3, dtype=torch.long), 12, context_length=6)
    )
    assert len(tokens) == 12
    assert model.input_lengths == [3, 1, 1, 1, 3, 1, 1, 1, 3, 1, 1, 1]


def test_uniform_noise_selects_by_cumulative_probability() -> None:
    probs = torch.tensor([0.25, 0.0, 0.5, 0.25]).expand(6, -1)
    noise = torch.tensor([0.0, 0.2, 0.25, 0.74, 0.75, 0.999])
    assert token_selection.select_by_noise(probs, noise).tolist() == [0, 0, 2, 2, 3, 3]
    assert int(token_selection.select_by_noise(torch.tensor([0.5, 0.499]), torch.tensor(0.9999))) == 1, (
        "rounding of the sum"
    )
