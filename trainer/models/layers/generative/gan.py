"""Generator and critic of a generative adversarial network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Generator(nn.Module):
    """Generator network, class-conditional if ``num_classes`` is given.

    The class embedding is concatenated to the noise.

    Args:
        net: network from the concatenated input to a sample.
        num_classes: number of classes, or None for an unconditional generator.
        embed_size: dimension of the class embedding.

    Shape:
        z: (B, Z)
        label: (B)
        output: (B, ...)

    References:
        Mirza and Osindero 2014, Conditional Generative Adversarial Nets
    """

    def __init__(self, net: nn.Module, num_classes: int | None, embed_size: int):
        super().__init__()
        self.class_embedding = None if num_classes is None else nn.Embedding(num_classes, embed_size)
        self.net = net

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.class_embedding is None:
            return self.net(z)
        assert label is not None, "a class-conditional generator needs labels"
        return self.net(torch.cat((z, self.class_embedding(label)), dim=1))


class Critic(nn.Module):
    """Projection discriminator ``head(h) + <v_label, h>`` with ``h = trunk(x)`` and a learned v for each class.

    Without labels the output is the first term.

    Args:
        trunk: network from a sample to features (B, width).
        width: number of features of the trunk.
        num_classes: number of classes, or None for an unconditional critic.
        spectral: divide each weight by its largest singular value, estimated by one step of power iteration in every
            training forward pass.

    Shape:
        x: (B, ...)
        label: (B)
        output: (B)

    References:
        Miyato and Koyama 2018, cGANs with Projection Discriminator.
        Miyato et al. 2018, Spectral Normalization for Generative Adversarial Networks.
    """

    def __init__(self, trunk: nn.Module, width: int, num_classes: int | None, spectral: bool):
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(width, 1)
        self.class_embedding = None if num_classes is None else nn.Embedding(num_classes, width)
        if self.class_embedding is not None:
            nn.init.normal_(self.class_embedding.weight, std=width**-0.5)
        if spectral:
            for module in [m for m in self.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding)]:
                spectral_norm(module)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.trunk(x)
        logits = self.head(h).squeeze(1)
        return (
            logits
            if label is None or self.class_embedding is None
            else logits + (self.class_embedding(label) * h).sum(1)
        )
