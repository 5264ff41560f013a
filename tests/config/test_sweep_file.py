"""Files of ranges: those with lists alone are for grids, too."""

from __future__ import annotations

import pytest

from trainer.config import registry
from trainer.config.override_parser import parse_overrides
from trainer.config.search_space import parse_space
from trainer.config.sweep_file import SWEEP_GROUP, expand_sweep_files
from trainer.config.sweep_grid import expand_combinations


@pytest.mark.parametrize("name", registry.list_options(SWEEP_GROUP))
def test_every_file_of_the_package_is_a_space(name: str) -> None:
    assert parse_space(expand_sweep_files([f"sweep={name}", "model=lstm"])).dimensions


def test_there_is_a_file_for_sweeps() -> None:
    words = expand_sweep_files(["sweep=adam_grid", "batch_size=64"])
    combinations = expand_combinations(parse_overrides(words), ())
    assert len(combinations) == 5
    assert "batch_size=64" in combinations[0]
