"""The command line where Hydra does the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import SMALL, find_runs, train
from trainer.cli import argv
from trainer.utils.errors import ConfigError


@pytest.mark.slow
def test_hydras_flags_still_work(tmp_path: Path) -> None:
    shown = train(*SMALL, "epochs=7", "--cfg", "job", cwd=tmp_path)
    assert (shown.returncode, "epochs: 7" in shown.stdout) == (0, True), shown.stderr
    info = train(*SMALL, "--info", cwd=tmp_path)
    assert (info.returncode, "Defaults" in info.stdout + info.stderr) == (0, True), info.stderr
    own = train("--hydra-help", cwd=tmp_path)
    assert (own.returncode, "Hydra" in own.stdout) == (0, True)
    completion = train("-sc", "install=bash", cwd=tmp_path)
    assert (completion.returncode, "complete" in completion.stdout) == (0, True), completion.stderr
    assert not find_runs(tmp_path)


@pytest.mark.slow
def test_resolve_shows_values(tmp_path: Path) -> None:
    plain = train("model=lstm", "data=ucr", "data_dir=there", "--cfg", "job", cwd=tmp_path)
    resolved = train("model=lstm", "data=ucr", "data_dir=there", "--cfg", "job", "--resolve", cwd=tmp_path)
    assert "data_dir: ${data_dir}" in plain.stdout
    assert "${" not in resolved.stdout
    assert resolved.returncode == 0


@pytest.mark.slow
def test_hydras_flags_do_not_let_a_typo_through(tmp_path: Path) -> None:
    done = train("modell=lstm", "--cfg", "job", cwd=tmp_path)
    assert (done.returncode, "did you mean model?" in done.stderr) == (2, True)


@pytest.mark.slow
def test_hydras_own_sweeper_still_works(tmp_path: Path) -> None:
    done = train("-m", *SMALL, "seed=0,1", "hydra/sweeper=basic", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(find_runs(tmp_path)) == 2
    refused = train("-m", *SMALL, "optimizer=adam,adamm", "hydra/sweeper=basic", cwd=tmp_path)
    assert (refused.returncode, "did you mean adam?" in refused.stderr) == (2, True), refused.stderr
    assert len(find_runs(tmp_path)) == 2


def test_unknown_flags_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown option"):
        argv.split_args(["--multi-run"])
    overrides, folders, given = argv.split_args(["-m", "seed=1", "-cd=/tmp", "+x=1", "~y"])
    assert (overrides, folders, given) == (["seed=1", "+x=1", "~y"], [Path("/tmp")], {"--multirun", "--config-dir"})
