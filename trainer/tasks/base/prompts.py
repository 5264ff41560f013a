"""Encoding of the prompt from which text is generated."""

from __future__ import annotations

from trainer.core.tokenizer import Tokenizer
from trainer.utils.errors import ConfigError


def require_tokenizer(tokenizer: Tokenizer | None) -> Tokenizer:
    """Return the tokenizer of a data set.

    Raises:
        ConfigError: The data set has none.
    """
    if tokenizer is None:
        raise ConfigError("sample: this data set has no text")
    return tokenizer


def encode_prompt(prompt: str, tokenizer: Tokenizer) -> list[int]:
    """Return the token ids of a prompt, at least one.

    Args:
        prompt: Text.
        tokenizer: Tokenizer of the model inputs.

    Raises:
        ConfigError: The prompt has no tokens.
    """
    tokens = tokenizer.encode(prompt)
    if not tokens:
        raise ConfigError(f"prompt: {prompt!r} contains no tokens; set prompt=TEXT")
    return tokens
