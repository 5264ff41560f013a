"""Transformers over pictures: their tokens are patches, or places in the map of a convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.attention.transformer import TransformerConfig, TransformerStack
from trainer.models.layers.conv.conv_utils import compute_halved_sizes
from trainer.models.layers.conv.residual import ResNetTrunk

MIN_PATCHES_PER_SIDE = 4
"""Patches along a side where the user does not say how large they are."""


class EncoderOptions(TypedDict, total=False):
    """What a user may choose of the Transformer over the tokens of a picture."""

    embed_size: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    hidden: PositiveInt
    dropout: Probability
    positions: Literal["learned", "sinusoidal"]
    pool: Literal["class", "mean"]


class _BaseViT(nn.Module):
    """A map (B, D, h, w) of ``tokens`` places, then blocks with the norm in front, and a linear head."""

    def __init__(self, embed: nn.Module, tokens: int, out_features: int, options: EncoderOptions):
        super().__init__()
        size = options["embed_size"]
        self.embed = embed
        self.class_token = nn.Parameter(torch.zeros(1, 1, size)) if options["pool"] == "class" else None
        plan = TransformerConfig(
            width=size,
            heads=options["heads"],
            hidden=options["hidden"],
            activation="gelu",
            norm="pre",
            dropout=options["dropout"],
            positions=options["positions"],
            seq_len=tokens + (self.class_token is not None),
            attention="full",
            attention_size=1,
        )
        self.encoder = TransformerStack(plan, options["layers"])
        self.head = nn.Linear(size, out_features)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)  # (B, h * w, D), row after row
        if self.class_token is not None:
            tokens = torch.cat((self.class_token.expand(len(x), -1, -1), tokens), 1)
        steps, _ = self.encoder(tokens)
        return self.head(steps.mean(1) if self.class_token is None else steps[:, 0])


class ViT(_BaseViT):
    """Dosovitskiy et al. 2021. Squares of ``patch`` pixels, each ``W x_p + b``, with positions added, are read by
    Transformer blocks (Vaswani et al. 2017, the norm in front); the head reads a learned token that stands before
    them, or their mean. Without ``patch`` it is the largest that leaves 4 along each side.

    Raises ValueError for a patch that does not divide the image, and for heads that cannot share
    ``embed_size``.
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    option_defaults: ClassVar[EncoderOptions] = {
        "embed_size": 64,
        "layers": 4,
        "heads": 4,
        "hidden": 128,
        "dropout": 0.0,
        "positions": "learned",
        "pool": "class",
    }

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        out_features: PositiveInt,
        patch: PositiveInt | None = None,
        **encoder: Unpack[EncoderOptions],
    ):
        fitting = [n for n in range(1, min(height, width) + 1) if height % n == width % n == 0]
        if patch is None:
            patch = max(n for n in fitting if n == 1 or min(height, width) // n >= MIN_PATCHES_PER_SIDE)
        if patch not in fitting:
            raise ValueError(
                f"patches of {patch} do not divide an image of {height} x {width}; {', '.join(map(str, fitting))} do"
            )
        encoder = self.option_defaults | encoder
        size = encoder["embed_size"]
        embed = nn.Conv2d(in_channels, size, patch, stride=patch)
        super().__init__(embed, (height // patch) * (width // patch), out_features, encoder)


class HybridCNNTransformer(_BaseViT):
    """The hybrid of Dosovitskiy et al. 2021, section 3.1: the map of a residual network (He et al. 2015), cut before
    its pool, is the picture, and each place in it a token. The size of the map follows from that of the image.

    Raises ValueError for an image of which the trunk leaves a single place, and for heads that cannot share
    ``embed_size``.
    """

    shapes = "x (B, C, H, W) -> (B, C)"

    option_defaults: ClassVar[EncoderOptions] = {
        "embed_size": 64,
        "layers": 2,
        "heads": 4,
        "hidden": 128,
        "dropout": 0.0,
        "positions": "learned",
        "pool": "mean",
    }

    def __init__(
        self,
        in_channels: PositiveInt,
        height: PositiveInt,
        width: PositiveInt,
        out_features: PositiveInt,
        block: Literal["basic", "bottleneck"] = "basic",
        blocks: Sequence[PositiveInt] = (1, 1),
        widths: Sequence[PositiveInt] = (32, 64),
        stem: Literal["imagenet", "small"] = "imagenet",
        **encoder: Unpack[EncoderOptions],
    ):
        trunk = ResNetTrunk(in_channels, block, blocks, widths, stem)
        halved = len(widths) - 1 + (2 if stem == "imagenet" else 0)
        rows, columns = compute_halved_sizes(height, width, halved)[-1]
        if rows * columns == 1:
            raise ValueError(
                f"the trunk halves an image of {height} x {width} {halved} times, which leaves one token and nothing"
                " to attend to; choose fewer stages or the stem small"
            )
        encoder = self.option_defaults | encoder
        embed = nn.Sequential(trunk, nn.Conv2d(trunk.out_channels, encoder["embed_size"], 1))
        super().__init__(embed, rows * columns, out_features, encoder)
