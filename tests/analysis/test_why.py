"""``train why``: every rule notices a run that is broken on purpose, and none speaks of a healthy one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers import diagnosed_runs
from tests.helpers.diagnosed_runs import BROKEN, HEALTHY
from trainer.analysis.diagnosis import diagnose, finding, live_run
from trainer.analysis.run_record import RunRecord, find_siblings, read_record
from trainer.cli import main
from trainer.runs import saved_run
from trainer.utils.errors import ConfigError


def find_rules(path: Path) -> dict[str, finding.Finding]:
    """Return the findings of a run by rule."""
    modules = ["own_broken"] if "own_broken" in (path / "config.yaml").read_text() else []
    live, problem = live_run.load_live_run(saved_run.load(path, modules))
    assert not problem
    record = read_record(path)
    found = diagnose.diagnose(finding.Evidence(record, live, problem, find_siblings(record)))
    return {each.rule: each for each in found}


@pytest.fixture(scope="module")
def broken_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broken")


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_rule_notices_a_broken_run(name: str, broken_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(broken_folder)
    monkeypatch.syspath_prepend(str(broken_folder))
    diagnosed_runs.write_files()
    rule, make = BROKEN[name]
    path = make()
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    found = find_rules(path)
    assert rule in found, [each.sentence for each in found.values()]
    assert found[rule].evidence
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()} == before
    CHECKS.get(name, lambda _: None)(found[rule])


def check_row(found: finding.Finding) -> None:
    assert found.evidence["rows"] == "177"
    assert "model.root (sqrt)" in found.sentence


def check_layer(found: finding.Finding) -> None:
    assert str(found.evidence["layer"]).startswith("model.")
    assert "grad_clip=1" in found.overrides


def check_small_rate(found: finding.Finding) -> None:
    """The proposed rate gives the usual update, whatever the rate of the run was."""
    (override,) = found.overrides
    assert 1e-5 < float(override.removeprefix("optimizer.lr=")) < 1e-2


CHECKS = {"a row": check_row, "explodes": check_layer, "tiny rate": check_small_rate}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_no_rule_speaks_of_a_healthy_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = find_rules(diagnosed_runs.train_run("run", *HEALTHY[name]))
    assert [each.sentence for each in found.values()] == []


@pytest.mark.slow
def test_the_command_prints_evidence_and_overrides_or_what_went_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = diagnosed_runs.train_run("run", *HEALTHY["mlp"])
    capsys.readouterr()
    assert main.run_command(["why", str(path)]) == 0
    text = capsys.readouterr().out
    assert "nothing unusual: test " in text
    assert "baseline" in text
    values = json.loads((path / "results.json").read_text())
    (path / "results.json").write_text(json.dumps(values | {"best_possible": {"nll": 0.6, "accuracy": 0.6}}))
    main.run_command(["why", str(path)])
    text = capsys.readouterr().out
    assert "LEAKAGE: the test " in text
    assert "evidence: score " in text
    shutil.rmtree("broken", ignore_errors=True)
    shutil.copytree(path, "broken")
    for file in Path("broken").glob("*.pt"):
        file.write_bytes(b"x")
    main.run_command(["why", "broken"])
    assert "cannot be looked at, only what it has recorded" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="is not a run directory"):
        main.run_command(["why", "nothing"])
    with pytest.raises(ConfigError, match="unknown key"):
        main.run_command(["why", str(path), "thread=1"])


def make_evidence(rows: list[dict[str, float]], **results: object) -> finding.Evidence:
    values = {"status": "finished", "monitor": "nll", "higher_is_better": {"nll": False}, "steps": 0, **results}
    record = RunRecord(Path("none"), values)
    record.__dict__["history"] = rows
    record.__dict__["config"] = {"epochs": len(rows), "optimizer.lr": 0.1}
    return finding.Evidence(record)


def make_rows(train: list[float], val: list[float]) -> list[dict[str, float]]:
    pairs = enumerate(zip(train, val, strict=True), 1)
    return [
        {"epoch": e, "step": e, "train_loss": t, "val_loss": v, "val_nll": v, "grad_norm": 1.0} for e, (t, v) in pairs
    ]


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        ([1, 0.5, 0.3, 0.25, 0.24, 0.24, 0.24, 0.24, 0.24, 0.24], [1, 0.5, 0.3, 0.25, 0.24] + [0.24] * 5, []),
        ([1, 0.8, 0.6, 0.4, 0.2, 0.1], [1, 0.8, 0.7, 0.8, 0.9, 0.95], ["over-fitting"]),
        ([1, 0.8, 0.6, 0.6, 0.6, 0.6], [1, 0.8, 0.7, 0.72, 0.71, 0.74], []),
        ([1, 0.9, 0.8, 0.7, 0.6, 0.5], [1, 0.9, 0.8, 0.7, 0.6, 0.5], ["under-trained"]),
        ([1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], ["not learning"]),
        ([1, 0.9, 1.5, 5, 20, 90], [1, 1, 2, 5, 20, 90], ["exploding"]),
        ([1, float("nan"), 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], []),
        ([], [], []),
        ([1], [1], []),
    ],
)
def test_rules_on_curves(train: list[float], val: list[float], expected: list[str]) -> None:
    found = [each.rule for each in diagnose.diagnose(make_evidence(make_rows(train, val)))]
    assert found == expected


def test_rules_survive_runs_that_have_recorded_nothing() -> None:
    for status in ("failed", "interrupted", "finished", "running"):
        evidence = make_evidence([], status=status, monitor="", reason=None)
        assert diagnose.diagnose(evidence) == []
        expected = "killed" if status == "running" else status
        assert expected in diagnose.describe_success(evidence)
