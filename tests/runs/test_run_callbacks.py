"""Loggers and callbacks of plugins: overrides, errors, files, and bit-exact resume."""

from __future__ import annotations

import csv
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.digest import digest
from tests.helpers.in_process import read_metrics, run, send_signal_at
from tests.helpers.marks import mark_slow_after
from tests.helpers.refusals import collect_problems
from trainer.config import compose
from trainer.engine import checkpoint
from trainer.engine.callbacks import CallbackError
from trainer.runs import run_dir, saved_run
from trainer.runs import train as runner
from trainer.utils.errors import ConfigError, Interrupted
from trainer.viz.loggers import csv_logger

pytestmark = pytest.mark.usefixtures("in_tmp")

PLUGIN = """
import builtins

from trainer.engine.callbacks import Callback
from trainer.core.types import PositiveInt
from trainer.viz.loggers.logger import Logger


class StopAt(Callback):
    def __init__(self, step: PositiveInt, fail_at: int | None = None):
        self.step, self.fail_at, self.losses = step, fail_at, []

    def on_step_end(self, trainer, metrics):
        self.losses.append(metrics["loss"])
        trainer.should_stop = trainer.step >= self.step
        if trainer.step == self.fail_at:
            raise LookupError("nothing there")

    def state_dict(self):
        return {"losses": self.losses}

    def load_state_dict(self, state):
        self.losses = list(state["losses"])


class Broken(Logger):
    def __init__(self, after: int = 0, error: str = "OSError"):
        self.after, self.error = after, getattr(builtins, error)

    def open(self, run, run_id, step):
        if not self.after:
            raise self.error("no server")
        return "run"

    def write_metrics(self, metrics, step):
        if step >= self.after:
            raise self.error("connection lost")

    def close(self, status):
        raise AssertionError("it is off")


class Unbuildable(Callback):
    def __init__(self):
        raise RuntimeError("on purpose")
"""
MINE = ("plugins=[own_callbacks]", "+callbacks.my_stop._target_=own_callbacks.StopAt", "+callbacks.my_stop.step=8")


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "own_callbacks.py").write_text(PLUGIN)
    yield
    sys.modules.pop("own_callbacks", None)


def hash_checkpoint(path: str) -> str:
    state = checkpoint.load_newest(Path(path))
    return digest({key: value for key, value in state.items() if key != "run_metadata"})


@pytest.mark.slow
def test_a_plugin_callback_with_state_resumes_bit_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run("epochs=4", "model.dropout=0.2", *MINE, "hydra.run.dir=outputs/whole")
    assert (whole.steps, whole.epochs) == (8, 3)
    with monkeypatch.context() as patched:
        send_signal_at(patched, 4, signal.SIGINT)
        with pytest.raises(Interrupted):
            run("epochs=4", "model.dropout=0.2", *MINE, "hydra.run.dir=outputs/cut")
    again = runner.resume_run(saved_run.load(Path("outputs/cut"), ["own_callbacks"]))
    assert (again.steps, again.test, again.val) == (8, whole.test, whole.val)
    losses = checkpoint.load_newest(Path("outputs/cut"))["callbacks"]["callbacks.my_stop"]["losses"]
    assert len(losses) == 8
    assert hash_checkpoint("outputs/cut") == hash_checkpoint("outputs/whole")
    assert read_metrics(Path("outputs/cut")) == read_metrics(Path("outputs/whole"))


