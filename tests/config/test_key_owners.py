"""A key that is set where nothing reads it is told with the place where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.config import compose
from trainer.utils.errors import ConfigError, UnknownNameError

SEQ2SEQ = ("model=seq2seq", "data=reverse")


@pytest.mark.parametrize(
    ("overrides", "told"),
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
def test_a_key_of_a_group_at_the_top_of_a_command_line(overrides: list[str], told: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        compose.compose(overrides)
    key = overrides[-1].partition("=")[0]
    assert caught.value.problems == (f"{key}: {told}",)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (SEQ2SEQ, "unknown key; it is a key of task seq2seq: task.teacher_forcing"),
        (
            ["model=mlp", "data=moons"],
            "unknown key; task classification has no teacher_forcing; it is a key of task seq2seq"
            " (task.teacher_forcing)",
        ),
    ],
)
def test_a_key_of_a_group_at_the_top_of_a_file(overrides: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/old.yaml").write_text("# @package _global_\nteacher_forcing: linear\n")
    with pytest.raises(ConfigError) as caught:
        compose.compose(["experiment=old", *overrides], [tmp_path])
    assert caught.value.problems == (f"teacher_forcing: {told}",)
