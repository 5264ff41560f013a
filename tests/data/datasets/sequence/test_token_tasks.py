"""Sequence reversal: targets, order of rows, baseline and invalid options."""

from __future__ import annotations

import pytest
import torch

from trainer.core.split import TensorSplit
from trainer.data.datasets.sequence.token_tasks import Reverse
from trainer.utils.errors import DataError


def test_reverse_targets_and_unique_rows() -> None:
    data = Reverse(rows=500, length=4, vocab_size=6, seed=0)
    rows = []
    for split in (data.train, data.val, data.test):
        assert isinstance(split, TensorSplit)
        assert split.target is not None
        assert torch.equal(split.target.flip(1), split.inputs["x"])
        rows += [tuple(row) for row in split.inputs["x"].tolist()]
    assert len(rows) == len(set(rows)) == 500
    assert {token for row in rows for token in row} == set(range(6))


def test_rows_are_shuffled() -> None:
    x = Reverse(rows=500, length=4, vocab_size=6, seed=0).train.batch(torch.arange(300), 0).inputs["x"]
    assert abs(torch.corrcoef(torch.stack((torch.arange(300.0), x[:, 0].float())))[0, 1]) < 0.2


def test_guessing_scores_at_chance() -> None:
    info = Reverse(rows=5000, length=8, vocab_size=10, seed=0).info
    assert info.baseline["token_accuracy"] == pytest.approx(0.1, abs=0.02)
    assert info.baseline["exact_match"] < 0.01
    assert info.sizes == {"source_vocab_size": 10, "vocab_size": 10, "seq_len": 8, "horizon": 8}


def test_more_rows_than_sequences_are_refused() -> None:
    with pytest.raises(DataError, match=r"rows: 100 given, but only 8 distinct sequences of 2\^3 were drawn"):
        Reverse(rows=100, length=3, vocab_size=2, seed=0)
