"""Lists and explanations keep every word at any width."""

from __future__ import annotations

import re

import pytest

from trainer.cli import main, text_columns

ROWS = [
    ("KEY", "DEFAULT", "", "MEANING"),
    ("model.hidden_size", "64", "", "hidden state size, which is as many numbers as a step hands to the next one"),
    ("model.x", "null", "", "short"),
]


def words(text: str) -> list[str]:
    return sorted(re.findall(r"\S+", text))


@pytest.mark.parametrize("width", [40, 60, 80, 127, 500])
def test_nothing_is_cut_and_nothing_is_wider(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text_columns.print_table(ROWS)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    assert words(text) == words(" ".join(" ".join(row) for row in ROWS))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("arguments", [["list"], ["show"], ["show", "data=csv"], ["show", "model=lstm"]])
def test_every_list_fits_and_says_all(
    arguments: list[str], width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    main.run_command(arguments)
    whole = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", str(width))
    main.run_command(arguments)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    assert words(text) == words(whole)


def test_without_a_terminal_a_row_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    text_columns.print_table(ROWS)
    assert len(capsys.readouterr().out.splitlines()) == len(ROWS) + 1


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    text_columns.print_table([("NAME", "MEANING"), ("a\x1b[2J", "b\nc")])
    text_columns.print_text("d\x07")
    text = capsys.readouterr().out
    assert "a\\x1b[2J" in text
    assert "b\\nc" in text
    assert "d\\x07" in text
