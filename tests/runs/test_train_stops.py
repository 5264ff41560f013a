"""Failed, interrupted and resumed runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.helpers.commands import SMALL, find_runs, start, train, write
from tests.helpers.held_runs import HOLD, STEP, HeldRun
from tests.helpers.in_process import read_metrics, run, send_signal_at
from tests.helpers.sweeps import find_descendants, wait_for_ends, wait_until
from trainer.config import compose
from trainer.engine.trainer import Trainer
from trainer.runs import run_dir, run_overrides, run_report, saved_run
from trainer.runs import train as runner
from trainer.utils.errors import ConfigError, Interrupted, NonFiniteError

pytestmark = pytest.mark.usefixtures("in_tmp")


def test_invalid_config_creates_no_files(tmp_path: Path) -> None:
    for overrides in (["data.rows=3", "drop_last=true"], ["monitor=acuracy"], ["device=gpu"]):
        with pytest.raises(ConfigError):
            run(*overrides)
        assert list(tmp_path.rglob("*")) == [], overrides


def test_a_nonfinite_loss_is_reported_and_logged() -> None:
    with pytest.raises(NonFiniteError) as caught:
        run("optimizer.lr=1e30", "epochs=50", "optimizer=sgd", "hydra.run.dir=outputs/nan")
    results = run_dir.read_results(Path("outputs/nan"))
    assert results["status"] == "failed"
    assert results["reason"].startswith("NonFiniteError: loss ")
    assert "rows of the batch" in str(caught.value)


def test_exception_is_recorded_in_results_and_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(run_report.RunReporter, "on_validation_end", fail)
    with pytest.raises(ZeroDivisionError):
        run("hydra.run.dir=outputs/broken")
    results = run_dir.read_results(Path("outputs/broken"))
    assert (results["status"], results["reason"]) == ("failed", "ZeroDivisionError: on purpose")
    assert "Traceback" in Path("outputs/broken/train.log").read_text()


@pytest.mark.parametrize(
    ("number", "code", "step"),
    [(signal.SIGINT, 130, 1), (signal.SIGINT, 130, 6), (signal.SIGTERM, 143, 8), (signal.SIGUSR1, 143, 6)],
)
@pytest.mark.slow
def test_run_interrupted_by_signal_resumes_to_same_result(
    number: signal.Signals, code: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("epochs=4", "model.dropout=0.2", "ema=0.9")
    send_signal_at(monkeypatch, step, number)
    with pytest.raises(Interrupted) as caught:
        run("epochs=4", "model.dropout=0.2", "ema=0.9", "hydra.run.dir=outputs/stopped")
    path = Path("outputs/stopped")
    assert caught.value.exit_code == code
    assert f"train resume {path}" in str(caught.value)
    assert run_dir.read_results(path)["status"] == "interrupted"
    assert (len(read_metrics(path)) if (path / "metrics.csv").exists() else 0) == (step - 1) // 3
    again = runner.resume_run(saved_run.load(path))
    assert again.test == whole.test
    assert again.val == whole.val
    assert (again.status, again.epochs, again.steps) == ("finished", 4, 12)
    assert read_metrics(path) == read_metrics(Path(whole.run_dir))
    assert runner.resume_run(saved_run.load(path)).test == whole.test, "resuming a finished run changes its scores"


@pytest.mark.slow
def test_resume_auto_finds_the_run_of_this_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        send_signal_at(patched, 5, signal.SIGINT)
        with pytest.raises(Interrupted):
            run("epochs=4")
    assert len(find_runs(Path())) == 1
    again = run("epochs=4", "resume=auto")
    assert (again.status, again.steps, len(find_runs(Path()))) == ("finished", 12, 1)
    assert run("epochs=4", "resume=auto").run_dir == again.run_dir
    other = run("epochs=4", "resume=auto", "seed=1")
    assert other.run_dir != again.run_dir
    assert len(find_runs(Path())) == 2


@pytest.mark.slow
def test_resume_accepts_runtime_overrides(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with monkeypatch.context() as patched:
        send_signal_at(patched, 5, signal.SIGINT)
        with pytest.raises(Interrupted):
            run("epochs=4", "hydra.run.dir=outputs/a")
    assert "info: " not in capsys.readouterr().out
    assert run("epochs=4", "resume=outputs/a", "verbose=true").epochs == 4
    assert "info: " in capsys.readouterr().out


def test_data_dir_override_applies_to_a_resumed_run() -> None:
    overrides = ["model=gcn", "data=cora", "data_dir=/here"]
    saved, requested = compose.compose(overrides), compose.compose([*overrides[:2], "data_dir=/there"])
    merged = run_overrides.with_runtime_overrides(saved, requested)
    assert (merged.settings.data_dir, merged.tree["data_dir"], merged.tree["data"]["data_dir"]) == ("/there",) * 3
    assert merged.config_hash == saved.config_hash
    own = compose.compose([*overrides, "data.data_dir=/own"])
    assert run_overrides.with_runtime_overrides(own, requested).tree["data"]["data_dir"] == "/own"


@pytest.mark.slow
def test_resume_with_a_training_override_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        send_signal_at(patched, 5, signal.SIGINT)
        with pytest.raises(Interrupted):
            run("epochs=4", "hydra.run.dir=outputs/a")
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        run("epochs=4", "resume=outputs/a", "optimizer.lr=0.5")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_cli_run_interrupted_by_signal_resumes(number: signal.Signals, code: int, tmp_path: Path) -> None:
    words = (*SMALL, "epochs=9", *HOLD)
    held = HeldRun(tmp_path)
    process = start(*words, "hydra.run.dir=outputs/cut", cwd=tmp_path)
    wait_until(held.is_held, process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stdout + stderr
    assert "train resume outputs/cut" in stderr
    assert "Traceback" not in stderr
    results = run_dir.read_results(Path("outputs/cut"))
    assert (results["status"], results["steps"]) == ("interrupted", STEP)
    held.release()
    for command in (("resume", "outputs/cut", HOLD[0]), (*words, "hydra.run.dir=outputs/whole")):
        done = train(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    cut, whole = (run_dir.read_results(Path("outputs", name)) for name in ("cut", "whole"))
    assert cut["test"] == whole["test"]
    assert read_metrics(Path("outputs/cut")) == read_metrics(Path("outputs/whole"))


def test_second_ctrl_c_prints_the_resume_command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The second interrupt saves nothing; the run resumes from its last checkpoint."""

    class ProcessExit(BaseException):
        """Simulates the end of the process."""

    def exit_process(_: int) -> None:
        raise ProcessExit

    def interrupt_twice(_: object, trainer: Trainer, __: object) -> None:
        if trainer.step == 5:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "_exit", exit_process)
    monkeypatch.setattr(run_report.RunReporter, "on_step_end", interrupt_twice)
    with pytest.raises(ProcessExit):
        run("epochs=4", "save_every=0", "hydra.run.dir=outputs/cut")
    assert "stopped at once; resume with: train resume outputs/cut\n" in capfd.readouterr().err


