"""Launchers on the command line: their options are checked before anything runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.helpers.commands import SMALL
from trainer.cli import main
from trainer.config import launcher_options
from trainer.config.launcher_options import LAUNCHERS, JoblibOptions, SubmititSlurmOptions, split_launcher
from trainer.config.validation import check_value
from trainer.utils.errors import ConfigError


def test_options_are_separated_from_other_overrides() -> None:
    words = ["seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=3", "hydra.sweep.dir=outputs/x"]
    assert split_launcher(words) == (JoblibOptions(n_jobs=3), ["seed=0,1", "hydra.sweep.dir=outputs/x"])
    words = [
        *("hydra/launcher=submitit_slurm", "hydra.launcher.setup=[module load cuda]", "hydra.launcher.mem_gb=0.5"),
        "hydra.launcher.additional_parameters={mail-type: END}",
    ]
    expected = SubmititSlurmOptions(setup=["module load cuda"], mem_gb=0.5, additional_parameters={"mail-type": "END"})
    assert split_launcher(words) == (expected, [])


@pytest.mark.parametrize(
    "words",
    [
        ["seed=0,1"],
        ["hydra/launcher=basic"],
        ["hydra/launcher=nope"],
        ["hydra/launcher=joblib,ray"],
        ["hydra.launcher.n_jobs=2"],
        ["hydra/sweeper=basic", "hydra/launcher=joblib"],
    ],
)
def test_other_command_lines_are_left_to_hydra(words: list[str]) -> None:
    assert split_launcher(words) == (None, words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["joblib", "n_job=2"], "hydra.launcher.n_job: unknown key; did you mean hydra.launcher.n_jobs?"),
        (["joblib", "partition=a"], "hydra.launcher.partition: unknown key; joblib has n_jobs, backend"),
        (["joblib", "n_jobs=0"], "hydra.launcher.n_jobs: 0 given; it must be"),
        (["joblib", "n_jobs=1,2"], "hydra.launcher.n_jobs=1,2: the options of a launcher take one value"),
        (["submitit_slurm", "timeout_min=long"], "hydra.launcher.timeout_min: 'long' given; it must be"),
        (["submitit_slurm", "setup=module"], "hydra.launcher.setup: 'module' given"),
        (["submitit_slurm", "additional_parameters=[a]"], "hydra.launcher.additional_parameters: "),
        (["submitit_local", "package=x"], "hydra.launcher.package: unknown key"),
        (["ray", "num_cpus=0"], "hydra.launcher.num_cpus: 0 given; it must be"),
    ],
)
def test_a_wrong_option_is_refused_with_the_nearest_name(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *options = words
    with pytest.raises(ConfigError) as caught:
        main.run_command(
            ["-m", *SMALL, "seed=0,1", f"hydra/launcher={name}", *(f"hydra.launcher.{text}" for text in options)]
        )
    assert str(caught.value).startswith(expected)
    assert not (tmp_path / "outputs").exists()


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        split_launcher(["hydra/launcher=ray", "hydra.launcher.num_cpu=1", "hydra.launcher.num_gpus=-1"])
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_without_its_package_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    package = LAUNCHERS[name].package
    with pytest.raises(ConfigError, match=rf"{name} needs the package {package}; .* 'train-zoo\[{package}\]'"):
        split_launcher([f"hydra/launcher={name}"])


@pytest.mark.parametrize("name", LAUNCHERS)
def test_defaults_are_valid(name: str) -> None:
    kind = LAUNCHERS[name]
    kinds = launcher_options.get_option_types(kind)
    assert {key: check_value(key, value, kinds[key]) for key, value in vars(kind()).items()} == {
        key: [] for key in kinds
    }


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize("arguments", [["model=mlp,nope"], ["optimizer.lr=-1,0.1"], ["optimizer.lrr=1,2"]])
def test_a_typo_is_refused_before_the_first_job(
    name: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        main.run_command(["-m", "data=moons", "model=mlp", *arguments, f"hydra/launcher={name}"])
    assert not (tmp_path / "outputs").exists()


GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "cluster.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_option_is_in_the_guide_with_its_default(name: str) -> None:
    assert f"| `{name}` |" in GUIDE
    rows = [line for line in GUIDE.splitlines() if line.startswith("| `")]
    for key, default in vars(LAUNCHERS[name]()).items():
        own_rows = [row for row in rows if f"`{key}`" in row]
        assert own_rows, key
        if isinstance(default, int | str):
            assert any(f"{default}" in row.split(" | ")[1] for row in own_rows), key
