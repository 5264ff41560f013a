"""What every test shares: one thread, the same seed, and a working folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from trainer.core import rng


@pytest.fixture(autouse=True)
def _same_for_each_test() -> None:
    """One thread and the same seed, whatever ran before."""
    torch.set_num_threads(1)
    rng.seed_everything(0)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working folder of the test's own, in which nothing half-written may be left."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob("*.tmp*")), "a half-written file was left"
