"""Mod3: the class depends on a sequence and an image together and on neither alone."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core.split import TensorSplit
from trainer.data.datasets.multimodal.mod3 import Mod3, class_patterns, nearest_pattern

SIZES = {"length": 10, "features": 8, "size": 28, "wavelength": 7.0}


def make_dataset(**changes: float) -> Mod3:
    return Mod3(**{"rows": 900, "noise": 1.0, "seed": 0} | SIZES | changes)  # type: ignore[arg-type]


def decode_inputs(split: object) -> tuple[Tensor, Tensor, Tensor]:
    """Return (a, b, y) of a split: the patterns of both inputs, and the class."""
    assert isinstance(split, TensorSplit)
    assert split.target is not None
    waves, stripes = class_patterns(**SIZES)  # type: ignore[arg-type]
    return (
        nearest_pattern(split.inputs["sequence"], waves),
        nearest_pattern(split.inputs["image"], stripes),
        split.target,
    )


def test_class_is_sum_of_input_patterns_modulo_3() -> None:
    dataset = make_dataset()
    assert dataset.input_shapes() == {"sequence": [10, 8], "image": [1, 28, 28]}
    for split in (dataset.train, dataset.val, dataset.test):
        a, b, y = decode_inputs(split)
        assert torch.equal((a + b) % 3, y)
    assert dataset.info.best_possible["accuracy"] == 1.0


def test_class_is_uniform_given_one_input() -> None:
    dataset = make_dataset()
    for split in (dataset.train, dataset.val, dataset.test):
        a, b, y = decode_inputs(split)
        for pattern in (a, b):
            counts = torch.bincount(3 * pattern + y, minlength=9)
            assert torch.equal(counts, torch.full((9,), len(split) // 9))
    assert dataset.info.baseline["accuracy"] == 1 / 3


def test_patterns_need_whole_inputs_and_low_noise() -> None:
    a, b, _ = decode_inputs(make_dataset().train)
    split = make_dataset().train
    assert isinstance(split, TensorSplit)
    waves, stripes = class_patterns(**SIZES)  # type: ignore[arg-type]
    number = nearest_pattern(split.inputs["sequence"][:, 3:4, :1], waves[:, 3:4, :1])
    pixel = nearest_pattern(split.inputs["image"][..., 3:4, 3:4], stripes[..., 3:4, 3:4])
    assert (number == a).double().mean() < 0.65
    assert (pixel == b).double().mean() < 0.65
    assert make_dataset(noise=50.0).info.best_possible["accuracy"] < 0.5
