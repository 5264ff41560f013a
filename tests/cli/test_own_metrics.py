"""Metrics of plugins in commands: monitor, schedule, early stopping, resume, evaluation and leaderboard."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.commands import environment, find_runs
from tests.helpers.digest import digest
from tests.helpers.finished_runs import read_leaderboard
from tests.helpers.in_process import read_metrics, send_signal_at
from tests.helpers.marks import mark_slow_after
from tests.helpers.own_metrics import own_plugins as own_plugins
from trainer.cli.main import run_command
from trainer.engine import checkpoint
from trainer.runs import run_dir
from trainer.utils.errors import ConfigError, Interrupted

pytestmark = pytest.mark.usefixtures("own_plugins")

SMALL = ("threads=1", "draw=false", "model.hidden=[4]")
PINBALL = ("--config-dir", "own_conf", "plugins=[own_quantile]", "model=mlp", "data=diabetes", "task=own_quantile")
BALANCED = ("plugins=[own_metrics]", "model=mlp", "data=moons", "data.rows=300", "batch_size=8")
MONITORED = ("scheduler=plateau", "scheduler.patience=1", "patience=4", "epochs=12", "optimizer.lr=0.05", "ema=0.5")
KINDS = {
    "task": (*PINBALL, *SMALL, *MONITORED),
    "metric": (*BALANCED, *SMALL, *MONITORED, "task.scores=[accuracy,own_metrics.balanced_error,own_metrics.Spread]"),
}
PLUGINS = {"task": "plugins=[own_quantile]", "metric": "plugins=[own_metrics]"}
MONITORS = {"task": "pinball", "metric": "balanced_error"}


def train_run(kind: str, name: str, *overrides: str) -> Path:
    monitor = (f"monitor={MONITORS[kind]}",) if kind == "metric" else ()
    extra = () if kind == "task" else ("model.dropout=0.2",)
    assert run_command([*KINDS[kind], *extra, *monitor, *overrides, f"hydra.run.dir=outputs/{name}"]) == 0
    return Path("outputs", name)


def read_outcome(path: Path) -> tuple[object, ...]:
    last, best = checkpoint.load_newest(path), checkpoint.load_checkpoint(path / checkpoint.BEST)
    results = run_dir.read_results(path)
    return digest(last), digest(best), read_metrics(path), results["test"], results["higher_is_better"]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.slow
def test_a_run_with_a_user_metric_resumes_bit_exactly(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_run(kind, "whole")
    rates = {row["lr_model"] for row in read_metrics(whole)}
    assert len(rates) > 1, "the plateau schedule lowered the rate"
    for step in (5, 23):
        with monkeypatch.context() as patched:
            send_signal_at(patched, step, signal.SIGTERM)
            with pytest.raises(Interrupted):
                train_run(kind, f"stopped{step}")
        stopped = Path(f"outputs/stopped{step}")
        assert run_command(["resume", str(stopped), PLUGINS[kind]]) == 0
        assert read_outcome(stopped) == read_outcome(whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", mark_slow_after(1, KINDS))
def test_best_checkpoint_and_early_stop_follow_the_lowest_value(kind: str) -> None:
    path, name = train_run(kind, "run", "epochs=40"), MONITORS[kind]
    rows, results = read_metrics(path), run_dir.read_results(path)
    values = [float(row[f"val_{name}"]) for row in rows]
    assert results["best_epoch"] == 1 + int(np.argmin(values))
    assert results["val"][name] == min(values)
    assert len(values) < 40, "stopped early"
    assert len(values) - results["best_epoch"] == 4
    assert results["higher_is_better"][name] is False


@pytest.mark.slow
def test_metric_is_maximized_and_exact_over_batches(capsys: pytest.CaptureFixture[str]) -> None:
    from sklearn.metrics import balanced_accuracy_score

    import trainer

    path = train_run("metric", "run", "monitor=spread")
    results = run_dir.read_results(path)
    assert results["higher_is_better"] == {"accuracy": True, "balanced_error": False, "spread": True}
    values = [float(row["val_spread"]) for row in read_metrics(path)]
    assert results["best_epoch"] == 1 + int(np.argmax(values))
    data, task = trainer.build(trainer.compose([*KINDS["metric"], "model.dropout=0.2"]))
    task.load_state_dict(checkpoint.load_checkpoint(path / checkpoint.BEST)["task"])
    targets = data.test.get_targets()
    assert targets is not None
    predictions = task.eval().model(data.test.batch(torch.arange(len(targets)), 0).inputs["x"]).detach()
    predictions = (predictions[:, 0] > 0).long() if predictions.shape[1] == 1 else predictions.argmax(1)
    assert results["test"]["balanced_error"] == pytest.approx(
        1 - balanced_accuracy_score(targets, predictions), abs=1e-12
    )
    capsys.readouterr()
    assert run_command(["evaluate", str(path), "plugins=[own_metrics]"]) == 0
    assert f"{results['test']['balanced_error']:.4f}" in capsys.readouterr().out


@pytest.mark.slow
def test_leaderboard_ranks_by_direction_without_plugin_or_torch() -> None:
    for rate in ("0.05", "1e-5"):
        train_run("task", f"pinball{rate}", f"optimizer.lr={rate}", "epochs=3")
        train_run("task", f"coverage{rate}", f"optimizer.lr={rate}", "epochs=3", "monitor=coverage")
    entries = read_leaderboard(Path("outputs"))
    falling, rising = ([e.val for e in entries if e.monitor == name] for name in ("pinball", "coverage"))
    assert falling == sorted(falling)
    assert rising == sorted(rising, reverse=True)
    assert len(set(falling)) == len(set(rising)) == 2
    code = "import sys; from trainer.cli.main import run_command; run_command(['report', 'outputs'])\n"
    code += "sys.exit('torch' in sys.modules or 'own_quantile' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert (process.returncode, "pinball" in process.stdout) == (0, True), process.stderr


@pytest.mark.slow
def test_run_and_sweep_monitor_a_plugin_metric() -> None:
    import trainer

    result = trainer.run(trainer.compose([*KINDS["metric"], "epochs=2", "monitor=balanced_error"]))
    assert result.val_score == result.val["balanced_error"]
    assert run_command(["-m", *KINDS["metric"], "epochs=2", "monitor=balanced_error", "seed=0,1"]) == 0
    assert len(find_runs(Path("outputs"))) == 3


@pytest.mark.slow
def test_resume_with_changed_metric_direction_raises(own_plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        send_signal_at(patched, 23, signal.SIGTERM)
        with pytest.raises(Interrupted):
            train_run("task", "run")
    file = own_plugins / "own_quantile.py"
    file.write_text(file.read_text().replace('"pinball", higher_is_better=False', '"pinball", higher_is_better=True'))
    sys.modules.pop("own_quantile")
    with pytest.raises(ConfigError, match="pinball is declared with higher_is_better=True; when the run was started"):
        run_command(["resume", "outputs/run", "plugins=[own_quantile]"])


@pytest.mark.slow
def test_run_without_stored_directions_is_read() -> None:
    path = train_run("metric", "run", "epochs=2", "monitor=accuracy")
    file = path / run_dir.RESULTS_FILE
    results = json.loads(file.read_text())
    del results["higher_is_better"]
    file.write_text(json.dumps(results))
    (entry,) = read_leaderboard(Path("outputs"))
    assert entry.monitor == "accuracy"
    assert run_command(["evaluate", str(path), "plugins=[own_metrics]"]) == 0


@pytest.mark.parametrize(
    ("kind", "override", "message"),
    [
        (
            "task",
            "monitor=pinbal",
            r"'pinbal' is not a metric of this task; did you mean pinball\? one of pinball, cove",
        ),
        ("task", "monitor=width", r"declare it in the task: reported_metrics = \(Metric\(\"width\", higher"),
        ("metric", "monitor=balanced_eror", r"did you mean balanced_error\?"),
        ("metric", "monitor=auc", r"task.scores=\[accuracy,own_metrics.balanced_error,own_metrics.Spread,auc\]"),
    ],
)
def test_an_invalid_monitor_is_refused(kind: str, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_command([*KINDS[kind], override])
    assert not Path("outputs").exists() or find_runs(Path("outputs")) == []


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (
            "own_metrics.undirected",
            r"task.scores: own_metrics.undirected does not declare whether higher is better; add undirected",
        ),
        ("own_metrics.several", r"metric own_metrics.several: returns a tensor \(8, 2\) for predictions \(8, 2\)"),
        ("own_metrics.failing", r"fails for predictions .*IndexError.*own_metrics.py, line 2\d"),
        ("own_metrics.accuracy", r"own_metrics.accuracy has the name of a built-in metric, accuracy"),
        ("own_metrics.Spread,own_metrics.Twin", r"task: two metrics are called spread"),
        ("own_metrics.Threshold", r"own_metrics.Threshold must be built without arguments"),
    ],
)
def test_a_non_metric_is_refused_with_a_message(scores: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_command([*KINDS["metric"], f"task.scores=[accuracy,{scores}]"])