def test_callback_of_a_config_directory_is_composed(tmp_path: Path) -> None:
    option = tmp_path / "mine/callbacks/early.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("# Stops.\nearly:\n  _target_: own_callbacks.StopAt\n  step: 4 # where\n")
    overrides = ["callbacks=[early]", "plugins=[own_callbacks]"]
    config = compose.compose([*overrides, "callbacks.early.step=5"], [tmp_path / "mine"])
    assert config.tree["callbacks"] == {"early": {"_target_": "own_callbacks.StopAt", "step": 5}}
    (problem,) = collect_problems(*overrides, "callbacks.early.stpe=5", folders=(tmp_path / "mine",))
    assert problem == "callbacks.early.stpe: unknown key; did you mean callbacks.early.step?"


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            ("+callbacks.a._target_=own_callbacks.StopAt",),
            "callbacks.a._target_: target 'own_callbacks.StopAt' is not on",
        ),
        ((*MINE, "callbacks.my_stop.step=0"), "callbacks.my_stop.step: 0 given; it must be a whole number >= 1"),
        ((*MINE, "+callbacks.my_stop.stpe=3"), "callbacks.my_stop.stpe: unknown key; did you mean step?"),
        ((*MINE[:2],), "callbacks.my_stop.step: own_callbacks.StopAt needs it"),
        (("plugins=[own_callbacks]", "+callbacks.a._target_=own_callbacks.StopIt"), "did you mean StopAt?"),
        (("+callbacks.a.step=3",), "callbacks.a: each entry of callbacks needs a name and a class"),
        (("+callbacks._target_=x.Y",), "callbacks: each entry of callbacks needs a name and a class"),
        (("callbacks.a.step=3",), "callbacks.a.step: unknown key; add a class of your own by +callbacks.a._target_="),
        (("callbacks=mine",), "callbacks 'mine' not found; choices: none"),
        (("+callbacks.a={_target_: os.system}",), "target 'os.system' is not on the allow-list"),
        (("+logger.a={_target_: trainer.engine.checkpoint.CheckpointManager}",), "is not on the allow-list"),
        (("+logger.csv.steps.x=1",), "logger.csv.steps.x: logger.csv.steps is a value"),
        (("logger=[csv,tensorbord]",), "logger 'tensorbord' not found; did you mean tensorboard? choices: csv, mlflow"),
        (("logger=tensorbord",), "logger 'tensorbord' not found; did you mean tensorboard?"),
        (
            ("logger.wandb.project=x",),
            "logger.wandb.project: unknown key; wandb is not chosen; choose it by logger=[csv,wandb]",
        ),
        (("logger.csv.step=true",), "logger.csv.step: unknown key; did you mean logger.csv.steps?"),
        (("log_every=0",), "log_every: 0 given; it must be a whole number >= 1"),
    ],
)
def test_invalid_loggers_and_callbacks_are_refused(overrides: tuple[str, ...], problem: str) -> None:
    assert any(problem in text for text in collect_problems(*overrides)), collect_problems(*overrides)


@pytest.mark.slow
def test_callback_error_fails_the_run_with_its_name() -> None:
    with pytest.raises(
        CallbackError, match=r"^callbacks\.my_stop: own_callbacks\.StopAt\.on_step_end raised LookupError"
    ):
        run(*MINE, "+callbacks.my_stop.fail_at=3", "hydra.run.dir=outputs/failed")
    assert run_dir.read_results(Path("outputs/failed"))["status"] == "failed"
    assert "own_callbacks.py" in Path("outputs/failed/train.log").read_text()
    with pytest.raises(ConfigError, match=r"^callbacks\.a: own_callbacks\.Unbuildable cannot be built: RuntimeError"):
        run("plugins=[own_callbacks]", "+callbacks.a._target_=own_callbacks.Unbuildable")
    with pytest.raises(ConfigError, match="is not a Logger"):
        run("plugins=[own_callbacks]", "+logger.a={_target_: own_callbacks.StopAt, step: 3}")


