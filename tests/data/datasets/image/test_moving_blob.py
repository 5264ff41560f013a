"""Moving blob: the class is the direction, and no single frame reveals it."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.core.split import TensorSplit
from trainer.data.datasets.image.moving_blob import MovingBlob, class_velocities, matched_filter, render_blobs

OPTIONS: dict[str, Any] = {
    "rows": 500,
    "size": 16,
    "frames": 6,
    "directions": 8,
    "speed": 2.0,
    "radius": 1.5,
    "noise": 0.2,
    "seed": 0,
}


def frames_and_class(**changes: Any) -> tuple[Tensor, Tensor]:
    """Return all training rows, x (N, T, H, W) and y (N)."""
    split = MovingBlob(**OPTIONS | changes).train
    assert isinstance(split, TensorSplit)
    assert split.target is not None
    return split.inputs["x"].squeeze(2), split.target


def class_offsets(frames: int = 6, speed: float = 2.0) -> Tensor:
    return class_velocities(8, speed)[:, None] * torch.arange(frames)[:, None]


def accuracy(x: Tensor, y: Tensor) -> float:
    return float((matched_filter(x, class_offsets(x.shape[1]), 1.5) == y).float().mean())


def test_render_blobs_is_a_gaussian_on_a_torus() -> None:
    center = torch.tensor([0.3, 4.6])
    image = render_blobs(center, 5, 1.2)
    for row, column in product(range(5), range(5)):
        squares = [min((a - b) % 5, (b - a) % 5) ** 2 for a, b in zip((row, column), center.tolist(), strict=True)]
        assert float(image[row, column]) == pytest.approx(math.exp(-sum(squares) / (2 * 1.2**2)), abs=1e-5)


def test_frames_move_by_the_velocity_of_the_class() -> None:
    x, y = frames_and_class(noise=0.0)
    for label, (down, across) in {0: (0, 2), 2: (2, 0), 4: (0, -2), 6: (-2, 0)}.items():
        clips = x[y == label]
        torch.testing.assert_close(clips[:, 1:], clips[:, :-1].roll((down, across), (2, 3)), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_position_is_independent_of_class_in_every_frame() -> None:
    x, y = frames_and_class(noise=0.0, rows=5000)
    brightest = x.flatten(2).argmax(2)
    cell = brightest // 16 // 4 * 4 + brightest % 16 // 4  # of 4 x 4, (N, T)
    for label, frame in product(range(8), range(6)):
        counts = torch.bincount(cell[y == label, frame], minlength=16).float()
        expected = counts.mean()
        # Chi-square with 15 degrees of freedom: 48 of them stay below 45 but for one time in four hundred.
        assert ((counts - expected) ** 2 / expected).sum() < 45, (label, frame)


@pytest.mark.slow
def test_the_matched_filter_needs_the_order_of_the_frames() -> None:
    x, y = frames_and_class(rows=2000)
    assert accuracy(x, y) == 1.0
    assert accuracy(x.flip(1), (y + 4) % 8) == 1.0
    assert accuracy(x[:, :1], y) < 0.2
    order = torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(0)).argsort(1)
    assert accuracy(x[torch.arange(len(x))[:, None], order], y) < 0.7


def test_best_possible_accuracy_drops_under_noise() -> None:
    assert MovingBlob(**OPTIONS | {"noise": 5.0}).info.best_possible["accuracy"] < 0.5
