"""Protocol of tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

UNKNOWN_TOKEN = "\N{DOUBLE QUESTION MARK}"
"""Text that an unknown token is decoded to."""


class Tokenizer(Protocol):
    """Protocol of tokenizers: text to token ids and back."""

    vocab_size: int
    """Number of tokens, with ids from 0."""
    unknown_id: int | None
    """Id of the unknown token; None if every text can be encoded without one."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text.

        Raises:
            ConfigError: The text cannot be encoded.
        """

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids, without ids of ``vocab_size`` and above (start and end tokens)."""

    def decode_words(self, tokens: Sequence[int]) -> list[str]:
        """Return the words of token ids, for metrics that compare words such as BLEU."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain values from which ``tokenizers.tokenizer_from_state`` restores the tokenizer."""
