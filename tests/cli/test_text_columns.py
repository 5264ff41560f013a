"""Tables and texts of ``train list`` and ``train show`` at any terminal width."""

from __future__ import annotations

import re

import pytest

from trainer.cli import main, text_columns

ROWS = [
    ("KEY", "DEFAULT", "", "MEANING"),
    ("model.hidden_size", "64", "", "hidden state size, which is as many numbers as a step hands to the next one"),
    ("model.x", "null", "", "short"),
]


def sorted_words(text: str) -> list[str]:
    return sorted(re.findall(r"\S+", text))


@pytest.mark.parametrize("width", [40, 60, 80, 127, 500])
def test_table_fits_the_width_and_keeps_every_word(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text_columns.print_table(ROWS)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    assert sorted_words(text) == sorted_words(" ".join(" ".join(row) for row in ROWS))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("arguments", [["list"], ["show"], ["show", "data=csv"], ["show", "model=lstm"]])
def test_list_and_show_fit_the_width_and_keep_every_word(
    arguments: list[str], width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    main.run_command(arguments)
    unlimited_text = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", str(width))
    main.run_command(arguments)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    assert sorted_words(text) == sorted_words(unlimited_text)


def test_table_without_a_terminal_has_one_line_per_row(
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
