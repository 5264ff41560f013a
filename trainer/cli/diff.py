"""The command ``train diff``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.utils.errors import ConfigError

if TYPE_CHECKING:
    from trainer.analysis.diff_runs import Difference

SECTIONS = {
    "data": "the same data",
    "settings": "the same configuration",
    "runtime": "",
    "code": "the same code and versions",
    "scores": "the same scores",
}
TITLES = {
    "data": "DATA",
    "settings": "CONFIGURATION",
    "runtime": "RUNTIME",
    "code": "CODE",
    "scores": "SCORES",
}


def diff_runs(arguments: Sequence[str]) -> int:
    """Run ``train diff RUN RUN``.

    Args:
        arguments: Words after ``train diff``: two run directories.

    Raises:
        ConfigError: There are not two run directories.
    """
    from trainer.analysis import diff_runs as comparison
    from trainer.analysis.run_record import read_record
    from trainer.cli.text_columns import print_text

    if len(arguments) != 2:
        raise ConfigError("train diff takes two run directories, as in: train diff outputs/a outputs/b")
    first, second = (read_record(Path(word)) for word in arguments)
    difference = vars(comparison.diff_runs(first, second))
    same = [text for name, text in SECTIONS.items() if text and not difference[name]]
    for name, title in TITLES.items():
        if difference[name]:
            _print_section(title, difference[name])
    if same:
        print_text(", ".join(same))
    return 0


def _print_section(title: str, rows: Sequence[Difference]) -> None:
    from trainer.cli.text_columns import print_table

    print_table([(title, "FIRST", "SECOND", ""), *((each.name, each.first, each.second, each.note) for each in rows)])
