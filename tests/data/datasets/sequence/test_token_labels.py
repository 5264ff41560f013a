"""Token labels: targets, padding and invalid options."""

from __future__ import annotations

import pytest
import torch

from trainer.core.batch import IGNORE_INDEX
from trainer.core.dataset import Dataset
from trainer.core.split import TensorSplit
from trainer.data.datasets.sequence.token_labels import NeighborSum, TemporalOrder
from trainer.utils.errors import DataError


def rows(data: Dataset) -> list[tuple[list[int], list[int], int, torch.Tensor]]:
    """Return the tokens, padding, length and target of every training row."""
    split = data.train
    assert isinstance(split, TensorSplit)
    assert split.target is not None
    x, lengths = split.inputs["x"], split.inputs["lengths"].tolist()
    return [
        (row[:n].tolist(), row[n:].tolist(), n, target) for row, n, target in zip(x, lengths, split.target, strict=True)
    ]


def test_neighbor_sum_labels_steps_and_ignores_padding() -> None:
    data = NeighborSum(rows=300, shortest=1, longest=7, vocab_size=4, seed=0)
    covered_cases = set()
    for tokens, padding, length, tags in rows(data):
        tokens_with_border = [0, *tokens, 0]
        assert tags[:length].tolist() == [tokens_with_border[i] + tokens_with_border[i + 2] for i in range(length)]
        assert (tags[length:] == IGNORE_INDEX).all()
        covered_cases |= {length, *(f"padded with {token}" for token in padding)}
    assert covered_cases == {*range(1, 8), *(f"padded with {token}" for token in range(4))}
    assert data.info.sizes["num_classes"] == 7
    assert data.info.baseline["accuracy"] < 0.4


def test_temporal_order_class_is_order_of_special_tokens() -> None:
    data = TemporalOrder(rows=600, shortest=2, longest=9, vocab_size=5, seed=0)
    positions = set()
    for tokens, padding, length, target in rows(data):
        first, second = (position for position, token in enumerate(tokens) if token < 2)
        assert first < length // 2 <= second
        assert int(target) == 2 * tokens[first] + tokens[second]
        positions |= {(first, second)} | ({"special"} if {0, 1} & {*padding} else set())
    assert {"special", (0, 1), (0, 8), (3, 8)} <= positions  # ends and middles, and padding that misleads
    assert data.info.class_names[int(rows(data)[0][3])] in ("xx", "xy", "yx", "yy")


def test_predicted_labels_have_no_padding() -> None:
    data = NeighborSum(rows=20, shortest=2, longest=5, vocab_size=3, seed=0)
    lengths = data.test.batch(torch.arange(4), 0).inputs["lengths"].tolist()
    target = data.test.get_targets()
    assert target is not None
    prediction = {"label": target.clamp(min=0), "probabilities": torch.rand(4, 5, 5), "target": target}
    columns = data.decode_prediction(prediction, data.test, 0).columns
    assert columns["label"] == columns["target"]
    assert columns["row"] == range(4)
    assert [len(cells) for cells in columns["p_4"]] == lengths
    assert min(lengths) < 5


@pytest.mark.parametrize("kind", [NeighborSum, TemporalOrder])
def test_invalid_sizes_are_refused(kind: type[NeighborSum] | type[TemporalOrder]) -> None:
    with pytest.raises(DataError, match=r"shortest: 9 is more than data\.longest, 4"):
        kind(rows=10, shortest=9, longest=4, vocab_size=5, seed=0)


@pytest.mark.parametrize(("shortest", "vocab_size"), [(1, 5), (2, 2)])
def test_temporal_order_needs_two_positions_and_two_tokens(shortest: int, vocab_size: int) -> None:
    with pytest.raises(DataError, match=rf"given {shortest} and {vocab_size}"):
        TemporalOrder(rows=10, shortest=shortest, longest=4, vocab_size=vocab_size, seed=0)
