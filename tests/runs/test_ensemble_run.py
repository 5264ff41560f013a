"""``ensemble=N``: members that are ordinary runs, their averaged predictions, and what stops and resumes."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics

from tests.helpers.commands import SMALL
from tests.helpers.in_process import call_main, read_metrics, run, send_signal_at
from tests.helpers.own_runs import train_run
from trainer.cli import main
from trainer.config import compose
from trainer.engine.member_probe import Verdict
from trainer.engine.trainer import Trainer
from trainer.engine.update import Update
from trainer.inference import load_run
from trainer.runs import member_runs, run_dir, saved_run, sweep, train
from trainer.runs.results import Result
from trainer.runs.run_files import find_run_files
from trainer.utils.errors import ConfigError, Interrupted

pytestmark = [pytest.mark.usefixtures("in_tmp"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def members_are_trained_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train members one by one, however long they take, as their bits are compared."""
    monkeypatch.setattr(member_runs, "choose_members", lambda *_, **__: Verdict(False, ""))


def read_members(result: Result) -> list[Path]:
    return sorted(Path(result.run_dir, "members").iterdir())


def read_results(path: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((path / "results.json").read_text())
    return results


def predict_test_rows(path: Path) -> dict[str, np.ndarray]:
    """Return the columns that ``train predict`` writes for the test rows of a run."""
    file = path / "predictions.csv"
    main.run_command(["predict", str(path), f"output={file}"])
    with file.open(newline="") as table:
        rows = list(csv.DictReader(table))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_members_are_the_runs_of_their_seeds() -> None:
    result = run("ensemble=2", "seed=3")
    seeds = [read_results(path)["seed"] for path in read_members(result)]
    assert seeds == [6, 7]  # those of seed=2 are 4 and 5
    alone = run("seed=7")
    member = read_members(result)[1]
    assert read_metrics(Path(alone.run_dir)) == read_metrics(member)
    assert alone.identity == read_results(member)["identity"]
    assert alone.test == read_results(member)["test"]


def test_keys_that_refer_to_the_seed_follow_that_of_the_member() -> None:
    words = ("model=mlp", "data=digits", "data.train_rows=100", "max_steps=2", "draw=false")
    result = train.run(compose.compose([*words, "ensemble=2"]))
    alone = train.run(compose.compose([*words, "seed=1"]))
    assert alone.identity == read_results(read_members(result)[1])["identity"]
    given = train.run(compose.compose([*words, "ensemble=2", "augment.seed=0"]))
    assert saved_run.load(read_members(given)[1]).tree["augment"]["seed"] == 0


def test_scores_are_those_of_the_mean_probabilities() -> None:
    result = run("ensemble=3", "task.scores=[nll,accuracy,f1,auc]", "data.noise=0.5")
    members = [predict_test_rows(path) for path in read_members(result)]
    labels, mean = members[0]["target"], np.mean([member["p_1"] for member in members], axis=0)
    predicted = predict_test_rows(Path(result.run_dir))
    np.testing.assert_allclose(predicted["p_1"], mean, atol=1e-6)
    assert np.abs(members[0]["p_1"] - mean).max() > 1e-3
    assert result.test["nll"] == pytest.approx(metrics.log_loss(labels, mean), abs=1e-6)
    assert result.test["accuracy"] == pytest.approx(metrics.accuracy_score(labels, mean > 0.5))
    assert result.test["f1"] == pytest.approx(metrics.f1_score(labels, mean > 0.5, average="macro"))
    assert result.test["auc"] == pytest.approx(metrics.roc_auc_score(labels, mean))
    nlls = [metrics.log_loss(labels, member["p_1"]) for member in members]
    assert result.ensemble["mean"]["nll"] == pytest.approx(np.mean(nlls), abs=1e-6)
    assert result.ensemble["best"]["nll"] == pytest.approx(min(nlls), abs=1e-6)
    assert result.ensemble["gain"]["nll"] == pytest.approx(np.mean(nlls) - result.test["nll"], abs=1e-6)
    assert result.ensemble["gain"]["nll"] > 0  # the NLL of a mean is never above the mean NLL
    classes = [member["label"] for member in members]
    disagreement = np.mean([np.mean(classes[a] != classes[b]) for a, b in ((0, 1), (0, 2), (1, 2))])
    assert result.ensemble["diversity"]["disagreement"] == pytest.approx(disagreement)


def test_numbers_are_averaged_in_their_units() -> None:
    words = ("model=mlp", "data=diabetes", "model.hidden=[4]", "max_steps=20", "draw=false")
    result = train.run(compose.compose([*words, "ensemble=3"]))
    members = [predict_test_rows(path) for path in read_members(result)]
    values = np.stack([member["value"] for member in members])
    np.testing.assert_allclose(predict_test_rows(Path(result.run_dir))["value"], values.mean(0), rtol=1e-5)
    assert result.test["mse"] == pytest.approx(
        metrics.mean_squared_error(members[0]["target"], values.mean(0)), rel=1e-5
    )
    assert result.ensemble["diversity"]["spread"] == pytest.approx(values.std(0).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "words"), [("reverse", ("model=seq2seq", "data.rows=60", "task.beam_size=2")), ("text_file", ())]
)
def test_texts_are_averaged_token_by_token(name: str, words: tuple[str, ...]) -> None:
    path = train_run(name, "ensemble=2", *words)
    result = Result.read(path)
    assert result.ensemble["gain"]["nll"] > 0  # the NLL of a mean is never above the mean NLL
    assert result.ensemble["mean"]["nll"] == pytest.approx(result.test["nll"] + result.ensemble["gain"]["nll"])
    assert 0 < result.ensemble["diversity"]["token_disagreement"] < 1
    main.run_command(["predict", str(path), "output=predictions.csv", *(["length=2"] if name == "text_file" else [])])
    assert len(Path("predictions.csv").read_text().splitlines()) > 2


