"""Vision Transformers over patches or over the feature map of a CNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, TypedDict, Unpack, cast

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.attention.transformer import TransformerConfig, TransformerStack
from trainer.models.layers.conv.conv_utils import compute_halved_sizes
from trainer.models.layers.conv.residual import ResNetTrunk

MIN_PATCHES_PER_SIDE = 4
"""Minimum number of patches per side for the default patch size."""


class EncoderOptions(TypedDict, total=False):
    """Keyword arguments of the Transformer encoder over image tokens."""

    embed_size: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    hidden: PositiveInt
    dropout: Probability
    positions: Literal["learned", "sinusoidal"]
    pool: Literal["class", "mean"]


class _BaseViT(nn.Module):
    """Transformer encoder (pre-norm) over a feature map (B, D, h, w) with a linear head.

    Args:
        embed: module from an image to the feature map.
        tokens: number of positions h * w.
    """

    def __init__(self, embed: nn.Module, tokens: int, out_features: int, options: EncoderOptions):
        super().__init__()
        size = options["embed_size"]
        self.embed = embed
        self.class_token = nn.Parameter(torch.zeros(1, 1, size)) if options["pool"] == "class" else None
        config = TransformerConfig(
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
        self.encoder = TransformerStack(config, options["layers"])
        self.head = nn.Linear(size, out_features)

    def repeated_blocks(self) -> Sequence[nn.Module]:
        return tuple(self.encoder.blocks)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)  # (B, h * w, D), row-major
        if self.class_token is not None:
            tokens = torch.cat((self.class_token.expand(x.shape[0], -1, -1), tokens), 1)
        steps, _ = self.encoder(tokens)
        return self.head(steps.mean(1) if self.class_token is None else steps[:, 0])


class ViT(_BaseViT):
    """Vision Transformer: patches ``W x_p + b`` with positional encodings, pre-norm blocks, and a linear head.

    The head reads a class token or the mean of the patches.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        out_features: number of outputs C.
        patch: patch side in pixels; by default the largest that gives at least 4 patches per side.
        **encoder: options of the Transformer encoder, see ``EncoderOptions``.

    Raises:
        ValueError: a patch size that does not divide the image, or an ``embed_size`` that ``heads`` does not divide.

    References:
        Dosovitskiy et al. 2021, An Image is Worth 16x16 Words.
        Vaswani et al. 2017, Attention Is All You Need.
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
        divisors = [n for n in range(1, min(height, width) + 1) if height % n == width % n == 0]
        if patch is None:
            patch = max(n for n in divisors if n == 1 or min(height, width) // n >= MIN_PATCHES_PER_SIDE)
        if patch not in divisors:
            raise ValueError(
                f"patches of {patch} do not divide an image of {height} x {width}; {', '.join(map(str, divisors))} do"
            )
        encoder = self.option_defaults | encoder
        size = encoder["embed_size"]
        embed = nn.Conv2d(in_channels, size, patch, stride=patch)
        super().__init__(embed, (height // patch) * (width // patch), out_features, encoder)


class HybridCNNTransformer(_BaseViT):
    """Hybrid Vision Transformer over the feature map of a ResNet trunk, one token per position.

    Args:
        in_channels: number of image channels C.
        height: image height in pixels.
        width: image width in pixels.
        out_features: number of outputs C.
        block: residual block: basic (two 3x3 convolutions) or bottleneck (1x1, 3x3, 1x1; four times as wide).
        blocks: residual blocks in each stage; every stage but the first halves the resolution.
        widths: channels of each stage.
        stem: small (3x3, stride 1) or imagenet (7x7 and pooling, a quarter of the resolution).
        **encoder: options of the Transformer encoder, see ``EncoderOptions``.

    Raises:
        ValueError: an image that the trunk reduces to a single token, or an ``embed_size`` that ``heads`` does not
            divide.

    References:
        Dosovitskiy et al. 2021, An Image is Worth 16x16 Words, section 3.1.
        He et al. 2015, Deep Residual Learning for Image Recognition.
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

    def repeated_blocks(self) -> Sequence[nn.Module]:
        trunk = cast(ResNetTrunk, self.embed.get_submodule("0"))
        return (*trunk.stages, *super().repeated_blocks())
