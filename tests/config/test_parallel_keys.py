"""Keys of data parallel training: what a message offers is accepted, and keys that change nothing are refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from trainer.config import compose
from trainer.config.run_config import Config
from trainer.runs import run_overrides
from trainer.utils.errors import ConfigError

SMALL = ("model=mlp", "data=moons")


def resume(config: Config, **changes: Any) -> list[str]:
    """Return the problems of a run that is resumed with other values of its global keys."""
    changed = replace(config, tree={**config.tree, **changes}, settings=replace(config.settings, **changes))
    try:
        run_overrides.check_processes(changed)
    except ConfigError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize(
    ("words", "changes", "expected"),
    [
        (("devices=2",), {"devices": 3}, "devices must be one of 1, 2"),
        (("devices=2",), {"devices": 4, "strategy": "fsdp"}, "devices must be 2"),
        (("devices=2", "exact=false"), {"devices": 4}, "shards=2 needs devices=2, 4 given"),
        (("devices=2", "exact=false"), {"devices": 1}, "shards=2 needs devices=2, 1 given"),
        (("exact=false",), {"devices": 2}, "shards=1 needs devices=1, 2 given"),
        ((), {"devices": 2}, "1 part of a batch cannot be shared equally by 2 processes; .* devices must be 1$"),
        ((), {"devices": 2, "strategy": "fsdp"}, "devices must be 1, with strategy=data_parallel"),
    ],
    ids=str,
)
def test_a_number_of_processes_that_is_offered_is_accepted(
    words: tuple[str, ...], changes: dict[str, Any], expected: str
) -> None:
    config = compose.compose([*SMALL, *words])
    (problem,) = resume(config, **changes)
    assert re.search(expected, problem), problem
    offer = re.search(r"needs devices=(\d+)|devices must be (?:one of )?([\d, ]+)", problem)
    assert offer is not None
    named_strategy = {"strategy": "data_parallel"} if "strategy=data_parallel" in problem else {}
    for number in (offer[1] or offer[2]).strip(", ").split(", "):
        assert resume(config, **{**changes, **named_strategy, "devices": int(number)}) == []
