"""Boundaries between the splits of a series or a text, found again by what stands before them.

Such rows have no key of their own: a value or a letter occurs many times. By its number alone the first test row of a
run would be a training row as soon as older rows are put in front.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from trainer.core.preprocessing import Preprocessing
from trainer.utils.errors import ConfigError

log = logging.getLogger(__name__)

CONTEXT_ROWS = 16
"""Rows of a series that are kept before each boundary."""
CONTEXT_LETTERS, SEARCH_LETTERS = 256, 32
"""Letters of a text that are kept before each boundary, and how many are looked for together."""
MAX_MATCHES, MAX_SHIFTS = 1000, 50
"""Places of a piece of text, and shifts, that are looked at."""
T = TypeVar("T")


def locate_in_series(fitted: Preprocessing, values: np.ndarray, divide: Callable[[], list[int]]) -> list[int]:
    """Where validation and test begin in a series (T, C); NaN is a gap. Raises as ``_locate``."""

    def cut(start: int, end: int) -> list[list[float]]:
        return values[start:end].tolist()

    def search(start: int, kept: list[list[float]]) -> list[int]:
        gaps = np.isnan(values)
        rows = [np.where(np.isnan(row), gaps, values == np.array(row)) for row in kept]
        return _candidate_shifts(range(start, start + len(kept)), [np.flatnonzero(row.all(1)).tolist() for row in rows])

    def digest(start: int, end: int) -> str:
        return _digest(np.ascontiguousarray(values[start:end]).tobytes())

    return _locate(fitted, len(values), CONTEXT_ROWS, divide, cut, search, digest)


def locate_in_text(fitted: Preprocessing, text: str, divide: Callable[[], list[int]]) -> list[int]:
    """Where validation and test begin in a text. Raises as ``_locate``."""

    def cut(start: int, end: int) -> str:
        return text[start:end]

    def search(start: int, kept: str) -> list[int]:
        starts = range(0, len(kept), SEARCH_LETTERS)
        places = [list(_find_all(text, kept[at : at + SEARCH_LETTERS])) for at in starts]
        return _candidate_shifts([start + at for at in starts], places)

    def digest(start: int, end: int) -> str:
        return _digest(text[start:end].encode("utf-8", "surrogateescape"))

    return _locate(fitted, len(text), CONTEXT_LETTERS, divide, cut, search, digest)


def _locate(
    fitted: Preprocessing,
    length: int,
    most: int,
    divide: Callable[[], list[int]],
    cut: Callable[[int, int], T],
    search: Callable[[int, T], list[int]],
    digest: Callable[[int, int], str],
) -> list[int]:
    """The boundaries of a run, moved with what stood before each of them, of which the last ``most`` are kept.

    search: the shifts that are possible for what was kept, which began at a place. digest: of all between two places.

    Raises ConfigError where it is gone or changed.
    """
    ends: list[int] = fitted.get_or_fit("ends", divide)
    if fitted.version == 1:
        return ends

    def keep(end: int) -> dict[str, object]:
        start = max(0, end - most)
        return {"start": start, "last": cut(start, end), "digest": digest(0, end), "length": length}

    kept = fitted.get_or_fit("before_ends", lambda: [keep(end) for end in ends])
    if not fitted.is_stored:
        return ends
    moved = []
    for end, before, name in zip(ends, kept, ("validation", "test"), strict=True):
        shifts = search(before["start"], before["last"])
        # What repeats itself is found at many places; all that stood before it, at one.
        whole = (shift for shift in shifts[:MAX_SHIFTS] if digest(max(0, shift), end + shift) == before["digest"])
        stayed = 0 if 0 in shifts and length == before["length"] else None
        shift = shifts[0] if len(shifts) == 1 else next(whole, stayed)
        if shift is None:
            raise ConfigError(
                f"data: where the {name} part began cannot be told: what stood before it in training is gone or changed"
            )
        moved.append(end + shift)
    if not 0 < moved[0] <= moved[1] <= length:
        raise ConfigError("data: the parts for training, validation and testing are no longer in this order")
    if moved != ends:
        text = "data: validation now begins at %d (in training at %d) and test at %d (%d), by what stands before them"
        log.warning(text, moved[0], ends[0], moved[1], ends[1])
        fitted.values |= {"ends": moved, "before_ends": [keep(end) for end in moved]}
    return moved


def _candidate_shifts(expected: Sequence[int], places: Sequence[Sequence[int]]) -> list[int]:
    """How far things that stood at ``expected`` may have moved, by where each is now: what most of them say, the
    smallest first; empty if that is not even half of them."""
    votes = Counter(place - at for at, found in zip(expected, places, strict=True) for place in found)
    most = max(votes.values(), default=0)
    if 2 * most < len(expected):
        return []
    return sorted((shift for shift, count in votes.items() if count == most), key=abs)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _find_all(text: str, piece: str) -> Iterator[int]:
    at = text.find(piece)
    for _ in range(MAX_MATCHES):
        if at < 0:
            return
        yield at
        at = text.find(piece, at + 1)
