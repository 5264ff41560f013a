"""Flags and sweepers that Hydra handles."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import SMALL, find_runs, train
from trainer.cli import argv
from trainer.utils.errors import ConfigError


@pytest.mark.slow
def test_hydra_flags_print_and_start_no_run(tmp_path: Path) -> None:
    config = train(*SMALL, "epochs=7", "--cfg", "job", cwd=tmp_path)
    assert (config.returncode, "epochs: 7" in config.stdout) == (0, True), config.stderr
    info = train(*SMALL, "--info", cwd=tmp_path)
    assert (info.returncode, "Defaults" in info.stdout + info.stderr) == (0, True), info.stderr
    help_text = train("--hydra-help", cwd=tmp_path)
    assert (help_text.returncode, "Hydra" in help_text.stdout) == (0, True)
    completion = train("-sc", "install=bash", cwd=tmp_path)
    assert (completion.returncode, "complete" in completion.stdout) == (0, True), completion.stderr
    assert not find_runs(tmp_path)


@pytest.mark.slow
def test_resolve_prints_interpolated_values(tmp_path: Path) -> None:
    plain = train("model=lstm", "data=ucr", "data_dir=there", "--cfg", "job", cwd=tmp_path)
    resolved = train("model=lstm", "data=ucr", "data_dir=there", "--cfg", "job", "--resolve", cwd=tmp_path)
    assert "data_dir: ${data_dir}" in plain.stdout
    assert "${" not in resolved.stdout
    assert resolved.returncode == 0


@pytest.mark.slow
def test_typo_next_to_a_hydra_flag_is_refused(tmp_path: Path) -> None:
    process = train("modell=lstm", "--cfg", "job", cwd=tmp_path)
    assert (process.returncode, "did you mean model?" in process.stderr) == (2, True)


@pytest.mark.slow
def test_basic_sweeper_of_hydra_runs_every_job(tmp_path: Path) -> None:
    sweep = train("-m", *SMALL, "seed=0,1", "hydra/sweeper=basic", cwd=tmp_path)
    assert sweep.returncode == 0, sweep.stderr
    assert len(find_runs(tmp_path)) == 2
    refused = train("-m", *SMALL, "optimizer=adam,adamm", "hydra/sweeper=basic", cwd=tmp_path)
    assert (refused.returncode, "did you mean adam?" in refused.stderr) == (2, True), refused.stderr
    assert len(find_runs(tmp_path)) == 2


def test_split_args_separates_flags_and_refuses_unknown_ones() -> None:
    with pytest.raises(ConfigError, match="unknown option"):
        argv.split_args(["--multi-run"])
    overrides, folders, flags = argv.split_args(["-m", "seed=1", "-cd=/tmp", "+x=1", "~y"])
    assert (overrides, folders, flags) == (["seed=1", "+x=1", "~y"], [Path("/tmp")], {"--multirun", "--config-dir"})
