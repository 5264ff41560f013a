"""Run directories that are not what they seem: links without an end, and files that cannot be read to their end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainer.runs import run_dir, saved_run
from trainer.utils.errors import ConfigError


@pytest.mark.parametrize(
    "links", [{"run": "run"}, {"run": "other", "other": "run"}, {"run": "missing"}, {"loop": ".", "run": "loop/run"}]
)
def test_links_that_lead_nowhere_are_refused(tmp_path: Path, links: dict[str, str]) -> None:
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    with pytest.raises(ConfigError, match=r"is not a run directory: .*, which leads to nothing|does not exist"):
        saved_run.load(tmp_path / "run")


def test_results_that_are_no_file_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "results.json")
    assert run_dir.read_results(tmp_path) == {}
    (tmp_path / "results.json").unlink()
    (tmp_path / "results.json").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="is not a run directory"):
        saved_run.load(tmp_path)
