"""Recurrent networks over tokens: a class for a text, a tag for each token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.recurrences import expected, stack
from trainer.models.sequence.rnn import Tagger, TextRNN


def test_text_rnn_equals_rnn_on_embeddings() -> None:
    torch.manual_seed(0)
    model = TextRNN(7, 2, "gru", 3, 4, 1, True, 0.0, "mean", "default").eval()
    x, lengths = torch.randint(7, (4, 6)), torch.tensor([2, 6, 1, 4])
    expected_output = expected(model.rnn, "gru", "mean", model.embedding(x).detach(), lengths.tolist())
    np.testing.assert_allclose(model(x, lengths).detach().numpy(), expected_output, atol=1e-5)
    torch.testing.assert_close(model(x.where(torch.arange(6) < lengths[:, None], 6), lengths), model(x, lengths))


def make_tagger(cell: str, bidirectional: bool = True, **options: Any) -> Tagger:
    torch.manual_seed(0)
    return Tagger(7, 5, cell, 3, 4, 2, bidirectional, 0.0, "default", **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_taggers_match_their_equations_and_ignore_padding(cell: str) -> None:
    model = make_tagger(cell)
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    inner = {name.removeprefix("rnn."): value for name, value in weights.items()}
    x, lengths = torch.randint(7, (4, 6)), [2, 6, 1, 4]
    output = model(x, torch.tensor(lengths)).detach().numpy()
    assert output.shape == (4, 5, 6)
    for row, length, found in zip(x.numpy(), lengths, output, strict=True):
        steps, _ = stack(cell, weights["embedding.weight"][row[:length]], inner)
        expected_output = steps @ weights["head.weight"].T + weights["head.bias"]
        np.testing.assert_allclose(found[:, :length].T, expected_output, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_only_bidirectional_tagger_uses_later_tokens(bidirectional: bool) -> None:
    model = make_tagger("lstm", bidirectional)
    x = torch.randint(6, (1, 8))
    modified = x.clone()
    modified[0, 7] = 6
    changed = (model(x) - model(modified)).abs().amax((0, 1)) > 0
    assert changed.tolist() == [bidirectional] * 7 + [True]  # so it cannot generate text


TAGS = ("data=neighbor_sum", "data.rows=2000", "data.longest=10", "data.vocab_size=3", "epochs=8", "batch_size=32")


@pytest.mark.slow
def test_neighbor_tags_need_bidirectional_tagger() -> None:
    assert lab("model=bilstm_tagger", *TAGS).test()["accuracy"] > 0.97
    assert lab("model=bilstm_tagger", "model.bidirectional=false", *TAGS).test()["accuracy"] < 0.55


@pytest.mark.slow
@pytest.mark.parametrize("model", ["text_lstm", "text_gru"])
def test_token_order_is_learned(model: str) -> None:
    overrides = (
        "data.rows=1500",
        "data.shortest=4",
        "data.longest=8",
        "epochs=8",
        "batch_size=32",
        "optimizer.lr=1e-2",
    )
    assert lab(f"model={model}", "data=temporal_order", *overrides).test()["accuracy"] > 0.95
