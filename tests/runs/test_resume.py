"""``resume=auto`` reports runs of the same configuration on different data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.commands import find_runs, train
from trainer.cli import main

pytestmark = pytest.mark.usefixtures("in_tmp")

OVERRIDES = (
    "model=mlp",
    "data=csv",
    "data.path=own.csv",
    "data.target=label",
    "max_steps=2",
    "threads=1",
    "draw=false",
    "resume=auto",
)


def write_rows(count: int) -> None:
    lines = [f"{k * 7 % 11},{k * 5 % 13},{'ab'[k % 2]}" for k in range(count)]
    Path("own.csv").write_text("\n".join(["x,y,label", *lines]) + "\n")


def mark_interrupted(path: Path) -> None:
    """Mark a run as interrupted."""
    file = path / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "interrupted"}))


@pytest.mark.slow
def test_an_interrupted_run_on_other_data_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(60)
    main.run_command(OVERRIDES)
    assert "no run of this configuration on this data yet; starting one\n" in capsys.readouterr().out
    (path,) = find_runs(Path())
    mark_interrupted(path)
    write_rows(80)
    main.run_command(OVERRIDES)
    message = f"starting one ({path}, interrupted, has this configuration on different data: train resume {path} "
    assert message in capsys.readouterr().out
    again = train(*OVERRIDES, cwd=Path())  # another process, at another second, would get another directory
    assert "nothing to do" in again.stdout, "a run on this data must be preferred"


@pytest.mark.slow
def test_an_unfinished_run_with_other_shards_is_reported_and_found_by_them(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(60)
    main.run_command([*OVERRIDES, "shards=2", "hydra.run.dir=outputs/a"])
    capsys.readouterr()
    main.run_command([*OVERRIDES, "hydra.run.dir=outputs/b", "max_steps=1"])
    main.run_command([*OVERRIDES, "hydra.run.dir=outputs/c"])
    assert capsys.readouterr().out.count("starting one\n") == 2, "it is finished"
    mark_interrupted(Path("outputs/a"))
    mark_interrupted(Path("outputs/c"))
    main.run_command([*OVERRIDES, "shards=3", "hydra.run.dir=outputs/d"])
    message = "starting one (outputs/c, unfinished, has this configuration with shards=1: train resume outputs/c "
    assert message in capsys.readouterr().out
    main.run_command([*OVERRIDES, "shards=2", "hydra.run.dir=outputs/e"])
    assert capsys.readouterr().out.startswith("resume=auto: continuing outputs/a\n")
    assert not Path("outputs/e").exists()


@pytest.mark.slow
def test_run_of_another_configuration_is_not_reported(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(60)
    main.run_command(OVERRIDES)
    write_rows(80)
    main.run_command([*OVERRIDES, "seed=1"])
    assert capsys.readouterr().out.count("starting one\n") == 2


@pytest.mark.slow
def test_a_sweep_on_other_data_is_reported() -> None:
    write_rows(60)
    overrides = ("-m", *OVERRIDES, "seed=0,1", "jobs=1")
    first = train(*overrides, cwd=Path())
    assert "resume=auto: no sweep of these jobs on this data yet; starting one\n" in first.stdout, first.stderr
    path = next(path for path in find_runs(Path()) if path.name == "0-seed=0")
    write_rows(80)
    again = train(*overrides, cwd=Path())
    assert f"starting one ({path}, finished, has this configuration on different data)" in again.stdout
