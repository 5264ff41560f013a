"""``train why``: every rule notices a run that is broken on purpose, and none speaks of a healthy one."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.helpers import diagnosed_runs
from tests.helpers.diagnosed_runs import BROKEN, HEALTHY
from tests.helpers.finished_runs import write_run
from trainer.analysis.diagnosis import diagnose, divergence_rules, finding, leakage_rules, replay, seed_rules
from trainer.analysis.diagnosis.length_overrides import suggest_end, suggest_length
from trainer.analysis.run_record import RunRecord, find_siblings, read_record
from trainer.cli import main
from trainer.config import compose
from trainer.core.split import TensorSplit
from trainer.runs import run_dir
from trainer.runs.results import create_result
from trainer.utils.errors import ConfigError


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
    found = diagnosed_runs.find_rules(path)
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
    found = diagnosed_runs.find_rules(diagnosed_runs.train_run("run", *HEALTHY[name]))
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


@pytest.mark.parametrize(
    ("length", "longer", "end"),
    [
        (["epochs=8"], "epochs=16", "epochs=2"),
        (["max_steps=80"], "max_steps=160", "max_steps=20"),
        (["budget=1m30s", "max_steps=80"], "budget=180s", "budget=22s"),
        (["budget=90", "max_steps=80"], "budget=180s", "budget=22s"),
    ],
)
def test_an_override_of_the_length_is_of_the_key_that_sets_it(length: list[str], longer: str, end: str) -> None:
    pairs = (word.split("=") for word in length)
    config = {"epochs": 10} | {key: int(value) if value.isdigit() else value for key, value in pairs}
    assert suggest_length(config, 2) == [longer]
    assert suggest_end(config, {"epoch": 2, "step": 20}) == [end]
    # A command line with the same length and the override is accepted.
    compose.compose(["model=mlp", "data=moons", length[0], longer])
    compose.compose(["model=mlp", "data=moons", length[0], end])


def test_no_length_is_proposed_if_none_is_known() -> None:
    assert suggest_length({}, 2) == []
    assert suggest_length({"epochs": 0}, 2) == []
    assert suggest_end({"budget": "10m", "max_steps": None, "epochs": 10}, {"epoch": 1, "step": 1}) == []


def test_rules_propose_steps_for_a_run_with_steps() -> None:
    curves = {
        "over-fitting": ([1, 0.8, 0.6, 0.4, 0.2, 0.1], [1, 0.8, 0.7, 0.8, 0.9, 0.95], "max_steps=3"),
        "under-trained": ([1, 0.9, 0.8, 0.7, 0.6, 0.5], [1, 0.9, 0.8, 0.7, 0.6, 0.5], "max_steps=12"),
        "not learning": ([1.0] * 6, [1.0] * 6, "max_steps=60"),
    }
    for rule, (train, val, override) in curves.items():
        evidence = make_evidence(make_rows(train, val), steps=6)
        evidence.record.__dict__["config"] = {"epochs": 10, "max_steps": 6}
        (found,) = diagnose.diagnose(evidence)
        assert (found.rule, [*found.overrides]) == (rule, [override])


@pytest.mark.parametrize(
    ("ratio", "expected"), [(1e-3, None), (1e-6, "optimizer.lr=1e+02"), (0.5, "optimizer.lr=2e-04")]
)
def test_the_learning_rate_is_judged_by_recorded_updates_without_weights(ratio: float, expected: str | None) -> None:
    """The largest one counts: a schedule ends with small ones."""
    rows = make_rows([1.0] * 6, [1.0] * 6)
    ratios = [math.nan, ratio, *[ratio / 1000] * 4]
    rows = [row | {"update_ratio_model": value} for row, value in zip(rows, ratios, strict=True)]
    found = {each.rule: each for each in diagnose.diagnose(make_evidence(rows, steps=500))}
    overrides = found["learning rate"].overrides if "learning rate" in found else [None]
    assert [*overrides] == [expected]


def test_overfitting_after_the_chosen_epoch_is_information() -> None:
    train, losses = [1, 0.8, 0.6, 0.4, 0.2, 0.1], [1, 0.8, 0.7, 0.8, 0.9, 0.95]
    for accuracies, is_fault in (([1, 2, 3, 2, 2, 2], False), ([1, 2, 3, 4, 5, 6], True)):
        rows = make_rows(train, [float(loss) for loss in losses])
        rows = [row | {"val_accuracy": 0.1 * value} for row, value in zip(rows, accuracies, strict=True)]
        evidence = make_evidence(rows, monitor="accuracy", higher_is_better={"accuracy": True})
        (found,) = (each for each in diagnose.diagnose(evidence) if each.rule == "over-fitting")
        assert found.is_fault == is_fault
        assert ("the weights of epoch 3 are kept" in found.sentence) != is_fault


def test_overfitting_is_a_fault_if_the_weights_that_are_kept_are_no_better_than_the_baseline() -> None:
    rows = make_rows([1, 0.8, 0.6, 0.4, 0.2, 0.1], [1, 0.8, 0.7, 0.8, 0.9, 0.95])
    for baseline, is_fault in ((0.5, False), (0.7, True)):
        rows = [row | {"val_accuracy": value} for row, value in zip(rows, [1, 2, 3, 2, 2, 2], strict=True)]
        scores = {"monitor": "accuracy", "higher_is_better": {"accuracy": True}, "test": {"accuracy": 0.7}}
        evidence = make_evidence(rows, **scores, baseline={"accuracy": baseline})
        (found,) = (each for each in diagnose.diagnose(evidence) if each.rule == "over-fitting")
        assert found.is_fault == is_fault
        assert ("no better than the baseline" in found.sentence) == is_fault


@pytest.mark.parametrize(("copies", "is_copied"), [(1, False), (2, True), (3, True)])
def test_copies_are_told_from_rows_of_few_values_that_repeat_by_chance(copies: int, is_copied: bool) -> None:
    random = torch.Generator().manual_seed(0)
    distinct = torch.randn(300 // copies, 6, generator=random).repeat(copies, 1)
    coarse = (torch.randn(300, 5, generator=random) > 0).float()
    for rows, expected in ((distinct, is_copied), (coarse, False)):
        shuffled = rows[torch.randperm(300, generator=random)]
        parts = [TensorSplit({"x": part}, part[:, 0].gt(0).long()) for part in (shuffled[:220], shuffled[220:])]
        loaders = {
            name: SimpleNamespace(split=split, is_resident=True)
            for name, split in zip(("train", "test"), parts, strict=True)
        }
        live: Any = SimpleNamespace(loaders=loaders)
        found = leakage_rules.find_leakage(replace(make_evidence([]), live=live))
        assert [each.rule for each in found] == ["leakage"] * expected


def test_a_failure_without_growth_or_large_losses_is_no_explosion(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "NonFiniteError: loss nan, gradient norm nan"
    calm = make_rows([1, 0.9, 0.8], [1, 0.9, 0.8])
    evidence = make_evidence(calm, status="failed", reason=reason)
    (found,) = diagnose.diagnose(evidence)
    assert (found.rule, found.evidence) == ("NaN", {"recorded": reason})
    assert "could not be reproduced: its data and weights cannot be looked at" in found.sentence
    wild = make_evidence(make_rows([1, 9, 900], [1, 9, 900]), status="failed", reason=reason)
    assert "exploding" in [each.rule for each in diagnose.diagnose(wild)]
    weights = {"model.a": 1.0, "model.b": 2.0}
    replays = {
        "finite: another machine": replay.Replay(None, "finite: another machine"),
        "no weight has grown 20-fold": replay.Replay(replay.Failure(7, [], 32, None, False, 1.0, weights)),
    }
    for text, result in replays.items():
        monkeypatch.setattr(divergence_rules, "_replay", lambda _, result=result: result)
        (found,) = divergence_rules.find_nonfinite_values(evidence)
        assert text in found.sentence
        assert [*divergence_rules.find_explosion(evidence)] == []
    grown = replay.Failure(7, [], 32, None, False, 1.0, weights | {"model.b": 1e9})
    monkeypatch.setattr(divergence_rules, "_replay", lambda _: replay.Replay(grown))
    assert [*divergence_rules.find_nonfinite_values(evidence)] == []
    (found,) = divergence_rules.find_explosion(evidence)
    assert found.evidence["layer"] == "model.b"


def write_seeds(folder: Path, width: int, scores: list[float], **keys: object) -> None:
    for seed, score in enumerate(scores):
        config = {"seed": seed, "model": {"hidden": width}, "augment": {"seed": seed}, **keys}
        if "budget" in keys:  # each seed has fixed other steps
            config["max_steps"] = 100 + seed
        finished = {"test": {"accuracy": score}, "higher_is_better": {"accuracy": True}, "task": "classification"}
        write_run(folder, f"{width}-{seed}", config, [], **finished)


def test_settings_are_those_of_the_leaderboard(tmp_path: Path) -> None:
    write_seeds(tmp_path, 4, [0.80, 0.70, 0.90], budget="10m")
    write_seeds(tmp_path, 8, [0.79, 0.69, 0.89], budget="10m")
    records = [RunRecord(path, run_dir.read_results(path)) for path in sorted(tmp_path.iterdir())]
    own, *others = records
    (found,) = seed_rules.find_seed_noise(finding.Evidence(own, siblings=others))
    assert found.evidence["seeds"] == 3
    # Runs of one step of everything are no seeds.
    fast = [replace(each, results={**each.results, "debug": "fast"}) for each in others]
    assert [*seed_rules.find_seed_noise(finding.Evidence(own, siblings=fast))] == []


def test_siblings_are_the_runs_of_the_day_or_of_its_sweeps(tmp_path: Path) -> None:
    names = ("day/own", "day/other", "day/below/run", "sweeps/day/a/1", "sweeps/day/a/2", "sweeps/day/b/1")
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        result = create_result(compose.compose(["model=mlp", "data=moons"]), tmp_path / name)
        result.write()
    for sweep in ("a", "b"):
        (tmp_path / "sweeps/day" / sweep / ".jobs").mkdir()

    def list_siblings(name: str) -> list[str]:
        siblings = find_siblings(read_record(tmp_path / name))
        return sorted(str(each.path.relative_to(tmp_path)) for each in siblings)

    assert list_siblings("day/own") == ["day/other"]
    assert list_siblings("sweeps/day/a/1") == ["sweeps/day/a/2", "sweeps/day/b/1"]


def test_rules_survive_runs_that_have_recorded_nothing() -> None:
    for status in ("failed", "interrupted", "finished", "running"):
        evidence = make_evidence([], status=status, monitor="", reason=None)
        assert diagnose.diagnose(evidence) == []
        expected = "killed" if status == "running" else status
        assert expected in diagnose.describe_success(evidence)
