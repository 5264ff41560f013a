"""Words of any language, and texts made of them again."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

ZERO_WIDTH_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Persian and the scripts of India part and tie letters within a word by these."""
SKIN_TONES = "\U0001f3fb-\U0001f3ff"
EMOJI_TAGS = "\U000e0020-\U000e007f"
FLAG_LETTER = "[\U0001f1e6-\U0001f1ff]"
"""What a picture of an emoji is made of beside its first letter: colors of skin, a region's flag, a country's two."""
UNSPACED_SCRIPTS = (
    *("\u0e00-\u0eff", "\u1000-\u109f", "\u1780-\u17ff", "\u1950-\u19df", "\u1a20-\u1aaf", "\ua9e0-\ua9ff"),
    *("\uaa60-\uaadf", "\u3005-\u3007", "\u3021-\u3029", "\u3031-\u30ff", "\u31f0-\u31ff", "\u3400-\u4dbf"),
    *("\u4e00-\u9fff", "\uf900-\ufaff", "\uff66-\uff9f", "\U0001b000-\U0001b16f", "\U00020000-\U0003ffff"),
)
"""Letters of scripts that put no blanks between words: Thai and Lao, Burmese, Khmer, those of the Tai, Chinese with its
repetition marks and numbers, the kana of Japanese. Only a dictionary could part their words, so each letter is one."""
WIDE_PUNCTUATION = "\u3000-\u3004\u3008-\u3020\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
"""Punctuation as wide as a Chinese letter, which holds its own blank."""
ASCII_WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")
"""What the pattern below is for most texts."""
SPACE_BEFORE_PUNCTUATION = re.compile(r"\s+(?=[.,;:!?%)\]}…।॥،؛؟])")
SPACE_AFTER_BRACKET = re.compile(r"(?<=[(\[{])\s+")


@cache
def _combining_marks() -> str:
    """What combines with the letter before it, as ranges of a pattern: accents, vowel signs, vowel points."""
    found = [chr(code) for code in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0))]
    marks = [letter for letter in found if unicodedata.category(letter)[0] == "M"]
    ranges: list[list[str]] = []
    for mark in marks:
        if ranges and ord(mark) == ord(ranges[-1][1]) + 1:
            ranges[-1][1] = mark
        else:
            ranges.append([mark, mark])
    return "".join(f"{first}-{last}" for first, last in ranges)


@cache
def _word_pattern() -> re.Pattern[str]:
    """A word with its apostrophes, a letter that stands for itself, or a mark of punctuation."""
    unspaced, tail = "".join(UNSPACED_SCRIPTS), f"[{_combining_marks()}{ZERO_WIDTH_JOINERS}{SKIN_TONES}{EMOJI_TAGS}]*"
    symbol = f"{FLAG_LETTER}{{2}}|[^\\s]{tail}(?:(?<=\\N{{ZERO WIDTH JOINER}})[^\\w\\s]{tail})*"
    letter = f"[^\\W{unspaced}]"
    letters = f"{letter}+(?:[{_combining_marks()}{ZERO_WIDTH_JOINERS}]+{letter}*)*"
    return re.compile(f"{letters}(?:['’]{letters})*|{symbol}")


@cache
def _inner_blank_pattern() -> re.Pattern[str]:
    """A blank beside a letter of a script that has none, or beside wide punctuation."""
    unspaced, marks = "".join(UNSPACED_SCRIPTS), _combining_marks()
    return re.compile(
        f"(?<=[{unspaced}{marks}]) (?=[{unspaced}{WIDE_PUNCTUATION}])|(?<=[{WIDE_PUNCTUATION}]) | "
        f"(?=[{WIDE_PUNCTUATION}])"
    )


def split_words(text: str) -> list[str]:
    """Words, marks of punctuation, and single letters where a script has no blanks, each with what combines with it."""
    return (ASCII_WORD if text.isascii() else _word_pattern()).findall(text)


def join_words(words: Iterable[str]) -> str:
    """A text that ``split`` gives these words of, with blanks where one is usual."""
    return SPACE_AFTER_BRACKET.sub(
        "", SPACE_BEFORE_PUNCTUATION.sub("", _inner_blank_pattern().sub("", " ".join(words)))
    )


def normalize_unicode(text: str) -> str:
    """The same text with every letter that has an accent in one way (NFC): as one character where there is one."""
    return unicodedata.normalize("NFC", text)


def to_lowercase(text: str) -> str:
    """Small letters. The dotted capital I is an i: by the rule of Unicode it would be an i with a second dot."""
    return text.replace("İ", "i").lower()
