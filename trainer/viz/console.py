"""The terminal: what is printed is shown as it is, without markup, and steers nothing."""

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
    """A console in whose texts ``[b]`` is no markup, ``:x:`` no picture, and a control character a few letters."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def refresh_color_system(self) -> None:
        """After the output was led elsewhere: a file is written without colours."""
        self._color_system = self._detect_color_system() if self.is_terminal else None

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(escape_control_chars(_text_filter.get()(text)), **options)


console = PlainConsole()


class ConsoleHandler(logging.Handler):
    """Messages of the log as lines that the terminal itself breaks, each with its level before it."""

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
    """A block in which each text is changed before it is printed: what a terminal shows, a file need not keep."""
    token = _text_filter.set(change)
    try:
        yield
    finally:
        _text_filter.reset(token)


@contextmanager
def show_warnings() -> Iterator[None]:
    """A block whose warnings go to the error output, beside what a command writes."""
    handler = ConsoleHandler(PlainConsole(stderr=True))
    logger = logging.getLogger("trainer")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def print_line(text: str) -> None:
    """Prints a line that the terminal itself breaks, so that a path in it can be copied."""
    console.print(text, soft_wrap=True)
