"""Files with the configuration of a job, read by another process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.commands import SMALL
from trainer.config import compose
from trainer.runs.launchers import job_file, job_process
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")


def test_a_configuration_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISE", "0.25")
    config = compose.compose(
        [*SMALL, 'data.noise="${oc.decode:${oc.env:NOISE}}"', "optimizer=sgd", "resume=auto", "monitor=nll"]
    )
    config = replace(config, settings=replace(config.settings, threads=1))
    job_file.write_job_file(config, tmp_path / "job")
    assert job_file.read_job_file(tmp_path / "job") == config
    text = (tmp_path / "job" / job_file.JOB_FILE).read_text()
    assert "${oc.env:NOISE}" in text
    assert "0.25" not in text


def test_an_environment_without_a_variable_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOISE", "0.25")
    job_file.write_job_file(compose.compose([*SMALL, 'data.noise="${oc.decode:${oc.env:NOISE}}"']), tmp_path)
    monkeypatch.delenv("NOISE")
    monkeypatch.setattr(job_process.signals, "end_with_parent", lambda *_: None)
    assert job_process.main([str(tmp_path), "1"]) == 2
    assert "Environment variable 'NOISE' not found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format_version": 1}, "the sweep was started by another version of train"),
        ({"config": {}}, "cannot be read"),
        ({"config": None}, "cannot be read"),
        ({"settings": {"nope": 1}}, "cannot be read"),
    ],
)
def test_another_file_raises(change: dict[str, object], expected: str, tmp_path: Path) -> None:
    job_file.write_job_file(compose.compose(SMALL), tmp_path)
    file = tmp_path / job_file.JOB_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ConfigError, match=expected):
        job_file.read_job_file(tmp_path)


def test_code_outside_of_the_allow_list_is_not_imported(tmp_path: Path) -> None:
    config = compose.compose(SMALL)
    config.raw["model"]["_target_"] = "evil.Foo"
    job_file.write_job_file(config, tmp_path)
    with pytest.raises(ConfigError, match="not on the allow-list"):
        job_file.read_job_file(tmp_path)


def test_a_secret_is_not_written() -> None:
    config = compose.compose(SMALL)
    config.raw["data"]["api_key"] = "${oc.env:KEY}"
    job_file.check_secrets([config])
    config.raw["data"]["api_key"] = "SECRET123"
    with pytest.raises(ConfigError, match=r"data\.api_key: the launcher would save this secret") as caught:
        job_file.check_secrets([config, config])
    assert len(caught.value.problems) == 1
    assert "SECRET123" not in str(caught.value)
