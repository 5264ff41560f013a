"""A sequence and an image of which each alone says nothing about the class."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core.dataset import TensorSplit
from trainer.data.datasets.multimodal.mod3 import Mod3, class_patterns, nearest_pattern

SIZES = {"length": 10, "features": 8, "size": 28, "wavelength": 7.0}


def data(**changes: float) -> Mod3:
    return Mod3(**{"rows": 900, "noise": 1.0, "seed": 0} | SIZES | changes)  # type: ignore[arg-type]


def told(split: object) -> tuple[Tensor, Tensor, Tensor]:
    """(a, b, y) of a split: what each input shows, and the class."""
    assert isinstance(split, TensorSplit)
    assert split.target is not None
    waves, stripes = class_patterns(**SIZES)  # type: ignore[arg-type]
    return (
        nearest_pattern(split.inputs["sequence"], waves),
        nearest_pattern(split.inputs["image"], stripes),
        split.target,
    )


def test_each_input_can_be_read_and_the_two_give_the_class() -> None:
    made = data()
    assert made.input_shapes() == {"sequence": [10, 8], "image": [1, 28, 28]}
    for split in (made.train, made.val, made.test):
        a, b, y = told(split)
        assert torch.equal((a + b) % 3, y)
    assert made.info.best_possible["accuracy"] == 1.0


def test_the_class_is_uniform_given_either_input() -> None:
    made = data()
    for split in (made.train, made.val, made.test):
        a, b, y = told(split)
        for alone in (a, b):
            counts = torch.bincount(3 * alone + y, minlength=9)
            assert torch.equal(counts, torch.full((9,), len(split) // 9))
    assert made.info.baseline["accuracy"] == 1 / 3


def test_one_step_or_pixel_is_not_enough_and_noise_can_hide_everything() -> None:
    a, b, _ = told(data().train)
    split = data().train
    assert isinstance(split, TensorSplit)
    waves, stripes = class_patterns(**SIZES)  # type: ignore[arg-type]
    number = nearest_pattern(split.inputs["sequence"][:, 3:4, :1], waves[:, 3:4, :1])
    pixel = nearest_pattern(split.inputs["image"][..., 3:4, 3:4], stripes[..., 3:4, 3:4])
    assert (number == a).double().mean() < 0.65
    assert (pixel == b).double().mean() < 0.65
    assert data(noise=50.0).info.best_possible["accuracy"] < 0.5
