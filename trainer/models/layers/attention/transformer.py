"""The block that encoders, decoders and language models are stacks of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

import torch
from torch import Tensor, nn

from trainer.core.decoding import State
from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.attention.attention import Attend, Full, MultiHeadAttention, Reference
from trainer.models.layers.attention.efficient_attention import LSH, Chunked, Linear, Linformer, Performer
from trainer.models.layers.attention.positional_encoding import Learned, Sinusoidal, Turn, Unplaced, turn
from trainer.utils.errors import ConfigError

KINDS: dict[str, type[Attend]] = {
    "full": Full,
    "reference": Reference,
    "linear": Linear,
    "performer": Performer,
    "linformer": Linformer,
    "chunked": Chunked,
    "lsh": LSH,
}
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class BlockOptions(TypedDict):
    """What a user may choose of the blocks of any Transformer: ``**blocks: Unpack[BlockOptions]``."""

    width: PositiveInt
    heads: PositiveInt
    hidden: PositiveInt
    activation: Literal["relu", "gelu"]
    norm: Literal["pre", "post"]
    dropout: Probability
    positions: Literal["sinusoidal", "learned", "rotary", "none"]
    attention: Literal["full", "reference", "linear", "performer", "linformer", "chunked", "lsh"]
    attention_size: PositiveInt


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the blocks of a stack share: ``BlockOptions``, for how many steps, and the rounds of hashing.

    Raises ConfigError for heads that cannot share the width, and for rotary positions on an odd share of it.
    """

    width: int
    heads: int
    hidden: int
    activation: Literal["relu", "gelu"]
    norm: Literal["pre", "post"]
    dropout: float
    positions: Literal["sinusoidal", "learned", "rotary", "none"]
    seq_len: int
    attention: Literal["full", "reference", "linear", "performer", "linformer", "chunked", "lsh"]
    attention_size: int
    attention_rounds: int = 1

    def __post_init__(self) -> None:
        if self.width % self.heads:
            fitting = ", ".join(str(n) for n in range(1, self.width + 1) if self.width % n == 0)
            raise ConfigError(f"model.heads: {self.heads} heads cannot share a width of {self.width}; {fitting} can")
        if self.positions == "rotary" and self.head_dim % 2:
            raise ConfigError(
                f"model.positions: rotary turns pairs, so model.width / model.heads must be even; it is {self.head_dim}"
            )

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    def place(self) -> nn.Module:
        """What adds positions to the input of a stack."""
        if self.positions == "learned":
            return Learned(self.seq_len, self.width)
        return Sinusoidal() if self.positions == "sinusoidal" else Unplaced()

    def attend(self, *, causal: bool = False, cross: bool = False) -> MultiHeadAttention:
        """Attention of the chosen kind.

        Raises ConfigError for a kind that cannot be causal, or cannot read another sequence, where that is asked.
        """
        kind = KINDS[self.attention]
        if causal and kind.not_causal:
            self._refuse("be causal", kind.not_causal, [name for name, k in KINDS.items() if not k.not_causal])
        if cross and kind.not_cross:
            self._refuse("read another sequence", kind.not_cross, [n for n, k in KINDS.items() if not k.not_cross])
        buckets = 2 * -(-self.seq_len // self.attention_size)
        sizes: dict[str, tuple[int, ...]] = {
            "performer": (self.head_dim, self.attention_size),
            "linformer": (self.seq_len, self.attention_size),
            "chunked": (self.attention_size,),
            "lsh": (self.head_dim, buckets, self.attention_size, self.attention_rounds),
        }
        return MultiHeadAttention(self.width, self.heads, kind(*sizes.get(self.attention, ())))

    def _refuse(self, what: str, reason: str, able: list[str]) -> None:
        raise ConfigError(f"model.attention: {self.attention} {reason}, so it cannot {what}; {', '.join(able)} can")


class Block(nn.Module):
    """Attention to itself, to a memory with ``cross``, then two linear maps (Vaswani et al. 2017).

    Each is a branch f: ``norm(x + dropout(f(x)))`` with the norm ``post``, ``x + dropout(f(norm(x)))`` with ``pre``
    (Xiong et al. 2020). What runs past the branches is never dropped.
    """

    def __init__(self, plan: Plan, *, causal: bool = False, cross: bool = False):
        super().__init__()
        self.causal = causal
        self.is_pre = plan.norm == "pre"
        self.attention = plan.attend(causal=causal)
        self.cross = plan.attend(cross=True) if cross else None
        self.feedforward = nn.Sequential(
            nn.Linear(plan.width, plan.hidden), ACTIVATIONS[plan.activation](), nn.Linear(plan.hidden, plan.width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(plan.width) for _ in range(3 if cross else 2))
        self.dropout = nn.Dropout(plan.dropout)

    def forward(
        self,
        x: Tensor,
        real: Tensor | None = None,
        by: Turn | None = None,
        past: State = (),
        memory: State = (),
        memory_real: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """x (B, T, width) goes on from the ``past``, keys and values of the steps before it, or from nothing.

        real: which steps of past and x are, (B, S). memory, memory_real: keys and values of the other sequence and
        which of them are real. Gives (B, T, width), and keys and values with those of x behind them.
        """
        q, k, v = self.attention.look(self._enter(0, x), by)
        if past:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        x = self._leave(0, x, self.attention(q, k, v, real, self.causal))
        if self.cross is not None:
            x = self._leave(1, x, self.cross(self.cross.ask(self._enter(1, x)), *memory, memory_real))
        return self._leave(-1, x, self.feedforward(self._enter(-1, x))), (k, v)

    def _enter(self, branch: int, x: Tensor) -> Tensor:
        return self.norms[branch](x) if self.is_pre else x

    def _leave(self, branch: int, x: Tensor, found: Tensor) -> Tensor:
        x = x + self.dropout(found)
        return x if self.is_pre else self.norms[branch](x)


class Stack(nn.Module):
    """Positions, dropout, blocks, and a norm at the end: an encoder, or a decoder with ``causal`` or ``cross``."""

    def __init__(self, plan: Plan, layers: int, *, causal: bool = False, cross: bool = False):
        super().__init__()
        self.place = plan.place()
        self.dropout = nn.Dropout(plan.dropout)
        self.blocks = nn.ModuleList(Block(plan, causal=causal, cross=cross) for _ in range(layers))
        self.norm = nn.LayerNorm(plan.width)
        self.turned = plan.head_dim if plan.positions == "rotary" else 0

    def read(self, memory: Tensor) -> State:
        """Keys and values of a memory (B, S, width) for every block in turn."""
        return tuple(part for block in self.blocks for part in block.cross.read(memory))  # type: ignore[union-attr, operator]

    def forward(
        self,
        x: Tensor,
        real: Tensor | None = None,
        past: State = (),
        memory: State = (),
        memory_real: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """x (B, T, width) and what ``read`` made of a memory; arguments and results as those of the blocks."""
        start = past[0].shape[2] if past else 0
        x = self.dropout(self.place(x, start))
        by = turn(start, x.shape[1], self.turned, x.device) if self.turned else None
        kept: State = ()
        for i, block in enumerate(self.blocks):
            mine = slice(2 * i, 2 * i + 2)
            x, pair = block(x, real, by, past[mine], memory[mine], memory_real)
            kept += pair
        return self.norm(x), kept
