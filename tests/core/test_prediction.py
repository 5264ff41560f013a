"""Tests of the conversion of predictions to columns."""

import numpy as np
import pytest
import torch

from trainer.core import prediction
from trainer.core.batch import IGNORE_INDEX
from trainer.core.dataset_info import DatasetInfo, TargetInfo, TextInfo
from trainer.data.encoding.tokenizers import CharacterTokenizer


def test_classes_become_names_with_one_probability_each() -> None:
    info = DatasetInfo(sizes={}, class_names=["cat", "dog"])
    fields = {"label": torch.tensor([1, 0]), "probabilities": torch.tensor([[0.25, 0.75], [1.0, 0.0]])}
    columns = prediction.decode(fields, info)
    assert columns["label"] == ["dog", "cat"]
    np.testing.assert_array_equal(columns["p_dog"], [0.75, 0])
    assert list(columns) == ["label", "p_cat", "p_dog"]


def test_classes_without_names_are_numbers_and_padding_is_left_out() -> None:
    fields = {"label": torch.tensor([[2, 0, 1], [1, IGNORE_INDEX, IGNORE_INDEX]])}
    assert prediction.decode(fields, DatasetInfo(sizes={})) == {"label": [[2, 0, 1], [1]]}


def test_class_sets_are_joined() -> None:
    info = DatasetInfo(sizes={}, class_names=["a", "b", "c"])
    sets = torch.tensor([[True, False, True], [False, False, False]])
    assert prediction.decode({"class_set": sets}, info) == {"set": ["a|c", ""]}


def test_numbers_are_in_the_original_units() -> None:
    info = DatasetInfo(sizes={}, target=TargetInfo(scale=10.0, mean=5.0))
    columns = prediction.decode({"value": torch.tensor([[1.0], [-2.0]])}, info)
    np.testing.assert_array_equal(columns["value"], [15, -15])
    channels = TargetInfo(channel_names=["x", "y"], channel_moments=([1, 2], [10, 100]))
    columns = prediction.decode({"value": torch.ones(3, 4, 2)}, DatasetInfo(sizes={}, target=channels))
    np.testing.assert_array_equal(columns["value_y"], np.full((3, 4), 102.0))


def test_tokens_become_text_up_to_the_end_token() -> None:
    tokenizer = CharacterTokenizer(["abc"], unknown=False)
    info = DatasetInfo(sizes={}, text=TextInfo(target_tokenizer=tokenizer, end_token=tokenizer.vocab_size))
    tokens = torch.tensor(
        [[*tokenizer.encode("ab"), tokenizer.vocab_size, 0], [*tokenizer.encode("c"), -100, -100, -100]]
    )
    assert prediction.decode({"tokens": tokens}, info) == {"text": ["ab", "c"]}


def test_predictions_of_different_lengths_are_padded() -> None:
    parts = [{"tokens": torch.ones(2, 3, dtype=torch.long)}, {"tokens": torch.zeros(1, 2, dtype=torch.long)}]
    tokens = prediction.concatenate(parts)["tokens"]
    assert tokens.tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, IGNORE_INDEX]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.long])
def test_targets_are_converted_like_predictions(dtype: torch.dtype) -> None:
    info = DatasetInfo(sizes={}, class_names=["cat", "dog"], target=TargetInfo(scale=2.0))
    column = prediction.decode_target(torch.tensor([1, 0], dtype=dtype), info)
    assert column is not None
    assert list(column) == (["dog", "cat"] if dtype == torch.long else [2.0, 0.0])
