"""Suggestions for a first word that is no subcommand."""

from __future__ import annotations

import pytest

from tests.helpers.in_process import run_main
from trainer.cli.unknown_command import SYNONYMS
from trainer.cli.verbs import VERBS
from trainer.config import registry


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("serach",), "unknown command 'serach'; did you mean search? one of list, show"),
        (("trian", "model=mlp"), "unknown command 'trian'; did you mean train model=mlp?"),
        (("train",), "unknown command 'train'; did you mean train model=NAME data=NAME?"),
        (("delete", "outputs/x"), "unknown command 'delete'; did you mean train rm?"),
        (("leaderbord",), "unknown command 'leaderbord'; did you mean train report?"),
        (("ltsm",), "unknown command 'ltsm'; did you mean train model=lstm?"),
        (("qqq",), "unknown command 'qqq'; one of list, show"),
    ],
)
def test_a_misspelled_command_gets_a_suggestion(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, stderr = run_main(capsys, monkeypatch, *arguments)
    assert (code, message in stderr) == (2, True), stderr


def test_synonyms_stand_for_commands_and_are_no_commands() -> None:
    for word, meaning in SYNONYMS.items():
        first = meaning.split()[0]
        assert first in VERBS or "=" in first or first.startswith("-")
        assert word not in VERBS
        assert word not in registry.GROUPS
