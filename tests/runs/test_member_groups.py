"""Which runs can be trained together."""

from __future__ import annotations

import pytest

from tests.helpers.commands import SMALL
from trainer.config import compose
from trainer.runs import member_groups


def group(*runs: tuple[str, ...]) -> list[list[int]]:
    return member_groups.group_configs([compose.compose([*SMALL, *run]) for run in runs])


@pytest.mark.parametrize(
    "key",
    [
        "seed=3",
        "optimizer.lr=0.5",
        "optimizer=sgd",
        "scheduler=cosine",
        "grad_clip=1",
        "ema=0.9",
        "init=xavier",
        "jobs=2",
    ],
)
def test_runs_that_differ_in_numbers_are_a_group(key: str) -> None:
    assert group((), (key,), ("model.hidden=[5]",), ("optimizer.lr=0.3",)) == [[0, 1, 3]]


@pytest.mark.parametrize(
    "key", ["model.hidden=[5]", "model.dropout=0.1", "batch_size=16", "data.rows=400", "freeze=['*bias']"]
)
def test_runs_with_another_loss_or_other_batches_are_none(key: str) -> None:
    assert group((), (key,)) == []


def test_augmentations_that_take_the_seed_of_the_run_are_numbers() -> None:
    keys = ("seed=0", "seed=1", "augment.seed=1", "augment.shift=1")
    configs = [compose.compose(["model=mlp", "data=digits", "augment=nudge", key]) for key in keys]
    assert member_groups.group_configs(configs) == [[0, 1]]


def test_there_are_several_groups() -> None:
    runs = [(f"model.hidden=[{size}]", f"seed={seed}") for seed in (0, 1) for size in (4, 5)]
    assert group(*runs) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    "key",
    [
        "precision=bf16",
        "accumulate=2",
        "compile=true",
        "on_nonfinite=skip",
        "num_workers=1",
        "deterministic=true",
        "ensemble=2",
    ],
)
def test_options_that_prevent_it_are_named(key: str) -> None:
    assert member_groups.find_obstacle(compose.compose([*SMALL, key])) == key.replace("true", "True")
    assert group((key,), (key,)) == []
