"""Real data: tests that read it are skipped where it is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DEFAULT_FOLDER = Path(__file__).parents[3] / "shared" / "data"
FOLDER = Path(os.environ.get("TRAIN_DATA") or DEFAULT_FOLDER).expanduser().absolute()
"""Holds a folder for each data set: what the environment names, else what lies beside the checkout (if it does)."""


def missing_reason(name: str) -> str | None:
    """Return why the files of a data set cannot be read here, or None."""
    folder = FOLDER / name
    return None if folder.is_dir() and any(folder.iterdir()) else f"no files of {name} here"


def needs(*names: str) -> pytest.MarkDecorator:
    """Return the mark that skips a test where files of one of these data sets are missing."""
    reasons = [reason for name in names if (reason := missing_reason(name))]
    return pytest.mark.skipif(bool(reasons), reason="; ".join(reasons))
