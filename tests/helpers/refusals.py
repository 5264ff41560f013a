"""Problems of invalid configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.config import compose
from trainer.utils.errors import ConfigError


def collect_problems(*overrides: str, folders: tuple[Path, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compose.compose(overrides, folders, is_single_run=True)
    return list(caught.value.problems)
