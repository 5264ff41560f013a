"""What is said of a configuration that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer import config
from trainer.errors import ConfigError


def refused(*overrides: str, folders: tuple[Path, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.compose(overrides, folders)
    return list(caught.value.problems)
