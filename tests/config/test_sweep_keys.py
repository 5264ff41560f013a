"""Keys of sweeps: refused where nothing reads them, with the command line that does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.refusals import collect_problems
from trainer.cli import main
from trainer.config import compose, sweep_keys
from trainer.runs import sweep
from trainer.utils.errors import ConfigError

SMALL = ("model=mlp", "data=moons")
NO_SWEEP = "it has no effect on a single run; add -m for a sweep"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("jobs=2", NO_SWEEP),
        ("jobs_per_device=2", NO_SWEEP),
        ("members=auto", NO_SWEEP),
        ("hydra.launcher.n_jobs=2", "it has no effect without hydra/launcher=joblib"),
        (
            "hydra.launcher.timeout_min=2",
            "it has no effect without hydra/launcher=submitit_local or hydra/launcher=submitit_slurm",
        ),
        ("hydra.launcher.nope=2", "it has no effect without hydra/launcher=NAME"),
        ("hydra.sweeper.max_batch_size=2", "it has no effect without hydra/sweeper=NAME"),
        ("hydra.launcher=joblib", "it is chosen by a slash; did you mean hydra/launcher=joblib?"),
        ("hydra.sweeper=optuna", "it is chosen by a slash; did you mean hydra/sweeper=optuna?"),
    ],
)
def test_a_key_of_sweeps_is_refused_for_a_single_run(word: str, expected: str) -> None:
    assert collect_problems(*SMALL, word) == [f"{word.partition('=')[0]}: {expected}"]


@pytest.mark.parametrize("words", [("launcher=joblib",), ("launcher=joblib", "seed=0,1")])
def test_a_launcher_without_its_group_is_explained(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^launcher: unknown key; did you mean hydra/launcher\?$"):
        main.run_command(["-m", *SMALL, *words])
    with pytest.raises(ConfigError, match=r"'slurm' does not exist; did you mean submitit_slurm\? basic, joblib"):
        main.run_command(["-m", *SMALL, "hydra/launcher=slurm"])


def test_options_of_a_launcher_that_is_not_chosen_are_refused_for_a_sweep() -> None:
    with pytest.raises(ConfigError, match=r"^hydra\.launcher\.n_jobs: it has no effect without hydra/launcher=joblib$"):
        sweep.run_sweep([*SMALL, "seed=0,1", "hydra.launcher.n_jobs=2"], ())


def test_all_problems_are_reported_at_once() -> None:
    problems = collect_problems(*SMALL, "hydra.launcher.n_jobs=2", "optimizer.lrr=1")
    assert len(problems) == 2


def test_the_value_of_a_key_without_effect_is_checked_first() -> None:
    (problem,) = collect_problems(*SMALL, "jobs=0")
    assert problem.startswith("jobs: 0 given; it must be")


@pytest.mark.parametrize("words", [("jobs=null",), ("jobs_per_device=1",), ("hydra.sweep.dir=outputs/sweep",)])
def test_defaults_are_accepted(words: tuple[str, ...]) -> None:
    assert compose.compose([*SMALL, *words]).settings.jobs is None


def test_a_file_and_a_job_of_a_sweep_may_set_the_number_of_jobs(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/own.yaml").write_text("# @package _global_\njobs: 2\n")
    assert compose.compose([*SMALL, "experiment=own"], [tmp_path]).settings.jobs == 2
    assert compose.compose([*SMALL, "jobs=3"]).settings.jobs == 3


def test_a_run_is_repeated_alone_without_what_started_its_sweep() -> None:
    own = ["model=mlp", "model.hidden=[4]", "optimizer.lr=0.1", "hydra.run.dir=outputs/own"]
    others = ["jobs=2", "++jobs_per_device=2", "members=auto", "resume=auto", "hydra.sweep.dir=there", "sweep=mine"]
    others += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    assert sweep_keys.select_run_overrides([*own[:2], *others, *own[2:]]) == own