def test_decisions_are_fitted_on_the_averaged_probabilities() -> None:
    result = run("ensemble=2", "data.noise=0.5", "task.threshold=f1")
    predicted = predict_test_rows(Path(result.run_dir))
    assert (predicted["label"] == (predicted["p_1"] >= result.decisions["threshold"])).all()
    assert result.decisions.keys() == read_results(read_members(result)[0])["decisions"].keys()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_ensemble_resumes_to_the_same_bits(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run("ensemble=3")
    fits: list[int] = []
    fit = Trainer.iter_fit

    def record(self: Trainer) -> Iterator[Update]:
        fits.append(self.settings.seed)
        return fit(self)

    monkeypatch.setattr(Trainer, "iter_fit", record)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "iter_fit", lambda self: (stop_in_second(patch, self, number), record(self))[1])
        with pytest.raises(Interrupted) as caught:
            run("ensemble=3", "hydra.run.dir=outputs/stopped")
    stopped = Path("outputs/stopped")
    assert str(caught.value).endswith("resume with: train resume outputs/stopped")
    statuses = [
        run_dir.read_results(path).get("status") for path in (stopped, *sorted((stopped / "members").iterdir()))
    ]
    assert statuses == ["interrupted", "finished", "interrupted"]
    reason = f"Interrupted: stopped by {signal.Signals(number).name}"
    assert run_dir.read_results(stopped)["reason"] == reason  # without the command that resumes a member
    assert Path("outputs/latest").resolve() == stopped.resolve()  # not a member
    with pytest.raises(ConfigError, match=r"has no best\.pt yet: its run is interrupted; train resume outputs/stopped"):
        predict_test_rows(stopped)
    fits.clear()
    resumed = train.resume_run(saved_run.load(stopped))
    assert fits == [1, 2]
    assert (resumed.test, resumed.identity) == (whole.test, whole.identity)
    histories = [[read_metrics(path) for path in read_members(result)] for result in (resumed, whole)]
    assert histories[0] == histories[1]


def stop_in_second(patch: pytest.MonkeyPatch, fitted: Trainer, number: int) -> None:
    if fitted.settings.seed == 1:
        send_signal_at(patch, 2, number)


def test_a_rejected_ensemble_leaves_no_directory() -> None:
    with pytest.raises(ConfigError, match="monitor: 'nothing'"):
        run("ensemble=2", "hydra.run.dir=outputs/rejected", "monitor=nothing")
    assert not Path("outputs/rejected").exists()


def test_a_finished_ensemble_is_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    first = run("ensemble=2")
    again = run("ensemble=2", "resume=auto")
    assert again.run_dir == first.run_dir
    assert "is finished; nothing to do" in capsys.readouterr().out
    assert run("resume=auto").run_dir != str(read_members(first)[0])  # a member is no run of its own here
    assert run("ensemble=3", "resume=auto").run_dir != first.run_dir


@pytest.mark.parametrize("name", ["best.pt", "confusion.png"])
def test_what_a_finished_ensemble_lacks_is_restored(name: str) -> None:
    first = run("ensemble=2", "draw=true")
    path = Path(first.run_dir)
    (path / name).unlink()
    again = train.resume_run(saved_run.load(path))
    assert (path / name).stat().st_size > 0
    assert again.test == first.test


