"""Shared fixtures: one thread, a fixed seed, no process left running, and a temporary working folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers import commands
from trainer.core import rng


@pytest.fixture(autouse=True)
def _reset_threads_and_seed() -> None:
    """Set one thread and a fixed seed before each test."""
    torch.set_num_threads(1)
    rng.seed_everything(0)


@pytest.fixture(autouse=True)
def _end_processes() -> Iterator[None]:
    """End the commands that a failed test has left running."""
    yield
    commands.end_started()


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Change to a temporary folder; fail if a temporary file is left there."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob("*.tmp*")), "a half-written file was left"
