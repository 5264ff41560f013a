"""What is wrong whatever else is in a sweep is refused before its first job; what does not go together is one job's."""

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
def test_a_typo_stops_everything_before_the_first_job(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        main.run_command(["-m", "data=moons", "model=mlp", *arguments])
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["epochs=1,x"], ["epochs: 'x' given"]),
        (["optimizer.lr=0.1,-1", "seed=0,-2"], ["optimizer.lr: -1 given", "seed: -2 given"]),
        (["epochs=1,x", "task=classification,seq2seq"], ["epochs: 'x' given"]),
    ],
)
def test_a_bad_value_raises_before_the_first_job(words: list[str], said: list[str], tmp_path: Path) -> None:
    """Nothing else in the grid makes it right; what does not go together is the matter of one job."""
    with pytest.raises(ConfigError) as caught:
        main.run_command(["-m", "model=mlp", "data=moons", *words])
    for text in said:
        assert sum(problem.startswith(text) for problem in caught.value.problems) == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_what_does_not_go_together_is_bad_input_and_trains_the_rest() -> None:
    done = train("-m", *SMALL, "task=classification,seq2seq", cwd=Path())
    assert (done.returncode, len(find_runs(Path()))) == (2, 1), done.stderr
    assert "1 job (1 incompatible), " in done.stdout
    assert done.stderr.startswith("refused: 1-task=seq2seq: ")


def test_a_grid_of_nothing_but_bad_values_is_refused_whole(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr: -1 given"):
        main.run_command(["-m", *SMALL, "optimizer.lr=-1,-2"])
    assert not (tmp_path / "outputs").exists()
