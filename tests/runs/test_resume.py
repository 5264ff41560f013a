"""With ``resume=auto``, a run that is not gone on with because its data has changed is not passed over in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.commands import find_runs, train
from trainer.cli import main

pytestmark = pytest.mark.usefixtures("in_tmp")

WORDS = (
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


def stop(path: Path) -> None:
    """Has a run say that it was stopped."""
    file = path / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "interrupted"}))


@pytest.mark.slow
def test_an_interrupted_run_on_other_data_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(60)
    main.run_command(WORDS)
    assert "no run of this configuration on this data yet; starting one\n" in capsys.readouterr().out
    (path,) = find_runs(Path())
    stop(path)
    write_rows(80)
    main.run_command(WORDS)
    said = f"starting one ({path}, interrupted, has this configuration on different data: train resume {path} "
    assert said in capsys.readouterr().out
    again = train(*WORDS, cwd=Path())  # a process of another second, which would take another folder
    assert "nothing to do" in again.stdout, "the run on this data comes first"


@pytest.mark.slow
def test_another_configuration_is_not_named(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(60)
    main.run_command(WORDS)
    write_rows(80)
    main.run_command([*WORDS, "seed=1"])
    assert capsys.readouterr().out.count("starting one\n") == 2


@pytest.mark.slow
def test_a_sweep_on_other_data_is_reported() -> None:
    write_rows(60)
    words = ("-m", *WORDS, "seed=0,1", "jobs=1")
    first = train(*words, cwd=Path())
    assert "resume=auto: no sweep of these jobs on this data yet; starting one\n" in first.stdout, first.stderr
    path = next(path for path in find_runs(Path()) if path.name == "0-seed=0")
    write_rows(80)
    again = train(*words, cwd=Path())
    assert f"starting one ({path}, finished, has this configuration on different data)" in again.stdout
