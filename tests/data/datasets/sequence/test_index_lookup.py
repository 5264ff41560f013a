"""Index lookup: targets, baselines and invalid options."""

from __future__ import annotations

import pytest
import torch

from trainer.core.split import TensorSplit
from trainer.data.datasets.sequence.index_lookup import IndexLookup
from trainer.utils.errors import DataError


def test_target_is_token_at_position_of_query() -> None:
    data = IndexLookup(rows=2000, length=5, symbols=3, seed=0)
    assert data.info.sizes == {"vocab_size": 8, "seq_len": 6, "num_classes": 3, "out_features": 3}
    queries = set()
    for split in (data.train, data.val, data.test):
        assert isinstance(split, TensorSplit)
        assert split.target is not None
        x, y = split.inputs["x"], split.target
        assert x[:, :5].max() == 2
        for row, answer in zip(x.tolist(), y.tolist(), strict=True):
            queries.add(row[5])
            assert row[row[5] - 3] == answer
    assert queries == {3, 4, 5, 6, 7}


def test_neither_the_query_nor_the_majority_class_suffices() -> None:
    """The most frequent symbol of a row is far from right, and the query alone is near chance."""
    data = IndexLookup(rows=20_000, length=12, symbols=8, seed=0)
    assert data.info.baseline["accuracy"] == pytest.approx(1 / 8, abs=0.015)
    assert isinstance(data.train, TensorSplit)
    x, y = data.train.inputs["x"], data.train.target
    assert y is not None
    counts = torch.nn.functional.one_hot(x[:, :12], 8).sum(1)
    assert float((counts.argmax(1) == y).double().mean()) == pytest.approx(0.28, abs=0.02)
    for position in range(12):
        assert y[x[:, 12] == 8 + position].bincount().max() < 0.17 * (x[:, 12] == 8 + position).sum()


def test_one_symbol_is_refused() -> None:
    with pytest.raises(DataError, match=r"symbols: 1 given; at least 2 symbols are needed"):
        IndexLookup(rows=10, length=3, symbols=1, seed=0)
