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


@pytest.mark.usefixtures("in_tmp")
def test_run_directory_that_was_probably_meant_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("outputs", "first").mkdir(parents=True)
    Path("outputs", "latest").symlink_to("first")
    for path in ("latest", "outputs"):
        with pytest.raises(ConfigError) as excinfo:
            saved_run.load(Path(path))
        assert "did you mean" not in str(excinfo.value)
    monkeypatch.setattr(
        saved_run.recovery,
        "read_results",
        lambda path: {"status": "complete"} if "first" in os.path.realpath(path) else {},
    )
    for path in ("latest", "outputs"):
        with pytest.raises(ConfigError, match=r"did you mean outputs/latest\?$"):
            saved_run.load(Path(path))


def test_results_that_are_no_file_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "results.json")
    assert run_dir.read_results(tmp_path) == {}
    (tmp_path / "results.json").unlink()
    (tmp_path / "results.json").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="is not a run directory"):
        saved_run.load(tmp_path)
