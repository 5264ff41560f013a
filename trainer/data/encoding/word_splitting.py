"""Word tokenization and detokenization for any language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

ZERO_WIDTH_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Used within words in Persian and Indic scripts."""
SKIN_TONES = "\U0001f3fb-\U0001f3ff"
EMOJI_TAGS = "\U000e0020-\U000e007f"
FLAG_LETTER = "[\U0001f1e6-\U0001f1ff]"
"""Emoji components besides the base character: skin tones, regional flag tags, country flag letters."""
UNSPACED_SCRIPTS = (
    *("\u0e00-\u0eff", "\u1000-\u109f", "\u1780-\u17ff", "\u1950-\u19df", "\u1a20-\u1aaf", "\ua9e0-\ua9ff"),
    *("\uaa60-\uaadf", "\u3005-\u3007", "\u3021-\u3029", "\u3031-\u30ff", "\u31f0-\u31ff", "\u3400-\u4dbf"),
    *("\u4e00-\u9fff", "\uf900-\ufaff", "\uff66-\uff9f", "\U0001b000-\U0001b16f", "\U00020000-\U0003ffff"),
)
"""Scripts without spaces between words: Thai and Lao, Burmese, Khmer, Tai scripts, Chinese with its repetition marks
and numerals, Japanese kana. Word segmentation would need a dictionary, so each character is a word."""
WIDE_PUNCTUATION = "\u3000-\u3004\u3008-\u3020\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
"""Full-width punctuation, which includes its own space."""
ASCII_WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")
"""Fast equivalent of ``_word_pattern`` for ASCII text."""
SPACE_BEFORE_PUNCTUATION = re.compile(r"\s+(?=[.,;:!?%)\]}…।॥،؛؟])")
SPACE_AFTER_BRACKET = re.compile(r"(?<=[(\[{])\s+")


@cache
def _combining_marks() -> str:
    """Return the combining characters (accents, vowel signs, vowel points) as ranges of a regular expression."""
    characters = [chr(code) for code in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0))]
    marks = [letter for letter in characters if unicodedata.category(letter)[0] == "M"]
    ranges: list[list[str]] = []
    for mark in marks:
        if ranges and ord(mark) == ord(ranges[-1][1]) + 1:
            ranges[-1][1] = mark
        else:
            ranges.append([mark, mark])
    return "".join(f"{first}-{last}" for first, last in ranges)


@cache
def _word_pattern() -> re.Pattern[str]:
    """Return a pattern for a word with apostrophes, a character of an unspaced script or a punctuation mark."""
    unspaced, tail = "".join(UNSPACED_SCRIPTS), f"[{_combining_marks()}{ZERO_WIDTH_JOINERS}{SKIN_TONES}{EMOJI_TAGS}]*"
    symbol = f"{FLAG_LETTER}{{2}}|[^\\s]{tail}(?:(?<=\\N{{ZERO WIDTH JOINER}})[^\\w\\s]{tail})*"
    letter = f"[^\\W{unspaced}]"
    letters = f"{letter}+(?:[{_combining_marks()}{ZERO_WIDTH_JOINERS}]+{letter}*)*"
    return re.compile(f"{letters}(?:['’]{letters})*|{symbol}")


@cache
def _inner_blank_pattern() -> re.Pattern[str]:
    """Return a pattern for a space next to a character of an unspaced script or full-width punctuation."""
    unspaced, marks = "".join(UNSPACED_SCRIPTS), _combining_marks()
    return re.compile(
        f"(?<=[{unspaced}{marks}]) (?=[{unspaced}{WIDE_PUNCTUATION}])|(?<=[{WIDE_PUNCTUATION}]) | "
        f"(?=[{WIDE_PUNCTUATION}])"
    )


def split_words(text: str) -> list[str]:
    """Split text into words, punctuation marks and characters of unspaced scripts, each with combining characters."""
    return (ASCII_WORD if text.isascii() else _word_pattern()).findall(text)


def join_words(words: Iterable[str]) -> str:
    """Join words into text with the usual spacing, the inverse of ``split_words``."""
    return SPACE_AFTER_BRACKET.sub(
        "", SPACE_BEFORE_PUNCTUATION.sub("", _inner_blank_pattern().sub("", " ".join(words)))
    )


def normalize_unicode(text: str) -> str:
    """Normalize text to NFC, in which accented letters are single characters where these exist."""
    return unicodedata.normalize("NFC", text)


def to_lowercase(text: str) -> str:
    """Convert to lowercase; the dotted capital I becomes i, without the combining dot that Unicode adds."""
    return text.replace("İ", "i").lower()
