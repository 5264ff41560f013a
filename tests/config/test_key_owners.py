"""Hints for keys that are set outside the group that they belong to."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.config import compose
from trainer.utils.errors import ConfigError, UnknownNameError

SEQ2SEQ = ("model=seq2seq", "data=reverse")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["teacher_forcing=0.5"],
            "unknown key; task classification has no teacher_forcing; it is a key of task seq2seq"
            " (task.teacher_forcing)",
        ),
        ([*SEQ2SEQ, "teacher_forcing=linear"], "unknown key; did you mean task.teacher_forcing?"),
        ([*SEQ2SEQ, "teacher_forcing_ends=1"], "unknown key; did you mean task.teacher_forcing_end?"),
    ],
)
def test_group_key_as_a_global_override_is_reported(overrides: list[str], message: str) -> None:
    with pytest.raises(UnknownNameError) as excinfo:
        compose.compose(overrides)
    key = overrides[-1].partition("=")[0]
    assert excinfo.value.problems == (f"{key}: {message}",)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (SEQ2SEQ, "unknown key; it is a key of task seq2seq: task.teacher_forcing"),
        (
            ["model=mlp", "data=moons"],
            "unknown key; task classification has no teacher_forcing; it is a key of task seq2seq"
            " (task.teacher_forcing)",
        ),
    ],
)
def test_group_key_at_the_top_of_a_file_is_reported(overrides: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/old.yaml").write_text("# @package _global_\nteacher_forcing: linear\n")
    with pytest.raises(ConfigError) as excinfo:
        compose.compose(["experiment=old", *overrides], [tmp_path])
    assert excinfo.value.problems == (f"teacher_forcing: {message}",)
