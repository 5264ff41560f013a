"""Decoder-only Transformer language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Unpack

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.decoding import DecoderState
from trainer.core.types import PositiveInt
from trainer.models.layers.attention.transformer import BlockOptions, TransformerConfig, TransformerStack


class GPT(nn.Module):
    """GPT-2 style language model ``p(x) = prod_t p(x_t | x_<t)`` with causal Transformer blocks.

    Weights are initialized from N(0, 0.02^2), and output projections of residual branches with standard deviation 0.02
    / sqrt(2 layers), so that the variance of the residual stream does not grow with depth. Only learned positions limit
    the context to ``seq_len`` tokens.

    Args:
        vocab_size: number of tokens V.
        seq_len: maximum number of tokens with learned positions.
        layers: number of Transformer blocks.
        tie_weights: share the weights of the input embedding and the output layer.
        **blocks: options of the Transformer blocks, see ``BlockOptions``.

    Raises:
        ValueError: a width that ``heads`` does not divide, or an ``attention`` that cannot be causal.

    References:
        Press and Wolf 2017, Using the Output Embedding to Improve Language Models (tied weights).
        Radford et al. 2019, Language Models are Unsupervised Multitask Learners.
    """

    shapes = "x (B, S) -> (B, S, V)"

    option_defaults: ClassVar[BlockOptions] = {
        "width": 128,
        "heads": 4,
        "hidden": 512,
        "activation": "gelu",
        "norm": "pre",
        "dropout": 0.0,
        "positions": "rotary",
        "attention": "full",
        "attention_size": 32,
    }

    def __init__(
        self,
        vocab_size: PositiveInt,
        seq_len: PositiveInt,
        layers: PositiveInt = 4,
        tie_weights: bool = True,
        **blocks: Unpack[BlockOptions],
    ):
        super().__init__()
        config = TransformerConfig(seq_len=seq_len, **(self.option_defaults | blocks))
        self.embed = nn.Embedding(vocab_size, config.width)
        # Sinusoidal encodings are much larger than initial token embeddings (Vaswani et al. 2017, section 3.4).
        self.scale = config.width**0.5 if config.positions == "sinusoidal" else 1.0
        self.transformer = TransformerStack(config, layers, causal=True)
        self.head = None if tie_weights else nn.Linear(config.width, vocab_size, bias=False)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear | nn.Embedding):
                is_output_projection = name.endswith((".out_proj", ".feedforward.2"))
                nn.init.normal_(layer.weight, std=0.02 / (2 * layers) ** 0.5 if is_output_projection else 0.02)
            if isinstance(layer, nn.Linear) and layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def repeated_blocks(self) -> Sequence[nn.Module]:
        return tuple(self.transformer.blocks)

    def decode(
        self, tokens: Tensor, memory: DecoderState = (), state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Return next-token logits (B, T, V) after ``tokens`` (B, T) and the key-value cache.

        The cache holds keys and values (B, heads, past steps, D) per block. ``memory`` is ignored.

        Args:
            tokens: tokens (B, T) that continue the text.
            memory: ignored.
            state: key-value cache of the earlier tokens; None at the start.
        """
        x, state = self.transformer(self.scale * self.embed(tokens), cache=state or ())
        return F.linear(x, self.embed.weight) if self.head is None else self.head(x), state

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(x)[0]
