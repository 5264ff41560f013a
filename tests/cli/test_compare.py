"""The command ``train compare``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.compared_runs import write_seeds
from tests.helpers.in_process import call_main


@pytest.mark.usefixtures("in_tmp")
def test_runs_are_compared_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_seeds(tmp_path, "a", [0.9, 0.91, 0.92, 0.9], lr=0.1)
    write_seeds(tmp_path, "seed=b", [0.8, 0.81, 0.83, 0.8], lr=0.2)
    code, out, err = call_main(capsys, monkeypatch, "compare", "a", "seed=b", "output=c.json")
    assert (code, err) == (0, "")
    assert "A against B: better" in out
    values = json.loads((tmp_path / "c.json").read_text())
    assert values["differences"][0]["verdict"] == "better"
    assert [setting["path"] for setting in values["settings"]] == ["a", "seed=b"]


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "two or more runs are needed"),
        (["a"], "two or more runs are needed"),
        (["a", "b", "outptu=c.json"], "compare outptu: unknown key; did you mean output?"),
        (["a", "b", "output=c.csv"], "must end in .json"),
        (["a", "b"], "compare: no directory: "),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_seeds(tmp_path, "a", [0.9])
    code, out, err = call_main(capsys, monkeypatch, "compare", *arguments)
    assert (code, out) == (2, "")
    assert message in err
