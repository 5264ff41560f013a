"""Warnings about tokens that are not in the vocabulary."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trainer.core.tokenizer import Tokenizer
from trainer.data.encoding import word_splitting
from trainer.data.encoding.tokenizers import CharacterTokenizer, LowercaseTokenizer, WordTokenizer
from trainer.data.readers.text_file import quote_cell
from trainer.utils.text import format_count

if TYPE_CHECKING:
    from torch import Tensor

MAX_UNKNOWN_FRACTION = 0.3
"""Fraction of unknown tokens from which a warning is logged; hapax legomena of a small text are about a tenth."""
MAX_EXAMPLES = 5
"""Number of unknown tokens that a message names."""
log = logging.getLogger(__name__)


def warn_about_unknown_tokens(tokenizer: Tokenizer, option: str, parts: Mapping[str, Tensor]) -> None:
    """Log a warning if many tokens of a split are unknown.

    Args:
        tokenizer: Tokenizer of the texts.
        option: Option named in the message.
        parts: Tokens of each split, by name.
    """
    while isinstance(tokenizer, LowercaseTokenizer):
        tokenizer = tokenizer.tokenizer
    if not isinstance(tokenizer, WordTokenizer | CharacterTokenizer) or tokenizer.unknown_id is None:
        return
    shares = {
        name: float((tokens == tokenizer.unknown_id).double().mean()) for name, tokens in parts.items() if len(tokens)
    }
    if max(shares.values(), default=0.0) > MAX_UNKNOWN_FRACTION:
        log.warning(
            "%s: many tokens are unknown: %s; to reduce them use data.min_count=1, a larger data.vocab_limit, or"
            " data.tokens=characters or bytepair",
            *(option, ", ".join(f"{share:.0%} of those of the {name} rows" for name, share in shares.items())),
        )


class UnknownTokenCounter:
    """Number of tokens that are not in the vocabulary of a saved run, with examples.

    Args:
        tokenizer: Tokenizer of the texts.
        source: Where the texts are from, for messages.
    """

    def __init__(self, tokenizer: Tokenizer, source: str):
        self.tokenizer = tokenizer
        self.source = source
        self.num_tokens, self.num_unknown = 0, 0
        self.examples: dict[str, None] = {}

    def update(self, text: str, tokens: Sequence[int]) -> None:
        """Count the tokens of a text.

        Args:
            text: The text.
            tokens: Its tokens.
        """
        unknown_id = self.tokenizer.unknown_id
        if unknown_id is None:
            return
        self.num_tokens += len(tokens)
        count = tokens.count(unknown_id)
        self.num_unknown += count
        if count and len(self.examples) < MAX_EXAMPLES:
            self.examples |= dict.fromkeys(_find_unknown_tokens(self.tokenizer, text))

    def log_warning(self) -> None:
        """Log a warning if there are any."""
        if self.num_unknown:
            names = ", ".join(map(quote_cell, list(self.examples)[:MAX_EXAMPLES]))
            log.warning(
                "%s: %d of %s are not in the vocabulary of this run%s",
                *(self.source, self.num_unknown, format_count(self.num_tokens, "token")),
                f", such as {names}" if names else "",
            )


def _find_unknown_tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    """Return the words or characters of a text that are unknown; none for other kinds of tokens."""
    while isinstance(tokenizer, LowercaseTokenizer):
        text, tokenizer = word_splitting.to_lowercase(text), tokenizer.tokenizer
    normalized = word_splitting.normalize_unicode(text)
    if isinstance(tokenizer, CharacterTokenizer):
        pieces: Sequence[str] = normalized
    elif isinstance(tokenizer, WordTokenizer):
        pieces = word_splitting.split_words(normalized)
    else:
        return []
    known = set(tokenizer.tokens)
    return [piece for piece in pieces if piece not in known]
