"""The two players of a generative adversarial network, around networks of any kind."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Generator(nn.Module):
    """z (B, Z), label (B) -> (B, ...)

    ``net`` of the noise, and beside it, if there are classes, a learned vector for the class (Mirza and Osindero 2014).
    """

    def __init__(self, net: nn.Module, num_classes: int | None, embed_size: int):
        super().__init__()
        self.embedding = None if num_classes is None else nn.Embedding(num_classes, embed_size)
        self.net = net

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.embedding is None:
            return self.net(z)
        assert label is not None, "a conditional generator is told the class"
        return self.net(torch.cat((z, self.embedding(label)), dim=1))


class Critic(nn.Module):
    """x (B, ...), label (B) -> (B)

    ``head(h) + <v_label, h>`` with ``h = trunk(x)``, (B, width), and a learned v for each class: the projection of
    Miyato and Koyama 2018. Without a label the first term stands alone. ``spectral`` divides every weight by its
    largest singular value, which one step of the power method follows in each forward of training (Miyato et al. 2018).
    """

    def __init__(self, trunk: nn.Module, width: int, num_classes: int | None, spectral: bool):
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(width, 1)
        self.classes = None if num_classes is None else nn.Embedding(num_classes, width)
        if self.classes is not None:
            nn.init.normal_(self.classes.weight, std=width**-0.5)
        if spectral:
            for module in [m for m in self.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding)]:
                spectral_norm(module)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.trunk(x)
        judged = self.head(h).squeeze(1)
        return judged if label is None or self.classes is None else judged + (self.classes(label) * h).sum(1)
