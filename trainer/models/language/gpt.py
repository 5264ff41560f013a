"""A language model of Transformer blocks that see no later token."""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.decoding import DecoderState
from trainer.core.types import PositiveInt
from trainer.models.layers.attention.transformer import BlockOptions, TransformerConfig, TransformerStack


class GPT(nn.Module):
    """Radford et al. 2019 (GPT-2): ``p(x) = prod_t p(x_t | x_<t)`` by causal blocks. Weights start normal with
    deviation .02, and those that end a branch with .02 / sqrt(2 layers), so that the sum of all branches starts no
    larger for more of them. ``tied`` scores tokens by the vectors they are read with (Press and Wolf 2017). ``decode``
    goes on from the keys and values of the tokens before. More than ``seq_len`` tokens are too many for learned
    positions alone.

    Raises ValueError for heads that cannot share the width, and for an ``attention`` that sees later tokens.
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
        tied: bool = True,
        **blocks: Unpack[BlockOptions],
    ):
        super().__init__()
        plan = TransformerConfig(seq_len=seq_len, **(self.option_defaults | blocks))
        self.embed = nn.Embedding(vocab_size, plan.width)
        # Sines are far larger than the vectors of tokens at the start (Vaswani et al. 2017, section 3.4).
        self.scale = plan.width**0.5 if plan.positions == "sinusoidal" else 1.0
        self.blocks = TransformerStack(plan, layers, causal=True)
        self.head = None if tied else nn.Linear(plan.width, vocab_size, bias=False)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear | nn.Embedding):
                ends_a_branch = name.endswith((".out", ".feedforward.2"))
                nn.init.normal_(layer.weight, std=0.02 / (2 * layers) ** 0.5 if ends_a_branch else 0.02)
            if isinstance(layer, nn.Linear) and layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def decode(
        self, tokens: Tensor, memory: DecoderState = (), state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Scores of the token after each of ``tokens`` (B, T), (B, T, V), and the state to go on from: keys and values
        (B, heads, steps so far, D) of each block. There is nothing to remember but the past, so no memory is read."""
        x, state = self.blocks(self.scale * self.embed(tokens), past=state or ())
        return F.linear(x, self.embed.weight) if self.head is None else self.head(x), state

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(x)[0]
