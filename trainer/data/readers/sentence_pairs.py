"""Pairs of sentences from two text files that are aligned line by line."""

from __future__ import annotations

from trainer.data.readers import text_file
from trainer.utils.errors import DataError


def read(source: str, target: str, encoding: str, max_length: int, drop_bad: bool) -> list[tuple[str, ...]]:
    """Read two line-aligned files as pairs of lines.

    Args:
        source: Source text file.
        target: Target text file.
        encoding: Character encoding of both files.
        max_length: Maximum line length in characters.
        drop_bad: Drop invalid pairs instead of raising an error.

    Raises:
        DataError: The numbers of lines differ; unless ``drop_bad``, also for an empty or too long line.
    """
    options = {"source": source, "target": target}
    sides = {option: split_lines(text_file.read(path, option, encoding)) for option, path in options.items()}
    counts = [len(lines) for lines in sides.values()]
    if counts[0] != counts[1]:
        raise DataError(
            f"{source} has {counts[0]} lines, {target} has {counts[1]}; the files must be aligned line by line"
        )
    pairs = list(zip(*sides.values(), strict=True))
    problems = {
        row: pair_problem for row, pair in enumerate(pairs) if (pair_problem := _find_pair_problem(pair, max_length))
    }
    if problems and not drop_bad:
        row, (side, problem) = next(iter(problems.items()))
        option, path = list(options.items())[side]
        raise DataError(
            f"{option}: {path}: line {row + 1} {problem}; invalid pairs: {len(problems)}; data.drop_bad=true drops them"
        )
    return [pair for row, pair in enumerate(pairs) if row not in problems]


def _find_pair_problem(pair: tuple[str, ...], max_length: int) -> tuple[int, str] | None:
    """Return the side of a pair that is invalid and the reason, or None."""
    for side, line in enumerate(pair):
        if not line:
            return side, "is empty"
        if len(line) > max_length:
            return side, f"has {len(line)} characters, more than data.max_length {max_length}"
    return None


def split_lines(text: str) -> list[str]:
    """Split at line feeds only; unlike with ``splitlines``, U+2028 and form feeds may occur within a line."""
    return [line.strip() for line in text.removesuffix("\n").split("\n")]
