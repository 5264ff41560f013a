"""Errors of readers of training files, for other files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trainer.utils.errors import DataError


@contextmanager
def name_input() -> Iterator[None]:
    """Replace the argument ``path`` in messages, which is that of the training files.

    Raises:
        DataError: As in the block, with ``input`` in place of ``path``.
    """
    try:
        yield
    except DataError as error:
        raise DataError(
            *(
                f"input: {problem.removeprefix('path: ')}" if problem.startswith("path: ") else problem
                for problem in error.problems
            )
        ) from None
