"""Versions of the code of a process."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from trainer.utils.code_version import read_code_version


def test_commit_is_that_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    outside = read_code_version()
    assert outside.commit is None
    assert outside.packages["torch"] == torch.__version__
    git = ["git", "-c", "user.name=name", "-c", "user.email=name@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "file").write_text("first")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    clean = read_code_version().commit
    assert clean is not None
    assert not clean.endswith("+")
    (tmp_path / "file").write_text("second")
    assert read_code_version().commit == f"{clean}+"
