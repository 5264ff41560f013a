"""Decisions fitted on validation rows: part of the test scores, saved with the best weights, and safe from kills."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.in_process import call_main, run
from tests.helpers.marks import mark_slow_after
from tests.helpers.own_runs import evaluate_scores
from trainer.config import compose
from trainer.engine import checkpoint
from trainer.runs import final_scores, train
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError, SystemFault

pytestmark = pytest.mark.usefixtures("in_tmp")

SCORES = "task.scores=[accuracy,nll,ece]"
DECISIONS = ("task.threshold=f1", "task.calibration=temperature", "task.coverage=0.8", SCORES)
NAMES = ["temperature", "threshold", "score_quantile"]
LAST_IS_BEST = ("max_steps=3", "val_every=50")


def load_best(result: Result) -> dict[str, Any]:
    return checkpoint.load_checkpoint(Path(result.run_dir, checkpoint.BEST))


def assert_equal_decisions(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], value) for name, value in second.items())


@pytest.mark.slow
def test_decisions_change_the_test_scores_and_not_the_training(capsys: pytest.CaptureFixture[str]) -> None:
    plain, decided = run(SCORES), run(*DECISIONS)
    assert "fitted on the validation rows: temperature" in capsys.readouterr().out
    assert (plain.val, plain.best_epoch) == (decided.val, decided.best_epoch)
    weights = [load_best(result)["task"] for result in (plain, decided)]
    assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items())
    assert plain.decisions == {}
    assert load_best(plain)["decisions"] == {}
    saved = load_best(decided)["decisions"]
    assert {name: float(value) for name, value in saved.items()} == {name: decided.decisions[name] for name in NAMES}
    assert decided.test.keys() - plain.test.keys() == {"coverage", "set_size"}
    assert decided.test["nll"] != plain.test["nll"]
    for metric in ("nll", "ece"):
        assert decided.decisions[f"{metric}_before"] == pytest.approx(decided.val[metric])
    assert decided.decisions["nll_after"] < decided.decisions["nll_before"]
    assert decided.decisions["f1_1_after"] >= decided.decisions["f1_1_before"]


@pytest.mark.slow
def test_a_moved_run_evaluates_with_its_decisions() -> None:
    result = run(*DECISIONS)
    shutil.move(result.run_dir, "elsewhere")
    assert evaluate_scores(Path("elsewhere")) == result.test
    assert json.loads(Path("elsewhere/results.json").read_text())["decisions"] == result.decisions


@pytest.mark.slow
def test_fixed_threshold_is_used_as_given() -> None:
    result = run("task.threshold=0.3")
    assert result.decisions == {"threshold": 0.3}


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["fit_decisions", "_test"])
def test_a_kill_before_or_after_fitting_is_resumed(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(*DECISIONS)

    def fail(*_: Any) -> None:
        raise SystemFault("killed")

    with monkeypatch.context() as patch:
        patch.setattr(final_scores, moment, fail)
        with pytest.raises(SystemFault):
            run(*DECISIONS, "hydra.run.dir=outputs/killed")
    path = Path("outputs/killed")
    assert Result.read(path).status != "finished"
    fitted = checkpoint.load_checkpoint(path / checkpoint.BEST)["decisions"]
    assert bool(fitted) == (moment == "_test")
    resumed = run(*DECISIONS, f"resume={path}")
    assert (resumed.test, resumed.decisions) == (whole.test, whole.decisions)
    assert_equal_decisions(load_best(resumed)["decisions"], load_best(whole)["decisions"])


@pytest.mark.slow
def test_lost_weights_are_restored_with_their_decisions(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(*DECISIONS, *LAST_IS_BEST)
    before = load_best(result)
    Path(result.run_dir, checkpoint.BEST).unlink()
    run(*DECISIONS, *LAST_IS_BEST, f"resume={result.run_dir}")
    assert_equal_decisions(load_best(result)["decisions"], before["decisions"])
    torch.save(before | {"decisions": {}}, Path(result.run_dir, checkpoint.BEST))
    run(*DECISIONS, *LAST_IS_BEST, f"resume={result.run_dir}")
    assert "but without the decisions in best.pt; restoring them" in capsys.readouterr().out
    assert_equal_decisions(load_best(result)["decisions"], before["decisions"])


@pytest.mark.slow
def test_a_run_without_decisions_yet_is_evaluated_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    result = run(*DECISIONS)
    file = Path(result.run_dir, checkpoint.BEST)
    torch.save(load_best(result) | {"decisions": {}}, file)
    with caplog.at_level(logging.WARNING, logger="trainer"):
        scores = evaluate_scores(Path(result.run_dir))
    assert "contains no score_quantile, temperature, threshold, which the end of training fits" in caplog.text
    assert set(scores) == {"accuracy", "nll", "ece"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d | {"threshold": torch.tensor(0.5)}, r"threshold: float32 \[\]; the task has float64 \[\]"),
        (lambda d: d | {"temperature": d["temperature"] * torch.nan}, "temperature: contains values that are not fini"),
        (lambda d: d | {"bias": d["threshold"]}, "bias: the task has no such tensor"),
        (lambda d: {"threshold": d["threshold"]}, "temperature: missing"),
        (lambda d: {**d, "threshold": "0.5"}, "threshold: not a tensor"),
    ],
)
def test_edited_decisions_are_refused(edit: Callable[[dict[str, Any]], dict[str, Any]], message: str) -> None:
    result = run(*DECISIONS)
    best = load_best(result)
    torch.save(best | {"decisions": edit(best["decisions"])}, Path(result.run_dir, checkpoint.BEST))
    with pytest.raises(ConfigError, match=rf"best\.pt: decisions\.{message}"):
        evaluate_scores(Path(result.run_dir))


@pytest.mark.slow
def test_decisions_of_an_older_format_are_refused() -> None:
    result = run(*DECISIONS)
    torch.save(load_best(result) | {"format_version": 6}, Path(result.run_dir, checkpoint.BEST))
    with pytest.raises(ConfigError, match="it contains decisions, but format 6 has none; the file was edited"):
        evaluate_scores(Path(result.run_dir))


@pytest.mark.slow
def test_a_run_without_best_weights_fits_none() -> None:
    """The validation rows have a single class, for which the monitored metric is not defined."""
    rows = (f"{i},{i % 2 if part != 'val' else 0},{part}" for i in range(12) for part in ("train", "val", "test"))
    Path("t.csv").write_text("\n".join(("a,y,part", *rows)))
    table = ("data=csv", "data.path=t.csv", "data.target=y", "data.split_column=part", "max_steps=2", "draw=false")
    task = ("task.scores=[auc]", "task.calibration=temperature")
    result = train.run(compose.compose(["model=mlp", *table, *task, "threads=1"]))
    assert (result.decisions, result.best_epoch) == ({}, None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    mark_slow_after(
        5,
        [
            (("data=wine", "task.threshold=f1"), "task.threshold: f1 given; it must be null for 3 classes"),
            (
                ("data=wine", "task.class_weights=[1,2]"),
                "task.class_weights: 2 weights given; it must be balanced, null, or",
            ),
            (("task.class_weights=[0,0]",), "task.class_weights: [0, 0] given; at least one must be above 0"),
            (("data=diabetes", "task.class_weights=balanced"), "task.class_weights: unknown key"),
            (
                ("task.class_weights=balance",),
                "task.class_weights: 'balance' given; it must be one of balanced or a list",
            ),
            (("task.threshold=cost",), "task.costs: null given; threshold=cost needs"),
            (("task.costs=[1,2]",), "task.costs: [1, 2] given; it must be null unless threshold is cost"),
            (
                ("task.threshold=cost", "task.costs=[0,0]"),
                "task.costs: [0, 0] given; it must be [cost of a false positive",
            ),
            (
                ("task.threshold=1",),
                "task.threshold: 1 given; it must be one of f1, balanced_accuracy, cost or a number > 0",
            ),
            (("task.coverage=0.99",), "task.coverage: 0.99 given; it needs 99 validation rows, and there are 60"),
            (("data=diabetes", "task.coverage=0.99"), "task.coverage: 0.99 given; it needs 99 validation rows"),
            (
                ("task.focal_gamma=2", "task.label_smoothing=.1"),
                "task.focal_gamma: 2 given; it must be 0 with label_smooth",
            ),
        ],
    ),
)
def test_contradictions_are_refused_before_training(
    overrides: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = () if any(word.startswith("data=") for word in overrides) else ("data=moons", "data.rows=300")
    code, out, err = call_main(capsys, monkeypatch, "model=mlp", *data, *overrides)
    assert code == 2
    assert f"error: {message}" in err
    assert "Traceback" not in out + err
    assert not list(Path().rglob("results.json"))
