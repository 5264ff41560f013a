"""The interface of tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

UNKNOWN_TOKEN = "\N{DOUBLE QUESTION MARK}"
"""Text of a token outside the vocabulary."""


class Tokenizer(Protocol):
    """Text to token ids and back."""

    vocab_size: int
    """Number of tokens, with ids from 0."""
    unknown_id: int | None
    """Id of the unknown token; None where every text has tokens."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text. Raises ConfigError for text that has none."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids; ids from ``vocab_size`` on (start, end) are skipped."""

    def decode_words(self, tokens: Sequence[int]) -> list[str]:
        """Return the words of ``decode``, for metrics that compare words."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain values from which ``tokenizers.tokenizer_from_state`` restores the tokenizer."""
