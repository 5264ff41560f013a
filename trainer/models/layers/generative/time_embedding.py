"""Embedding of diffusion time and class label."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.models.layers.attention.positional_encoding import compute_angles_at

TIME_SCALE = 1000.0
"""Number of sinusoidal positions that time 1 corresponds to, the 1000 diffusion steps of Ho et al. 2020."""


class TimeEmbedding(nn.Module):
    """Sinusoidal time embedding with an MLP, plus a learned class embedding.

    Class ``num_classes`` is the null class of classifier-free guidance, used for dropped labels and if no labels are
    given.

    Args:
        width: dimension of the embedding.
        num_classes: number of classes, or None for an unconditional model.

    Shape:
        time: (B), in [0, 1]
        label: (B)
        output: (B, width)

    References:
        Ho et al. 2020, Denoising Diffusion Probabilistic Models.
        Ho and Salimans 2022, Classifier-Free Diffusion Guidance.
    """

    def __init__(self, width: int, num_classes: int | None = None):
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.class_embedding = None if num_classes is None else nn.Embedding(num_classes + 1, width)
        self.silu = nn.SiLU()

    def forward(self, time: Tensor, label: Tensor | None = None) -> Tensor:
        angles = compute_angles_at(TIME_SCALE * time, self.width)
        embedding = self.mlp(torch.cat((angles.sin(), angles.cos()), 1)[:, : self.width])
        if self.class_embedding is not None:
            null = self.class_embedding.num_embeddings - 1
            embedding = embedding + self.class_embedding(
                torch.full_like(time, null, dtype=torch.long) if label is None else label
            )
        return self.silu(embedding)
