"""The terminal: what is printed is shown as it is, without markup, and steers nothing."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from trainer.printable import printable


class PlainConsole(Console):
    """A console in whose texts ``[b]`` is no markup, ``:x:`` no picture, and a control character a few letters."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def look_again(self) -> None:
        """After the output was led elsewhere: a file is written without colours."""
        self._color_system = self._detect_color_system() if self.is_terminal else None

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        return super().render_str(printable(text), **options)


console = PlainConsole()


def say(text: str) -> None:
    """Prints a line that the terminal itself breaks, so that a path in it can be copied."""
    console.print(text, soft_wrap=True)
