"""Transformer blocks and stacks for encoders, decoders and language models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypedDict, cast

from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.attention.attention import (
    AttentionKernel,
    FullAttention,
    MultiHeadAttention,
    ReferenceAttention,
)
from trainer.models.layers.attention.efficient_attention import (
    ChunkedAttention,
    LinearAttention,
    LinformerAttention,
    PerformerAttention,
)
from trainer.models.layers.attention.kv_cache import KVCache, count_cached_steps, extend_cache, get_block_cache
from trainer.models.layers.attention.lsh_attention import LSHAttention
from trainer.models.layers.attention.positional_encoding import (
    LearnedPositionalEncoding,
    NoPositionalEncoding,
    RotaryCache,
    SinusoidalPositionalEncoding,
    rotary_cache,
)
from trainer.utils.choices import get_choice

ATTENTION_KERNELS: dict[str, type[AttentionKernel]] = {
    "full": FullAttention,
    "reference": ReferenceAttention,
    "linear": LinearAttention,
    "performer": PerformerAttention,
    "linformer": LinformerAttention,
    "chunked": ChunkedAttention,
    "lsh": LSHAttention,
}
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class BlockOptions(TypedDict, total=False):
    """Keyword arguments of the blocks of every Transformer, used as ``**blocks: Unpack[BlockOptions]``.

    Their meaning is described in ``TransformerConfig``; each model has defaults of its own in ``option_defaults``.
    """

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
class TransformerConfig:
    """Configuration of a Transformer stack: ``BlockOptions``, sequence length and LSH hash rounds.

    Attributes:
        width: embedding dimension of the residual stream.
        heads: number of attention heads; divides ``width``.
        hidden: hidden size of the feedforward network.
        activation: activation of the feedforward network.
        norm: layer norm before each residual branch (``pre``) or after its addition (``post``).
        dropout: dropout probability of the embeddings and of each residual branch.
        positions: positional encoding.
        seq_len: maximum number of steps with learned positions or linformer attention.
        attention: attention kernel, see ``ATTENTION_KERNELS``.
        attention_size: random features of performer, rank of linformer, chunk length of chunked and lsh.
        attention_rounds: number of hashes of lsh.

    Raises:
        ValueError: a width that ``heads`` does not divide, or rotary positions with an odd head dimension.
    """

    width: int
    heads: int
    hidden: int
    activation: Literal["relu", "gelu"] = "gelu"
    norm: Literal["pre", "post"] = "pre"
    dropout: float = 0.0
    positions: Literal["sinusoidal", "learned", "rotary", "none"] = "sinusoidal"
    seq_len: int
    attention: Literal["full", "reference", "linear", "performer", "linformer", "chunked", "lsh"] = "full"
    attention_size: int = 32
    attention_rounds: int = 1

    def __post_init__(self) -> None:
        if self.width % self.heads:
            fitting = ", ".join(str(n) for n in range(1, self.width + 1) if self.width % n == 0)
            raise ValueError(f"heads: {self.heads} does not divide the width {self.width}; {fitting} do")
        if self.positions == "rotary" and self.head_dim % 2:
            raise ValueError(
                f"positions: rotary rotates pairs of components, so width / heads must be even; it is {self.head_dim}"
            )

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    def positional_encoding(self) -> nn.Module:
        """Create the additive positional encoding of the stack."""
        if self.positions == "learned":
            return LearnedPositionalEncoding(self.seq_len, self.width)
        return SinusoidalPositionalEncoding() if self.positions == "sinusoidal" else NoPositionalEncoding()

    def make_attention(self, *, causal: bool = False, cross: bool = False) -> MultiHeadAttention:
        """Create multi-head attention with the configured kernel.

        Args:
            causal: the attention will be causal.
            cross: the attention will read another sequence.

        Raises:
            ValueError: a kernel that does not support causal or cross-attention where that is required.
        """
        kind = get_choice("attention", self.attention, ATTENTION_KERNELS)
        if causal and kind.not_causal_reason:
            self._raise_unsupported(
                "be causal",
                kind.not_causal_reason,
                [name for name, kernel in ATTENTION_KERNELS.items() if not kernel.not_causal_reason],
            )
        if cross and kind.not_cross_reason:
            self._raise_unsupported(
                "read another sequence",
                kind.not_cross_reason,
                [name for name, kernel in ATTENTION_KERNELS.items() if not kernel.not_cross_reason],
            )
        buckets = 2 * -(-self.seq_len // self.attention_size)
        sizes: dict[str, tuple[int, ...]] = {
            "performer": (self.head_dim, self.attention_size),
            "linformer": (self.seq_len, self.attention_size),
            "chunked": (self.attention_size,),
            "lsh": (self.head_dim, buckets, self.attention_size, self.attention_rounds),
        }
        return MultiHeadAttention(self.width, self.heads, kind(*sizes.get(self.attention, ())))

    def _raise_unsupported(self, purpose: str, reason: str, alternatives: list[str]) -> None:
        raise ValueError(f"attention: {self.attention} {reason}, so it cannot {purpose}; {', '.join(alternatives)} can")


class TransformerBlock(nn.Module):
    """Transformer block: self-attention, optional cross-attention, and a feedforward network.

    Each is a residual branch f: ``norm(x + dropout(f(x)))`` with post-norm, ``x + dropout(f(norm(x)))`` with pre-norm.
    The residual stream itself is never dropped.

    Args:
        config: configuration.
        causal: mask later steps in self-attention.
        cross: add cross-attention to an encoder output.

    References:
        Vaswani et al. 2017, Attention Is All You Need.
        Xiong et al. 2020, On Layer Normalization in the Transformer Architecture (pre-norm).
    """

    other_methods = ("project_kv",)

    def __init__(self, config: TransformerConfig, *, causal: bool = False, cross: bool = False):
        super().__init__()
        self.causal = causal
        self.is_pre = config.norm == "pre"
        self.attention = config.make_attention(causal=causal)
        self.cross_attention = config.make_attention(cross=True) if cross else None
        self.feedforward = nn.Sequential(
            nn.Linear(config.width, config.hidden),
            get_choice("activation", config.activation, ACTIVATIONS)(),
            nn.Linear(config.hidden, config.width),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(3 if cross else 2))
        self.dropout = nn.Dropout(config.dropout)

    def project_kv(self, memory: Tensor) -> KVCache:
        """Project the encoder output (B, S, width) to keys and values; none without cross-attention."""
        return () if self.cross_attention is None else self.cross_attention.project_kv(memory)

    def forward(
        self,
        x: Tensor,
        valid_mask: Tensor | None = None,
        rotary: RotaryCache | None = None,
        cache: KVCache = (),
        memory: KVCache = (),
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, KVCache]:
        """Run the block on x (B, T, width).

        Args:
            x: input; its positions follow those of ``cache``.
            valid_mask: mask of valid steps of ``cache`` and x, (B, S).
            rotary: rotary cache of the positions of x.
            cache: keys and values of earlier steps; empty if there are none.
            memory: keys and values of the encoder output.
            memory_mask: mask of valid encoder steps.

        Returns:
            Output (B, T, width), and the cache extended by the keys and values of x.
        """
        q, k, v = self.attention.project_qkv(self._pre_norm(0, x), rotary)
        k, v = extend_cache(cache, k, v)
        x = self._residual(0, x, self.attention(q, k, v, valid_mask, self.causal))
        if self.cross_attention is not None:
            x = self._residual(
                1, x, self.cross_attention(self.cross_attention.project_q(self._pre_norm(1, x)), *memory, memory_mask)
            )
        return self._residual(-1, x, self.feedforward(self._pre_norm(-1, x))), (k, v)

    def _pre_norm(self, branch: int, x: Tensor) -> Tensor:
        return self.norms[branch](x) if self.is_pre else x

    def _residual(self, branch: int, x: Tensor, output: Tensor) -> Tensor:
        x = x + self.dropout(output)
        return x if self.is_pre else self.norms[branch](x)


class TransformerStack(nn.Module):
    """Stack of Transformer blocks with positional encoding, dropout and a final layer norm.

    An encoder by default, a decoder with ``causal`` or ``cross``.

    Args:
        config: configuration of the blocks.
        layers: number of blocks.
        causal: mask later steps in self-attention.
        cross: add cross-attention to an encoder output.
    """

    def __init__(self, config: TransformerConfig, layers: int, *, causal: bool = False, cross: bool = False):
        super().__init__()
        self.positional_encoding = config.positional_encoding()
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(config, causal=causal, cross=cross) for _ in range(layers))
        self.norm = nn.LayerNorm(config.width)
        self.rotary_dim = config.head_dim if config.positions == "rotary" else 0

    def project_kv(self, memory: Tensor) -> KVCache:
        """Project the encoder output (B, S, width) to keys and values for all blocks, in order."""
        blocks = cast("Iterable[TransformerBlock]", self.blocks)
        return tuple(part for block in blocks for part in block.project_kv(memory))

    def forward(
        self,
        x: Tensor,
        valid_mask: Tensor | None = None,
        cache: KVCache = (),
        memory: KVCache = (),
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, KVCache]:
        """Run the stack.

        Args:
            x: input (B, T, width); its positions follow those of ``cache``.
            valid_mask: mask of valid steps of ``cache`` and x, (B, S).
            cache: keys and values of earlier steps of all blocks; empty if there are none.
            memory: keys and values of the encoder output, from ``project_kv``.
            memory_mask: mask of valid encoder steps.

        Returns:
            Output (B, T, width), and the cache extended by the keys and values of x.

        Raises:
            ValueError: a position beyond the number of learned positions.
        """
        start = count_cached_steps(cache)
        x = self.dropout(self.positional_encoding(x, start))
        rotary = rotary_cache(start, x.shape[1], self.rotary_dim, x.device) if self.rotary_dim else None
        extended: KVCache = ()
        for index, block in enumerate(self.blocks):
            block_caches = get_block_cache(cache, index), get_block_cache(memory, index)
            x, block_cache = block(x, valid_mask, rotary, *block_caches, memory_mask)
            extended += block_cache
        return self.norm(x), extended
