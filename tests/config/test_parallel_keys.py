"""Keys of data parallel training: what a message offers is accepted, and keys that change nothing are refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.refusals import collect_problems
from trainer.config import compose, validation
from trainer.config.run_config import Config
from trainer.runs import run_overrides
from trainer.utils.errors import ConfigError, IncompatibleError

SMALL = ("model=mlp", "data=moons")


def resume(config: Config, **changes: Any) -> list[str]:
    """Return the problems of a run that is resumed by a command line that sets some global keys."""
    changed = replace(config, tree={**config.tree, **changes}, settings=replace(config.settings, **changes))
    try:
        run_overrides.check_processes(changed, changes.keys())
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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("shard_optimizer=true",),
            "shard_optimizer: it divides the state of the optimizer among several processes; set devices=2 or more",
        ),
        (("shard_optimizer=true", "shards=6"), "several processes; set devices=2 or 3 or 6"),
        (("shard_optimizer=true", "shards=1"), "several processes; leave it out"),
        (("keep_last=3", "save_every=null"), "keep_last: it has no effect without save_every or save_every_steps"),
        (("keep_last=3", "save_every=null", "keep_every=2"), "keep_last: it has no effect without save_every"),
    ],
    ids=str,
)
def test_a_key_without_effect_is_refused(words: tuple[str, ...], expected: str) -> None:
    (problem,) = collect_problems(*SMALL, *words)
    assert expected in problem


@pytest.mark.parametrize(
    "words",
    [
        ("shard_optimizer=true", "devices=2"),
        ("shard_optimizer=true", "devices=auto", "device=cpu"),  # as many as there are GPUs, on another machine several
        ("resume=run", "shard_optimizer=true"),
        ("resume=run", "strategy=fsdp", "model=gpt", "data=tinyshakespeare"),
        ("resume=run", "keep_last=3", "save_every=null"),
        ("keep_last=3", "save_every=null", "save_every_steps=2"),
        ("keep_last=1", "save_every=null"),
    ],
    ids=str,
)
def test_a_key_that_may_have_an_effect_is_accepted(words: tuple[str, ...]) -> None:
    assert compose.compose([*SMALL, *words]).names


def test_a_resumed_run_is_refused_keys_without_effect_that_the_command_line_sets() -> None:
    config = compose.compose([*SMALL, "devices=2", "shard_optimizer=true"])
    assert resume(config, devices=1) == []
    (problem,) = resume(config, devices=1, shard_optimizer=True)
    assert problem.endswith("among several processes; set devices=2")
    assert resume(config, devices=1, strategy="fsdp") == [
        "strategy: fsdp shards a model over several processes; set devices=2"
    ]
    (problem,) = resume(config, strategy="fsdp")
    assert problem.endswith("; set shard_optimizer=false")
    assert resume(config, strategy="fsdp", shard_optimizer=False) == []
    config = compose.compose([*SMALL, "keep_last=3"])
    assert resume(config, save_every=None) == []
    assert len(resume(config, keep_last=2, save_every=None)) == 1


@pytest.mark.parametrize("words", [("shard_optimizer=true",), ("keep_last=3", "save_every=null")], ids=str)
def test_a_job_of_a_sweep_without_an_effect_is_incompatible_alone(words: tuple[str, ...]) -> None:
    with pytest.raises(IncompatibleError):
        compose.compose([*SMALL, *words])


def test_a_file_may_set_a_key_for_other_command_lines(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    recipe = "# @package _global_\nkeep_last: 3\nshard_optimizer: true\n"
    (tmp_path / "experiment/own.yaml").write_text(recipe)
    settings = compose.compose([*SMALL, "experiment=own", "save_every=null"], [tmp_path]).settings
    assert (settings.keep_last, settings.shard_optimizer) == (3, True)


def test_a_sharded_run_is_read_on_a_machine_without_gpus() -> None:
    config = compose.compose(["model=gpt", "data=tinyshakespeare", "strategy=fsdp", "devices=2"])
    assert validation.check_config({**config.tree, "devices": "auto", "device": "cpu"}, config.names) == []
