"""Console output: text is printed literally, without markup, and control characters are escaped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.text import Text

from trainer.utils.text import escape_control_chars

_text_filter: ContextVar[Callable[[str], str]] = ContextVar("_change", default=str)


class PlainConsole(Console):
    """Rich console without markup, emoji and highlighting, which escapes control characters.

    Args:
        options: Other options of ``rich.console.Console``.
    """

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def refresh_color_system(self) -> None:
        """Detect again whether to use colors, after the output was redirected."""
        self._color_system = self._detect_color_system() if self.is_terminal else None

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(escape_control_chars(_text_filter.get()(text)), **options)


console = PlainConsole()


@contextmanager
def silence_console(*, quiet: bool = True) -> Iterator[None]:
    """Print nothing to the console inside the block, if ``quiet``."""
    was_quiet, console.quiet = console.quiet, quiet or console.quiet
    try:
        yield
    finally:
        console.quiet = was_quiet


class ConsoleHandler(logging.Handler):
    """Log handler that prints records with their level; lines are wrapped by the terminal.

    Args:
        console: Console to print to.
        level: Minimum level of the records.
    """

    def __init__(self, console: Console, level: int = logging.WARNING):
        super().__init__(level)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._console.print(f"{record.levelname.lower()}: {record.getMessage()}", soft_wrap=True)
        except Exception:
            self.handleError(record)


@contextmanager
def rewrite_output(change: Callable[[str], str]) -> Iterator[None]:
    """Apply a function to each text that is printed inside the block, for example to shorten a path.

    Args:
        change: Function from text to text.
    """
    token = _text_filter.set(change)
    try:
        yield
    finally:
        _text_filter.reset(token)


@contextmanager
def show_warnings() -> Iterator[None]:
    """Print warnings of the package to stderr inside the block."""
    handler = ConsoleHandler(PlainConsole(stderr=True))
    logger = logging.getLogger("trainer")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def print_line(text: str) -> None:
    """Print a line without wrapping it, so that a path can be copied from the terminal."""
    console.print(text, soft_wrap=True)
