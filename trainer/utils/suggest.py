"""Suggestions for misspelled names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MAX_WORD_LENGTH = 200
"""Maximum number of characters in a word that may be a typo; longer ones are text."""


def find_nearest(word: str, known_words: Iterable[str]) -> str | None:
    """Return the known word that is closest to a word, ignoring case, or None if none is close enough.

    Similar words come first, then anagrams, then words of which one is a prefix of the other, then longer names that
    contain the word.

    Args:
        word: Word that is not known.
        known_words: Known words.
    """
    names = [name for name in known_words if len(name) <= MAX_WORD_LENGTH]
    if len(word) > MAX_WORD_LENGTH:
        return None
    import difflib  # here, because only a misspelled name needs it

    lowered, originals = word.lower(), {name.lower(): name for name in reversed(names)}
    matches = difflib.get_close_matches(lowered, originals, n=1, cutoff=0.6)
    if matches:
        return originals[matches[0]]
    anagrams = [name for name in originals if sorted(name) == sorted(lowered)]
    prefixes = [name for name in originals if len(word) > 1 and (name.startswith(lowered) or lowered.startswith(name))]
    nearest = min(anagrams or prefixes or list_longer_names(lowered, originals), key=len, default=None)
    return None if nearest is None else originals[nearest]


def list_longer_names(word: str, known_words: Iterable[str]) -> list[str]:
    """Return the known words that contain a word between underscores: ``keep_last`` contains ``keep``.

    Args:
        word: Word that is not known.
        known_words: Known words.
    """
    return [name for name in known_words if f"_{word.lower()}_" in f"_{name.lower().replace('/', '_')}_"]


def did_you_mean(word: str, known_words: Iterable[str], prefix: str = "") -> str:
    """Return ``; did you mean lstm?``, or an empty string if no known word is close enough.

    If the nearest known word contains the word, all that contain it are as near.

    Args:
        word: Word that is not known.
        known_words: Known words.
        prefix: Text to put before the suggested word, such as ``model.``.
    """
    names = list(known_words)
    nearest = find_nearest(word, names)
    longer_names = list_longer_names(word, names)
    suggested = longer_names if nearest in longer_names else [nearest]
    return format_suggestion([f"{prefix}{name}" for name in suggested if name])


def format_suggestion(names: Sequence[str]) -> str:
    """Return ``; did you mean a, b or c?``, or an empty string if there are no names.

    Args:
        names: Suggested names.
    """
    if not names:
        return ""
    return f"; did you mean {' or '.join(filter(None, (', '.join(names[:-1]), names[-1])))}?"