@pytest.mark.slow
def test_signal_to_process_group_ends_run_and_workers(tmp_path: Path) -> None:
    overrides = ("model=mlp", "data=moons", "epochs=10000", "num_workers=2", "threads=1", "hydra.run.dir=outputs/cut")
    process = start(*overrides, cwd=tmp_path)
    workers: list[int] = []

    def find_workers() -> list[int]:
        """Those of one moment: each epoch starts new ones."""
        workers[:] = find_descendants(process.pid) if Path("outputs/cut/metrics.csv").exists() else []
        return workers

    wait_until(find_workers, process)
    os.killpg(process.pid, signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stdout + stderr
    assert "Traceback" not in stderr
    wait_for_ends(workers)


SLOW = """
import signal
import time
from pathlib import Path
from trainer.core.split import TensorSplit
from trainer.data.datasets.tabular.synthetic import Moons

def wait():
    handle = signal.getsignal(signal.SIGINT)

    def handle_and_tell(*arguments):
        handle(*arguments)
        Path("interrupted").touch()

    signal.signal(signal.SIGINT, handle_and_tell)
    Path("waiting").touch()
    time.sleep(1000)

class Hanging(TensorSplit):
    def to(self, device):
        return self
    def batch(self, index, epoch):
        if epoch:
            wait()
        return super().batch(index, epoch)

class Slow(Moons):
    shapes = "x (B, F) -> (B)"
    def __init__(self, rows: int, building: bool):
        if building:
            wait()
        super().__init__(rows, 0.2, 0)
        self.train = Hanging(self.train.inputs, self.train.target)
"""


@pytest.mark.parametrize("building", ["true", "false"])
@pytest.mark.slow
def test_interrupts_do_not_wait_for_slow_data(building: str, tmp_path: Path) -> None:
    """The first interrupt stops the building of a data set, the second a batch that hangs."""
    write(
        tmp_path,
        {"own_slow.py": SLOW, "c/data/slow.yaml": "# own\n_target_: own_slow.Slow\nrows: 90\nbuilding: true\n"},
    )
    command = ("--config-dir", "c", "plugins=[own_slow]", "model=mlp", "data=slow", f"data.building={building}")
    process = start(*command, cwd=tmp_path)
    wait_until(Path("waiting").exists, process)
    process.send_signal(signal.SIGINT)
    if building == "false":
        wait_until(Path("interrupted").exists, process)  # the first interrupt waits for the batch
        process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stdout + stderr


@pytest.mark.slow
def test_failure_reason_contains_no_environment_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In results and log, whether building the data set or a training step fails."""
    monkeypatch.setenv("DOOR", "hunter22")
    (tmp_path / "hunter22").mkdir()
    rows = "".join(f"{row},{row % 2}\n" for row in range(60))
    (tmp_path / "hunter22" / "t.csv").write_text(f"a,kind\n{rows}")
    overrides = [
        "model=mlp",
        "data=csv",
        f"data.path={tmp_path}/${{oc.env:DOOR}}/t.csv",
        "data.target=kind",
        "max_steps=9",
    ]
    composed = compose.compose([*overrides, "hydra.run.dir=outputs/a"])
    with monkeypatch.context() as patched:
        send_signal_at(patched, 2, signal.SIGINT)
        with pytest.raises(Interrupted):
            runner.run(composed)
    (tmp_path / "hunter22" / "t.csv").unlink()
    with pytest.raises(ConfigError, match="hunter22"):
        runner.resume_run(saved_run.load(Path("outputs/a")))

    def fail(*_: object) -> None:
        raise RuntimeError("cannot use hunter22")

    monkeypatch.setattr("trainer.engine.trainer.Trainer.iter_fit", fail)
    (tmp_path / "hunter22" / "t.csv").write_text(f"a,kind\n{rows}")
    with pytest.raises(RuntimeError):
        runner.resume_run(saved_run.load(Path("outputs/a")))
    written = [file for file in Path("outputs/a").iterdir() if file.is_file()]
    assert "cannot use ${oc.env:DOOR}" in Path("outputs/a/results.json").read_text()
    assert "cannot use ${oc.env:DOOR}" in Path("outputs/a/train.log").read_text()
    assert not [file.name for file in written if b"hunter22" in file.read_bytes()]
