"""MLP denoiser: its equation, zero initialization, conditioning on time and class."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trainer.models.generative.mlp_denoiser import Denoiser
from trainer.models.layers.generative.time_embedding import TimeEmbedding


def make_denoiser(num_classes: int | None = 3) -> Denoiser:
    """Build a denoiser whose output layer is not zero-initialized."""
    model = Denoiser(in_features=2, width=7, blocks=2, num_classes=num_classes)
    torch.nn.init.normal_(model.out_proj.weight)
    return model


def test_untrained_denoiser_predicts_zero() -> None:
    model = Denoiser(in_features=2, width=8, blocks=2, num_classes=None)
    assert not model(torch.randn(5, 2), torch.rand(5)).any()


def test_forward_matches_equation() -> None:
    model, x, time, label = make_denoiser(), torch.randn(4, 2), torch.rand(4), torch.tensor([0, 1, 2, 3])
    waves = torch.tensor([10000 ** (-2 * i / 7) for i in range(4)])
    angle = 1000 * time[:, None] * waves
    m = torch.cat((angle.sin(), angle.cos()), 1)[:, :7]
    first, _, second = model.time_embedding.mlp
    m = F.silu(second(F.silu(first(m))) + model.time_embedding.class_embedding.weight[label])  # type: ignore[union-attr]
    h = model.in_proj(x)
    for block in model.blocks:
        h = h + block.linear2(F.silu(block.linear1(h) + block.cond_proj(m)))  # type: ignore[operator]
    torch.testing.assert_close(model(x, time, label), model.out_proj(h))


def test_missing_label_is_null_class() -> None:
    model, x, time = make_denoiser(), torch.randn(4, 2), torch.rand(4)
    torch.testing.assert_close(model(x, time), model(x, time, torch.full((4,), 3)))
    assert not torch.allclose(model(x, time), model(x, time, torch.zeros(4, dtype=torch.long)), atol=1e-3)


@pytest.mark.parametrize("width", [1, 7, 32])
def test_timestamps_a_millisecond_apart_are_distinguished(width: int) -> None:
    embedding = TimeEmbedding(width, None)
    embedding.mlp = torch.nn.Identity()  # type: ignore[assignment]
    embeddings = embedding(torch.arange(1001) / 1000)
    assert embeddings.shape == (1001, width)
    assert torch.pdist(embeddings).min() > (0.05 if width > 1 else -1)


def test_rows_of_a_batch_are_independent() -> None:
    model, x, time = make_denoiser(None), torch.randn(4, 2), torch.rand(4)
    torch.testing.assert_close(model(x, time)[1:2], model(x[1:2], time[1:2]))