def test_members_are_parts_of_their_ensemble() -> None:
    result = run("ensemble=2")
    path = Path(result.run_dir)
    assert [file.parent for file in find_run_files(Path("outputs"), [run_dir.RESULTS_FILE])] == [path]
    assert len(list(find_run_files(path / "members", [run_dir.RESULTS_FILE]))) == 2
    assert main.run_command(["rm", str(path), "yes=true"]) == 0
    assert not path.exists()


def test_changed_data_ends_a_stopped_ensemble() -> None:
    rows = [f"{number % 7},{number % 3},{'ab'[number % 2]}" for number in range(60)]
    Path("rows.csv").write_text("\n".join(["x,y,label", *rows]) + "\n")
    words = ["model=mlp", "data=csv", "data.path=rows.csv", "data.target=label", "max_steps=2", "draw=false"]
    result = train.run(compose.compose([*words, "ensemble=2"]))
    path = Path(result.run_dir)
    (path / "best.pt").unlink()
    Path("rows.csv").write_text("\n".join(["x,y,label", *rows, "1,1,a"]) + "\n")
    with pytest.raises(ConfigError, match="its data or its configuration has changed"):
        train.resume_run(saved_run.load(path))


@pytest.mark.parametrize("other", ["data.rows=200", "optimizer.lr=0.5"])
def test_a_run_in_the_place_of_a_member_is_no_member(other: str) -> None:
    result = run("ensemble=2")
    path, member = Path(result.run_dir), read_members(result)[1]
    shutil.rmtree(member)
    Path(run("seed=1", other).run_dir).rename(member)
    (path / "best.pt").unlink()
    with pytest.raises(ConfigError, match="members/1 is not the run of a member of this ensemble"):
        train.resume_run(saved_run.load(path))
    shutil.rmtree(member)
    assert train.resume_run(saved_run.load(path)).test == result.test


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("why", "RUN"), "an ensemble has no training of its own; that of a member: train why RUN/members/0"),
        (
            ("model=mlp", "data=moons", "init_from=RUN"),
            "RUN is an ensemble of several models; name a member",
        ),
        (
            ("model=gan", "data=ring", "max_steps=1", "task.classifier=RUN"),
            "RUN is an ensemble of several models; name",
        ),
        (("plan", *SMALL, "ensemble=2"), "ensemble: 2 given, but this command trains one model at a time; plan one"),
        (("find", "lr", *SMALL, "ensemble=2"), "ensemble: 2 given, but this command trains one model at a time"),
        (("resume=RUN", "ensemble=3"), "ensemble: 2 -> 3"),
        (("resume=RUN", "epochs=9"), "has no checkpoint"),
        (("sample", "RUN"), "cannot sample"),
        (("predict", "RUN", "checkpoint=last"), "it has best"),
    ],
)
def test_what_an_ensemble_cannot_do_is_explained(
    words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run("ensemble=2").run_dir
    _, out, err = call_main(capsys, monkeypatch, *(word.replace("RUN", path) for word in words))
    assert reason.replace("RUN", path) in " ".join((out + err).split())


def test_a_sweep_over_sizes_has_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "draw=false", "ensemble=null,2", "jobs=1"]
    assert sweep.run_sweep(words, []) == 0
    out = capsys.readouterr().out
    assert "ensemble=2" in out


def test_members_that_rank_candidates_have_a_disagreement() -> None:
    result = Result.read(train_run("triples", "ensemble=3"))
    (measure,) = result.ensemble["diversity"].items()
    assert measure[0] == "first_disagreement"
    chosen = [choose_candidates(path) for path in read_members(result)]
    expected = np.mean([np.mean(chosen[a] != chosen[b]) for a, b in ((0, 1), (0, 2), (1, 2))])
    assert 0 < measure[1] == pytest.approx(expected)


def choose_candidates(path: Path) -> np.ndarray:
    """Return the candidate that the model of a run ranks first for each test row, of the answer and unknown ones."""
    task, data = load_run.load_run(saved_run.load(path))
    with torch.no_grad():
        batch = data.test.batch(torch.arange(len(data.test)), 0)
        scores = task.forward_batch(batch).numpy()
    for row, (known, target) in enumerate(
        zip(batch.inputs["known"].tolist(), batch.require_target().tolist(), strict=True)
    ):
        scores[row, [number for number in known if number not in (-1, target)]] = -np.inf
    return scores.argmax(1)
