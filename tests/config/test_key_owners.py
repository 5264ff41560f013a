"""Hints for keys that are set outside the group that they belong to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.refusals import collect_problems
from trainer.config import compose, key_owners
from trainer.config.schema import Settings
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


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        (
            "keep=3",
            "data moons has no keep; it is a key of data review_polarity, text_folder (data.keep); did you mean"
            " keep_last, keep_every or keep_best?",
        ),
        ("timeout=3", "did you mean process_timeout or worker_timeout?"),
        ("on_nan=skip", "did you mean on_nonfinite?"),
        ("num_gpus=2", "did you mean devices?"),
        ("save.every=3", "did you mean save_every?"),
        ("model_dropout=0.1", "did you mean model.dropout?"),
        ("sweeper=basic", "did you mean hydra/sweeper?"),
    ],
)
def test_a_name_that_is_like_that_of_other_keys_is_explained(word: str, hint: str) -> None:
    key = word.partition("=")[0]
    assert collect_problems("model=mlp", "data=moons", word) == [f"{key}: unknown key; {hint}"]


def test_a_dot_instead_of_an_underscore_is_explained() -> None:
    assert collect_problems("model=mlp", "data=moons", "resume.allow=[epochs]") == [
        "resume.allow: resume is a value and has no key allow; did you mean resume_allow?"
    ]


def test_a_key_of_the_option_and_global_keys_are_suggested_together() -> None:
    assert collect_problems("model=text_lstm", "data=review_polarity", "keep=3") == [
        "keep: unknown key; did you mean data.keep, keep_last, keep_every or keep_best?"
    ]


def test_related_keys_are_suggested_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/old.yaml").write_text("# @package _global_\non_nan: skip\nkeep: 3\n")
    on_nan, keep = collect_problems("experiment=old", "model=mlp", "data=moons", folders=(tmp_path,))
    assert on_nan == "on_nan: unknown key; did you mean on_nonfinite?"
    assert keep.endswith("did you mean keep_last, keep_every or keep_best?")


def test_synonyms_are_no_keys_themselves() -> None:
    keys = set(Settings.__dataclass_fields__)
    assert set(key_owners.SYNONYMS.values()) <= keys
    assert not keys & key_owners.SYNONYMS.keys()
