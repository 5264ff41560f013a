"""Invalid sweeps: errors of any combination raise before the first job, incompatible options fail only their job."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import SMALL, find_runs, train
from trainer.cli import main
from trainer.utils.errors import ConfigError, UnknownNameError

pytestmark = pytest.mark.usefixtures("in_tmp")


@pytest.mark.parametrize(
    "arguments", [["model=mlp,nope"], ["optimizer.lrr=1,2"], ["optimizer=adam,adamm", "optimizer.lr=-1,1"]]
)
def test_typo_raises_before_the_first_job(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        main.run_command(["-m", "data=moons", "model=mlp", *arguments])
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["epochs=1,x"], ["epochs: 'x' given"]),
        (["optimizer.lr=0.1,-1", "seed=0,-2"], ["optimizer.lr: -1 given", "seed: -2 given"]),
        (["epochs=1,x", "task=classification,seq2seq"], ["epochs: 'x' given"]),
    ],
)
def test_a_bad_value_raises_before_the_first_job(overrides: list[str], expected: list[str], tmp_path: Path) -> None:
    """No other value of the grid makes it valid; incompatible options are reported by their own job."""
    with pytest.raises(ConfigError) as caught:
        main.run_command(["-m", "model=mlp", "data=moons", *overrides])
    for text in expected:
        assert sum(problem.startswith(text) for problem in caught.value.problems) == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_incompatible_job_is_reported_and_others_are_trained() -> None:
    done = train("-m", *SMALL, "task=classification,seq2seq", cwd=Path())
    assert (done.returncode, len(find_runs(Path()))) == (2, 1), done.stderr
    assert "1 job (1 incompatible), " in done.stdout
    assert done.stderr.startswith("refused: 1-task=seq2seq: ")


def test_grid_of_only_invalid_values_raises(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr: -1 given"):
        main.run_command(["-m", *SMALL, "optimizer.lr=-1,-2"])
    assert not (tmp_path / "outputs").exists()
