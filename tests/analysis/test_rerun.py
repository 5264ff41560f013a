"""The command ``rerun``: the same bits, or the first step that differs and what may have caused it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.commands import SMALL
from tests.helpers.commands import train as train_command
from trainer.analysis import rerun
from trainer.analysis.run_record import RunRecord, read_record
from trainer.cli import main
from trainer.config import compose
from trainer.runs import saved_run, train
from trainer.runs.finished_runs import read_runs
from trainer.runs.run_files import make_sibling_path
from trainer.utils.errors import ConfigError


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"{i % 7},{i % 3},{'ab'[i % 2]}" for i in range(60))
    (tmp_path / "rows.csv").write_text(f"x,y,target\n{rows}\n")
    words = ("model=mlp", "model.hidden=[4]", "data=csv", "data.path=rows.csv", "data.target=target", "epochs=2")
    logged = ("logger.csv.steps=true", "log_every=1", "draw=false", "threads=1", "resume=auto")
    train.run(compose.compose([*words, *logged, "hydra.run.dir=source"]))
    return tmp_path / "source"


@pytest.mark.slow
def test_a_rerun_has_the_same_bits_and_is_an_ordinary_run(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run_command(["rerun", "source"]) == 0
    assert "the same bits: " in capsys.readouterr().out
    repeated = read_record(Path("source-rerun"))
    assert repeated.status == "finished"
    assert repeated.results["test"] == read_record(source).results["test"]
    assert "resume: null" in Path("source-rerun/config.yaml").read_text()
    assert main.run_command(["rerun", "source-rerun"]) == 0


def test_runs_that_were_trained_as_one_model_are_a_cause(tmp_path: Path) -> None:
    def make(name: str, joint_runs: int | None, member: int | None = None) -> RunRecord:
        results = {"options": {}, "status": "finished", "joint_runs": joint_runs}
        path = tmp_path / name
        (path / "members" / "0").mkdir(parents=True)
        (path / "members" / "0" / "results.json").write_text(json.dumps({"joint_runs": member}))
        return RunRecord(path, results)

    alone = make("alone", None)
    for record, count in ((make("joint", 6), "6"), (make("ensemble", None, 3), "3")):
        (cause,) = rerun._find_causes(record, alone)
        assert (cause.name, cause.first, cause.second) == ("runs trained as one model", count, "1")
    assert not rerun._find_causes(alone, make("other", None))


@pytest.mark.slow
@pytest.mark.usefixtures("source")
def test_data_that_has_changed_is_refused_unless_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("rows.csv").read_text()
    Path("rows.csv").write_text(text.replace("3,0,b", "3,9,b"))
    with pytest.raises(ConfigError, match="has changed since it was trained"):
        main.run_command(["rerun", "source"])
    assert not Path("source-rerun").exists()
    assert main.run_command(["rerun", "source", "allow_changed_data=true"]) == 1
    text = capsys.readouterr().out
    assert "not the same bits; the first difference is at step " in text
    assert "contents of the files" in text


@pytest.mark.slow
def test_the_rerun_of_a_job_is_no_job_of_its_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = (*SMALL, "draw=false", "optimizer.lr=0.1,0.2", "hydra.sweep.dir=outputs/s")
    assert train_command("-m", *words, cwd=tmp_path).returncode == 0
    (job,) = Path("outputs/s").glob("1-*/")
    done = train_command("rerun", str(job), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [run.name for run in Path("outputs/s-rerun").iterdir()] == [job.name]
    assert len(read_runs(Path("outputs/s"))) == 2
    assert all(run.path.parent == Path("outputs/s") for run in read_runs(Path("outputs/s")))


def test_a_rerun_is_next_to_its_run_whatever_names_it(
    source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "latest").symlink_to("source")
    for name in ("source", "./source/", "source/../source", "latest", str(source)):
        assert make_sibling_path(Path(name), "-rerun") == Path("source-rerun")
    monkeypatch.chdir(source)
    before = {*source.iterdir()}
    saved = saved_run.load(Path("."))
    repeated = rerun.rerun(replace(saved, working_dir=str(tmp_path)), read_record(Path(".")))
    assert repeated.path == tmp_path / "source-rerun"
    assert {*source.iterdir()} == before


def test_a_run_that_continued_another_one_is_refused(source: Path) -> None:
    values = json.loads((source / "results.json").read_text())
    (source / "results.json").write_text(json.dumps(values | {"changes": ["epochs: 2 -> 3 at step 8"]}))
    with pytest.raises(ConfigError, match="continued another run with changes"):
        main.run_command(["rerun", "source"])


def copy_with(source: Path, change: Any) -> rerun.Comparison:
    shutil.rmtree("copy", ignore_errors=True)
    shutil.copytree(source, "copy")
    change(Path("copy"))
    return rerun.compare_runs(read_record(source), read_record(Path("copy")))


def test_the_first_difference_is_found_in_metrics_weights_and_scores(source: Path) -> None:
    assert copy_with(source, lambda _: None).difference is None

    def change_last_row(path: Path) -> None:
        (path / "steps.csv").unlink()
        lines = (path / "metrics.csv").read_text().splitlines()
        cells = lines[-1].split(",")
        cells[3] = repr(float(cells[3]) * (1 + 2e-16))
        (path / "metrics.csv").write_text("\n".join([*lines[:-1], ",".join(cells)]))

    found = copy_with(source, change_last_row).difference
    assert found is not None
    rows = read_record(source).history
    assert (found.after, found.until, found.name) == (rows[0]["step"], rows[1]["step"], "train_loss")

    def change_weight(path: Path) -> None:
        state = torch.load(path / "last.pt", weights_only=True)
        next(iter(state["task"].values())).view(-1)[0] += 1e-3
        torch.save(state, path / "last.pt")

    found = copy_with(source, change_weight).difference
    assert found is not None
    assert found.name.startswith("the digest of model.")

    def change_results(path: Path) -> None:
        values = json.loads((path / "results.json").read_text())
        values["test"]["nll"] += 1e-9
        values["versions"]["torch"] = "0.1"
        values["threads"] = 7
        (path / "results.json").write_text(json.dumps(values))

    comparison = copy_with(source, change_results)
    assert comparison.difference is not None
    assert comparison.difference.name == "test nll"
    assert {cause.name for cause in comparison.causes} == {"torch", "threads used"}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([], [], None),
        ([{"step": 1, "a": float("nan")}], [{"step": 1, "a": float("nan")}], None),
        ([{"step": 1, "seconds": 1}], [{"step": 1, "seconds": 2}], None),
        ([{"step": 5, "a": 1}, {"step": 9, "a": 2}], [{"step": 5, "a": 1}, {"step": 9, "a": 3}], (5, 9)),
        ([{"step": 5, "a": 1}], [{"step": 5, "b": 1}], (0, 5)),
    ],
)
def test_histories(first: Any, second: Any, expected: Any) -> None:
    found = rerun.find_first_difference(first, second)
    assert (found and (found.after, found.until)) == expected
