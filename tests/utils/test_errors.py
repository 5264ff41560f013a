"""Exit codes, and the name that was meant."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from trainer.utils import errors


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("lstmm", ["lstm", "bilstm", "gru"], "lstm"),
        ("ltsm", ["lstm", "mlp"], "lstm"),
        ("rl", ["lr", "eps"], "lr"),
        ("hiden", ["hidden", "dropout"], "hidden"),
        ("optim", ["optimizer", "model"], "optimizer"),
        ("mod", ["model", "modeltype"], "model"),
        ("zzz", ["lstm", "gru"], None),
        ("x", ["xor20"], None),
        ("", ["lstm"], None),
    ],
)
def test_the_nearest_name(word: str, known: list[str], meant: str | None) -> None:
    assert errors.find_nearest(word, known) == meant
    assert errors.did_you_mean(word, known) == (f"; did you mean {meant}?" if meant else "")


def test_every_fault_has_its_exit_code() -> None:
    codes = {
        errors.UserError: 1,
        errors.ConfigError: 2,
        errors.UnknownNameError: 2,
        errors.NonFiniteError: 3,
        errors.SystemFault: 4,
    }
    assert {kind: kind.exit_code for kind in codes} == codes
    assert errors.Interrupted("", signal.SIGINT).exit_code == 130
    assert errors.Interrupted("", signal.SIGTERM).exit_code == 143


def test_problems_stand_one_a_line() -> None:
    error = errors.ConfigError("a: b", "c: d")
    assert (str(error), error.problems) == ("a: b\nc: d", ("a: b", "c: d"))


def test_the_nearest_folder_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for name in ("", "nope", "nope/deeper", "file", "file/below", "n" * 999):
        assert errors.find_nearest_dir(tmp_path / name) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert errors.find_nearest_dir(Path("nope/deeper")) == tmp_path
