"""Console output without markup and control characters."""

from __future__ import annotations

import io
import logging

import pytest
from rich.table import Table

from trainer.viz.console import ConsoleHandler, PlainConsole, console, print_line, rewrite_output, show_warnings


def print_to_string(*items: object) -> str:
    file = io.StringIO()
    for item in items:
        PlainConsole(file=file, width=60, force_terminal=True).print(item)
    return file.getvalue()


def test_brackets_and_colons_are_not_markup() -> None:
    assert print_to_string("saved in outputs/[bold] a[/b] :smile:") == "saved in outputs/[bold] a[/b] :smile:\n"


def test_a_table_shows_brackets_and_no_control_character() -> None:
    table = Table(title="[red]title\x1b[2J")
    table.add_column("[i]column")
    table.add_row("data.drop=[aa]\x07")
    text = print_to_string(table)
    assert "data.drop=[aa]\\x07" in text
    assert "[red]title\\x1b[2J" in text
    assert "[i]column" in text
    assert "\x1b[2J" not in text
    assert "\x07" not in text


def test_redirected_output_has_no_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a job of a sweep that was started from a terminal."""
    file = io.StringIO()
    monkeypatch.setattr(file, "isatty", lambda: True)
    console = PlainConsole(file=file, color_system="standard")
    console.print("bold", style="bold")
    assert "\x1b[1m" in file.getvalue()
    console.file = io.StringIO()
    console.refresh_color_system()
    console.print("bold", style="bold")
    assert console.file.getvalue() == "bold\n"


def test_a_message_is_one_line_without_control_characters() -> None:
    """A path in it can be copied, however narrow the terminal is."""
    file = io.StringIO()
    handler = ConsoleHandler(PlainConsole(file=file, width=20, force_terminal=True))
    path = "/a/long/way/to/a/[b]folder[/b]\x1b[2J"
    handler.handle(logging.makeLogRecord({"levelname": "WARNING", "msg": "left out of %s", "args": (path,)}))
    assert file.getvalue() == "warning: left out of /a/long/way/to/a/[b]folder[/b]\\x1b[2J\n"


def test_warnings_are_printed_next_to_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("trainer.data.datasets.tabular.csv_table")
    with show_warnings():
        logger.warning("3 rows are gone")
        logger.info("nothing to see")
    assert capsys.readouterr() == ("", "warning: 3 rows are gone\n")
    assert not any(isinstance(handler, ConsoleHandler) for handler in logging.getLogger("trainer").handlers)


def test_rewrite_output_changes_text_tables_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.add_column("door")
    table.add_row("SECRET123")
    with rewrite_output(lambda text: text.replace("SECRET123", "***")), show_warnings():
        print_line("read as: SECRET123")
        console.print(table)
        logging.getLogger("trainer.data").warning("no SECRET123")
    output = "".join(capsys.readouterr())
    assert (output.count("***"), "SECRET123" in output) == (3, False)
    print_line("SECRET123")
    assert capsys.readouterr().out == "SECRET123\n"