@pytest.mark.slow
@pytest.mark.parametrize("error", ["OSError", "SystemExit"])
@pytest.mark.parametrize("after", mark_slow_after(1, [0, 4]))
def test_a_failing_logger_is_disabled_without_side_effects(
    after: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run("hydra.run.dir=outputs/whole")
    broken = f"+logger.mine={{_target_: own_callbacks.Broken, after: {after}, error: {error}}}"
    result = run("hydra.run.dir=outputs/broken", "plugins=[own_callbacks]", broken, "log_every=1")
    assert (result.status, result.test) == ("finished", whole.test)
    output = capsys.readouterr().out
    assert output.count(f"warning: logger.mine: {error}: ") == 1
    assert "logging to it ends, training continues" in output
    assert read_metrics(Path("outputs/broken")) == read_metrics(Path("outputs/whole"))


def test_keyboard_interrupt_in_a_logger_passes() -> None:
    broken = "+logger.mine={_target_: own_callbacks.Broken, error: KeyboardInterrupt}"
    with pytest.raises(KeyboardInterrupt):
        run("hydra.run.dir=outputs/broken", "plugins=[own_callbacks]", broken)


def test_missing_package_of_a_logger_raises_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.viz.loggers.wandb_logger import WandbLogger

    monkeypatch.setattr(WandbLogger, "package", "no_such_package")
    with pytest.raises(ConfigError, match=r"^logger\.wandb: .* not installed: pip install 'train-zoo\[wandb\]'$"):
        run("logger=[csv,wandb]")
    assert not list(Path().glob("outputs/**/results.json"))


@pytest.mark.slow
def test_callbacks_identify_a_run_and_loggers_do_not() -> None:
    plain = compose.compose([])
    for overrides in (["logger=none"], ["logger=[csv,tensorboard]", "log_every=3"]):
        assert compose.compose(overrides).config_hash == plain.config_hash
    by_step = {compose.compose([*MINE, f"callbacks.my_stop.step={step}"]).config_hash for step in (7, 8)}
    assert len(by_step | {plain.config_hash}) == 3
    result = run("hydra.run.dir=outputs/a", "logger=none")
    assert not Path("outputs/a/metrics.csv").exists()
    assert run("resume=auto", "logger=csv").run_dir == result.run_dir
    assert result.options == run().options


@pytest.mark.slow
def test_steps_csv_has_each_step_once_after_any_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ("epochs=4", "logger.csv.steps=true", "log_every=1", "save_every=1000")
    run(*overrides, "hydra.run.dir=outputs/whole")
    with monkeypatch.context() as patched:
        send_signal_at(patched, 5, signal.SIGINT)
        with pytest.raises(Interrupted):
            run(*overrides, "hydra.run.dir=outputs/cut")
    table = Path("outputs/cut", csv_logger.STEPS_FILE)
    table.write_text(table.read_text() + "6,2,0.1,0.1,0.1,0.1\n7,2,0.")  # as after a crash
    runner.resume_run(saved_run.load(Path("outputs/cut")))
    found = [
        [
            {k: v for k, v in row.items() if k != "rows_per_second"}
            for row in csv.DictReader(file.read_text().splitlines())
        ]
        for file in (Path("outputs/whole", csv_logger.STEPS_FILE), table)
    ]
    assert found[0] == found[1]
    assert [row["step"] for row in found[0]] == [str(step) for step in range(1, 13)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_three_loggers_at_once_resume_bit_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracking = pytest.importorskip("mlflow.tracking")
    overrides = ("epochs=4", "model.dropout=0.2", "logger=[csv,tensorboard,mlflow]", "log_every=1", "draw=false")
    plain = run(*overrides[:2], "draw=false")
    with monkeypatch.context() as patched:
        send_signal_at(patched, 5, signal.SIGINT)
        with pytest.raises(Interrupted):
            run(*overrides, "hydra.run.dir=outputs/cut")
    again = runner.resume_run(saved_run.load(Path("outputs/cut")))
    assert (again.test, again.val) == (plain.test, plain.val)
    assert read_metrics(Path("outputs/cut")) == read_metrics(Path(plain.run_dir))
    events = accumulators.EventAccumulator("outputs/cut/tensorboard", size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 13))
    assert [event.step for event in events.Scalars("val/accuracy")] == [3, 6, 9, 12]
    assert events.Scalars("test/accuracy")[0].value == pytest.approx(again.test["accuracy"])
    assert events.Images("curves")
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{Path('outputs/mlflow.db').absolute()}")
    (logged,) = client.search_runs([client.get_experiment_by_name("train").experiment_id])
    assert logged.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(logged.info.run_id, "train/loss")] == list(range(1, 13))
    assert logged.data.params["model.dropout"] == "0.2"
