"""What a denoiser is told beside its input: the time, and the class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.models.layers.attention.positional_encoding import compute_angles_at

TIME_SCALE = 1000.0
"""What a time of 1 is among the places that the sines are made for: the thousand steps of Ho et al. 2020."""


class TimeEmbedding(nn.Module):
    """time (B), label (B) -> (B, width)

    Sines and cosines of ``1000 time`` (Ho et al. 2020) through two layers, plus a learned vector of the class. Class
    number ``num_classes`` is the null class, which stands for any (Ho and Salimans 2022): rows whose label was dropped
    have it, and all rows where no labels are given.
    """

    def __init__(self, width: int, num_classes: int | None = None):
        super().__init__()
        self.width = width
        self.mix = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.classes = None if num_classes is None else nn.Embedding(num_classes + 1, width)
        self.silu = nn.SiLU()

    def forward(self, time: Tensor, label: Tensor | None = None) -> Tensor:
        angles = compute_angles_at(TIME_SCALE * time, self.width)
        moment = self.mix(torch.cat((angles.sin(), angles.cos()), 1)[:, : self.width])
        if self.classes is not None:
            null = self.classes.num_embeddings - 1
            moment = moment + self.classes(torch.full_like(time, null, dtype=torch.long) if label is None else label)
        return self.silu(moment)
