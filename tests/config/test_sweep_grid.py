"""Combinations of a sweep, counted before they are expanded."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import pytest

from tests.helpers.commands import write
from trainer.config import override_parser, sweep_grid
from trainer.utils.errors import ConfigError


def expand(*words: str, folders: tuple[Path, ...] = ()) -> list[list[str]]:
    return sweep_grid.expand_combinations(override_parser.parse_overrides(words, folders), folders)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("optimizer.lr=interval(1e-4,1e-2)",), "list of values: optimizer.lr=0.0001,0.01"),
        (("data.rows=glob(3*)",), "matches options of a group"),
        (("model=glob(nothing*)",), "no model has such a name"),
        (("seed=range(0,0)",), "contains no value"),
        (("seed=range(5,1)",), "contains no value"),
        (("seed=range(0,9,0)",), "a step other than 0"),
        (("seed=range(0,inf)",), "finite numbers"),
        (("seed=choice()",), "choice()': empty choice is not legal; Hydra's functions are bool, choice, float, glob"),
        (("seed=sort()",), "empty sort input"),
        (("seed=shuffle()",), "contains no value"),
        (("seed=range(a,b)",), "str is incompatible"),
        (("seed=choice(1,interval(1,2))",), "IntervalSweep is incompatible"),
        (("model.hidden=extend_list(8)",), "Unknown function 'extend_list'; Hydra's functions are bool, choice"),
        (("scheduler=glob(*,exclude=[*])",), "no scheduler has such a name"),
        (("seed=range(0,1000000000)",), "1,000,000,000 jobs"),
        (("seed=range(0,1e300,1e-9)",), "jobs"),
        (("seed=range(0,1000)", "data.seed=range(0,1000)"), "1,000,000 jobs (seed 1,000, data.seed 1,000)"),
    ],
)
def test_empty_or_too_large_grid_raises_at_once(words: tuple[str, ...], message: str) -> None:
    start = process_time()  # not of other processes
    with pytest.raises(ConfigError) as excinfo:
        expand(*words)
    assert message in str(excinfo.value)
    assert "\n" not in str(excinfo.value)
    assert process_time() - start < 2


def test_combinations_are_expanded_in_order(tmp_path: Path) -> None:
    assert expand("seed=range(0,6,2)", "model=mlp") == [[f"seed={seed}", "model=mlp"] for seed in (0, 2, 4)]
    assert expand("seed=3,1", "x=a,b") == [["seed=3", "x=a"], ["seed=3", "x=b"], ["seed=1", "x=a"], ["seed=1", "x=b"]]
    folder = write(tmp_path, {"model/bigr_own.yaml": "# mine\n_target_: x.Y\n"})
    assert expand("model=glob(bigr*)", folders=(folder,)) == [["model=bigr_own"], ["model=bigru"]]
