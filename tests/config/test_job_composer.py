"""Configurations of a grid, against those that are composed one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.helpers.commands import write
from trainer.config import compose, job_composer, sweep_grid
from trainer.config.job_composer import JobComposer
from trainer.config.override_parser import parse_overrides
from trainer.utils.errors import ConfigError

MOONS = ("model=mlp", "data=moons")


def count_compositions(grid: Sequence[Sequence[str]], config_dirs: tuple[Path, ...] = ()) -> int:
    """Compose a grid, compare each configuration with one that is composed alone, and count the compositions."""
    composer = JobComposer(config_dirs)
    with patch.object(job_composer.compose, "compose", wraps=compose.compose) as composed:
        configs = [composer.compose(overrides) for overrides in grid]
        count = composed.call_count
    for config, overrides in zip(configs, grid, strict=True):
        expected = compose.compose(overrides, config_dirs)
        for key in ("tree", "raw", "names", "overrides", "settings", "config_hash"):
            assert getattr(config, key) == getattr(expected, key), key
    return count


@pytest.mark.parametrize(
    "grid",
    [
        [(*MOONS, f"seed={seed}", f"optimizer.lr={lr}") for seed in (0, 1) for lr in (0.1, 1e-3, 1)],
        [(*MOONS, f"model.dropout={p}", f"epochs={epochs}", "ema=0.9") for p in (0.1, 0.5) for epochs in (1, 2)],
    ],
)
def test_jobs_that_differ_in_numbers_are_composed_once(grid: list[tuple[str, ...]]) -> None:
    assert count_compositions(grid) == 1


@pytest.mark.parametrize(
    "grid",
    [
        [(*MOONS, f"optimizer={name}") for name in ("adam", "sgd")],
        [(*MOONS, f"model.hidden=[{size}]") for size in (4, 5)],
        [(*MOONS, f"optimizer.lr={lr}", "data.noise=${optimizer.lr}") for lr in (0.1, 0.2)],
        sweep_grid.expand_combinations(parse_overrides([*MOONS, "optimizer.lr=0.1,0.2", "data.noise=${optimizer.lr}"])),
        [(*MOONS, f"seed={seed}", f"grad_clip={clip}") for seed, clip in ((0, "null"), (1, "1"))],
        [(*MOONS, f"budget={seconds}") for seconds in (60, 120)],
    ],
)
def test_other_jobs_are_composed_each(grid: Sequence[Sequence[str]]) -> None:
    assert count_compositions(grid) == len(grid)


def test_a_reference_in_a_file_of_the_user_is_resolved_for_each_job(tmp_path: Path) -> None:
    text = "# own\ndefaults: [moons]\nseed: ${seed}\n"
    folder = write(tmp_path, {"data/own.yaml": text})
    assert count_compositions([("model=mlp", "data=own", f"seed={seed}") for seed in (3, 4)], (folder,)) == 2


def test_invalid_numbers_are_reported_as_without_it() -> None:
    composer = JobComposer()
    composer.compose([*MOONS, "optimizer.lr=0.1"])
    for word in ("optimizer.lr=-1", "optimizer.lr=0"):
        with pytest.raises(ConfigError) as alone:
            compose.compose([*MOONS, word])
        with pytest.raises(ConfigError) as composed:
            composer.compose([*MOONS, word])
        assert composed.value.problems == alone.value.problems
