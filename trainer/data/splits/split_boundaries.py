"""Split boundaries of a series or text, relocated in changed files by the content before them.

Rows of a series or characters of a text have no unique key. By position alone, prepending older rows would turn
training rows of a saved run into test rows.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from trainer.core.preprocessing import Preprocessing
from trainer.utils.errors import DataError

log = logging.getLogger(__name__)

CONTEXT_ROWS = 16
"""Rows of a series stored before each boundary."""
CONTEXT_LETTERS, SEARCH_LETTERS = 256, 32
"""Characters of a text stored before each boundary, and the length of the pieces that are searched."""
MAX_MATCHES, MAX_SHIFTS = 1000, 50
"""Maximum number of matches of a piece, and of shifts."""
T = TypeVar("T")


def locate_in_series(fitted: Preprocessing, values: np.ndarray, divide: Callable[[], list[int]]) -> list[int]:
    """Return the starts of validation and test in a series (T, C) with NaN for missing values; see ``_locate``.

    Args:
        fitted: Preprocessing, which stores the boundaries of a run.
        values: Series, (T, C).
        divide: Function that computes the boundaries of a new run.
    """

    def get_content(start: int, end: int) -> list[list[float]]:
        return values[start:end].tolist()

    def search(start: int, context: list[list[float]]) -> list[int]:
        gaps = np.isnan(values)
        rows = [np.where(np.isnan(row), gaps, values == np.array(row)) for row in context]
        return _candidate_shifts(
            range(start, start + len(context)), [np.flatnonzero(row.all(1)).tolist() for row in rows]
        )

    def digest(start: int, end: int) -> str:
        return _digest(np.ascontiguousarray(values[start:end]).tobytes())

    return _locate(fitted, len(values), CONTEXT_ROWS, divide, get_content, search, digest)


def locate_in_text(fitted: Preprocessing, text: str, divide: Callable[[], list[int]]) -> list[int]:
    """Return the starts of validation and test in a text; see ``_locate``.

    Args:
        fitted: Preprocessing, which stores the boundaries of a run.
        text: Text.
        divide: Function that computes the boundaries of a new run.
    """

    def get_content(start: int, end: int) -> str:
        return text[start:end]

    def search(start: int, context: str) -> list[int]:
        starts = range(0, len(context), SEARCH_LETTERS)
        positions = [list(_find_all(text, context[offset : offset + SEARCH_LETTERS])) for offset in starts]
        return _candidate_shifts([start + offset for offset in starts], positions)

    def digest(start: int, end: int) -> str:
        return _digest(text[start:end].encode("utf-8", "surrogateescape"))

    return _locate(fitted, len(text), CONTEXT_LETTERS, divide, get_content, search, digest)


def _locate(
    fitted: Preprocessing,
    length: int,
    context_length: int,
    divide: Callable[[], list[int]],
    get_content: Callable[[int, int], T],
    search: Callable[[int, T], list[int]],
    digest: Callable[[int, int], str],
) -> list[int]:
    """Return the boundaries of a run, shifted with the content before them.

    Args:
        fitted: Preprocessing, which stores the boundaries of a run.
        length: Number of rows or characters.
        context_length: Length of the context stored before each boundary.
        divide: Function that computes the boundaries of a new run.
        get_content: Function that returns the content between two positions.
        search: Function that returns the possible shifts of a context, given its original start.
        digest: Function that hashes the content between two positions.

    Raises:
        DataError: The context is missing or changed.
    """
    ends: list[int] = fitted.get_or_fit("ends", divide)
    if fitted.version == 1:
        return ends

    def make_context(end: int) -> dict[str, object]:
        start = max(0, end - context_length)
        return {"start": start, "last": get_content(start, end), "digest": digest(0, end), "length": length}

    contexts = fitted.get_or_fit("boundary_contexts", lambda: [make_context(end) for end in ends])
    if not fitted.is_stored:
        return ends
    relocated = []
    for end, context, name in zip(ends, contexts, ("validation", "test"), strict=True):
        shifts = search(context["start"], context["last"])
        # Repeated content matches at several positions, the complete prefix at one.
        exact_shifts = (
            shift for shift in shifts[:MAX_SHIFTS] if digest(max(0, shift), end + shift) == context["digest"]
        )
        unchanged = 0 if 0 in shifts and length == context["length"] else None
        shift = shifts[0] if len(shifts) == 1 else next(exact_shifts, unchanged)
        if shift is None:
            raise DataError(
                f"data: cannot locate the start of the {name} split: the training data before it is missing or changed"
            )
        relocated.append(end + shift)
    if not 0 < relocated[0] <= relocated[1] <= length:
        raise DataError("training, validation and test data are no longer in this order")
    if relocated != ends:
        text = "data: validation now starts at %d (originally %d) and test at %d (%d), located by the preceding content"
        log.warning(text, relocated[0], ends[0], relocated[1], ends[1])
        fitted.values |= {"ends": relocated, "boundary_contexts": [make_context(end) for end in relocated]}
    return relocated


def _candidate_shifts(expected: Sequence[int], found_positions: Sequence[Sequence[int]]) -> list[int]:
    """Return the shifts supported by most items, smallest first; empty if fewer than half of them agree.

    Args:
        expected: Original position of each item.
        found_positions: Current positions of each item.
    """
    votes = Counter(
        position - original
        for original, candidates in zip(expected, found_positions, strict=True)
        for position in candidates
    )
    max_votes = max(votes.values(), default=0)
    if 2 * max_votes < len(expected):
        return []
    return sorted((shift for shift, count in votes.items() if count == max_votes), key=abs)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _find_all(text: str, piece: str) -> Iterator[int]:
    position = text.find(piece)
    for _ in range(MAX_MATCHES):
        if position < 0:
            return
        yield position
        position = text.find(piece, position + 1)
