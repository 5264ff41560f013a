"""A run from its configuration to the files it leaves."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from commands import SMALL, runs, start, train, write

from trainer import builder, checks, config, folder, report, runner, stored
from trainer.errors import ConfigError, Interrupted, NonFiniteError
from trainer.result import Result
from trainer.settings import Settings

LONG = ("model=mlp", "data=moons", "data.rows=3000", "batch_size=16", "epochs=25", "threads=1", "save_every=0.2")
"""About half a second."""


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob("*.tmp")), "a half-written file was left"


def run(*overrides: str) -> Result:
    return runner.run(config.compose([*SMALL, *overrides]))


def results(result: Result) -> dict[str, Any]:
    found = json.loads((Path(result.folder) / "results.json").read_text())
    assert isinstance(found, dict)
    return found


def metrics(path: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv without the clock."""
    with open(path / "metrics.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


# What a run leaves.


def test_results_hold_everything_there_is_to_know() -> None:
    result = run("epochs=3")
    said = results(result)
    assert set(said) == {field.name for field in fields(Result)}
    assert (said["status"], said["model"], said["data"], said["task"]) == ("finished", "mlp", "moons", "classification")
    assert said["epochs"] == 3
    assert said["steps"] == 3 * 3  # 180 rows in batches of 64
    assert said["params"] == 2 * 4 + 4 + 4 + 1
    assert 0 < said["seconds"] < 60
    assert said["monitor"] == "accuracy"
    for scores in ("val", "test", "baseline", "best_possible"):
        assert 0 <= said[scores]["accuracy"] <= 1
    assert {"python", "torch", "hydra-core", "numpy"} <= set(said["versions"])
    assert said["git"] is None
    assert said["overrides"] == [*SMALL, "epochs=3"]
    assert said["reason"] is None
    assert result.val_score == said["val"]["accuracy"]


def test_git_is_the_commit_of_the_working_folder(tmp_path: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    said = results(run())["git"]
    assert said.rstrip("+").isalnum()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert head.stdout.startswith(said.rstrip("+"))


def test_metrics_are_one_row_a_validation() -> None:
    rows = metrics(Path(run("epochs=4").folder))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["step"] for row in rows] == ["3", "6", "9", "12"]
    assert {"train_loss", "grad_norm", "lr_model", "val_accuracy", "val_nll"} <= set(rows[0])
    sparse = metrics(Path(run("epochs=5", "val_every=2").folder))
    assert [row["epoch"] for row in sparse] == ["2", "4", "5"]


def test_curves_are_a_picture() -> None:
    from PIL import Image

    with Image.open(Path(run().folder) / "curves.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width > picture.height > 100
        colours = picture.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 10


def test_the_config_builds_the_same_run_again() -> None:
    result = run("seed=3")
    tree = yaml.safe_load((Path(result.folder) / "config.yaml").read_text())
    assert tree["seed"] == 3
    assert tree["model"]["hidden"] == [4]
    assert checks.check(tree, result.options) == []
    assert stored.load(Path(result.folder)).identity == result.identity


def test_a_runs_log_says_what_happened() -> None:
    text = (Path(run().folder) / "train.log").read_text()
    for words in ("mlp on moons", "val_accuracy", "baseline"):
        assert words in text


def test_secrets_are_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "SECRET123")
    run("data_dir=${oc.env:SOME_SECRET}")
    with pytest.raises(ConfigError):
        run("+api_key=SECRET123")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"SECRET123" not in path.read_bytes(), path


@pytest.mark.slow
def test_a_secret_in_a_plugins_own_key_is_masked(tmp_path: Path) -> None:
    text = """
        from trainer.data.synthetic_tabular import Moons
        class Hub(Moons):
            '''x (B, F) -> (B)'''
            def __init__(self, rows: int, api_key: str):
                super().__init__(rows, 0.2, 0)
    """
    write(
        tmp_path,
        {
            "own_hub.py": text.replace("\n        ", "\n"),
            "c/data/hub.yaml": "# own\n_target_: own_hub.Hub\nrows: 90\napi_key: ''\n",
        },
    )
    done = train(
        *("--config-dir", "c", "plugins=[own_hub]", "model=mlp", "data=hub", "epochs=1", "data.api_key=SECRET123"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "outputs").rglob("*"):
        assert not path.is_file() or b"SECRET123" not in path.read_bytes(), path


def test_two_runs_in_one_second_have_two_folders() -> None:
    first, second = run(f"hydra.run.dir={'outputs/same'}"), run("hydra.run.dir=outputs/same")
    assert (Path(first.folder).name, Path(second.folder).name) == ("same", "same-2")


def test_a_run_folder_in_use_is_refused_with_its_process() -> None:
    path = Path(run().folder)
    write(path, {"results.json": json.dumps(folder.read_results(path) | {"status": "interrupted"})})
    with folder.locked(path), pytest.raises(ConfigError, match=f"in use by process {os.getpid()}"):
        runner.resume(stored.load(path))
    assert folder.read_results(path)["status"] == "interrupted"


# Where it stops.


def test_bad_input_leaves_nothing_behind(tmp_path: Path) -> None:
    for overrides in (["data.rows=3", "drop_last=true"], ["monitor=acuracy"], ["device=gpu"]):
        with pytest.raises(ConfigError):
            run(*overrides)
        assert list(tmp_path.rglob("*")) == [], overrides


def test_a_loss_that_is_not_finite_is_told_and_written() -> None:
    with pytest.raises(NonFiniteError) as caught:
        run("optimizer.lr=1e30", "epochs=50", "optimizer=sgd", "hydra.run.dir=outputs/nan")
    said = folder.read_results(Path("outputs/nan"))
    assert said["status"] == "failed"
    assert said["reason"].startswith("NonFiniteError: loss ")
    assert "rows of the batch" in str(caught.value)


def test_an_exception_is_written_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(report.Report, "scored", fail)
    with pytest.raises(ZeroDivisionError):
        run("hydra.run.dir=outputs/broken")
    said = folder.read_results(Path("outputs/broken"))
    assert (said["status"], said["reason"]) == ("failed", "ZeroDivisionError: on purpose")
    assert "Traceback" in Path("outputs/broken/train.log").read_text()


def signal_at(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """A signal to this process after that step, once."""
    stepped = report.Report.stepped
    sent = []

    def watched(self: report.Report, trainer: Any) -> None:
        if trainer.step == step and not sent:
            sent.append(step)
            os.kill(os.getpid(), number)
        stepped(self, trainer)

    monkeypatch.setattr(report.Report, "stepped", watched)


@pytest.mark.parametrize(
    ("number", "code", "step"),
    [(signal.SIGINT, 130, 1), (signal.SIGINT, 130, 6), (signal.SIGTERM, 143, 8), (signal.SIGUSR1, 143, 6)],
)
@pytest.mark.slow
def test_a_signal_stops_a_run_that_goes_on_to_the_same_end(
    number: signal.Signals, code: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("epochs=4", "model.dropout=0.2", "ema=0.9")
    signal_at(monkeypatch, step, number)
    with pytest.raises(Interrupted) as caught:
        run("epochs=4", "model.dropout=0.2", "ema=0.9", "hydra.run.dir=outputs/stopped")
    path = Path("outputs/stopped")
    assert caught.value.exit_code == code
    assert f"train resume {path}" in str(caught.value)
    assert folder.read_results(path)["status"] == "interrupted"
    assert (len(metrics(path)) if (path / "metrics.csv").exists() else 0) == (step - 1) // 3
    again = runner.resume(stored.load(path))
    assert again.test == whole.test
    assert again.val == whole.val
    assert (again.status, again.epochs, again.steps) == ("finished", 4, 12)
    assert metrics(path) == metrics(Path(whole.folder))
    assert runner.resume(stored.load(path)).test == whole.test, "a finished run is left as it is"


def test_resume_auto_finds_the_run_of_this_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        signal_at(patched, 5, signal.SIGINT)
        with pytest.raises(Interrupted):
            run("epochs=4")
    assert len(runs(Path())) == 1
    again = run("epochs=4", "resume=auto")
    assert (again.status, again.steps, len(runs(Path()))) == ("finished", 12, 1)
    assert run("epochs=4", "resume=auto").folder == again.folder
    other = run("epochs=4", "resume=auto", "seed=1")
    assert other.folder != again.folder
    assert len(runs(Path())) == 2


def test_resuming_a_folder_does_not_take_other_keys_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        signal_at(patched, 5, signal.SIGINT)
        with pytest.raises(Interrupted):
            run("epochs=4", "hydra.run.dir=outputs/a")
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        run("epochs=4", "resume=outputs/a", "optimizer.lr=0.5")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_to_the_real_command(number: signal.Signals, code: int, tmp_path: Path) -> None:
    process = start(*LONG, "hydra.run.dir=outputs/cut", cwd=tmp_path)
    deadline = time.monotonic() + 90
    while not Path("outputs/cut/metrics.csv").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == code, said + errors
    assert "train resume outputs/cut" in errors
    assert "Traceback" not in errors
    assert folder.read_results(Path("outputs/cut"))["status"] == "interrupted"
    done = train("resume", "outputs/cut", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole = runner.run(config.compose([*LONG, "hydra.run.dir=outputs/whole"]))
    assert folder.read_results(Path("outputs/cut"))["test"] == whole.test
    assert metrics(Path("outputs/cut")) == metrics(Path("outputs/whole"))


@pytest.mark.slow
def test_a_signal_to_the_whole_group_is_answered_once_and_leaves_no_worker(tmp_path: Path) -> None:
    words = ("model=mlp", "data=moons", "epochs=10000", "num_workers=2", "threads=1", "hydra.run.dir=outputs/cut")
    process = start(*words, cwd=tmp_path)
    deadline = time.monotonic() + 90
    while not Path("outputs/cut/metrics.csv").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    workers = [int(p.stem) for p in Path("/proc").glob("[0-9]*") if parent_of(p) == process.pid]
    os.killpg(process.pid, signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 143, said + errors
    assert "Traceback" not in errors
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def parent_of(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


SLOW = """
import time
from pathlib import Path
from trainer.data.synthetic_tabular import Moons

def wait(inputs, target, index, epoch):
    if epoch:
        Path("waiting").touch()
        time.sleep(60)
    return inputs, target

class Slow(Moons):
    '''x (B, F) -> (B)'''
    def __init__(self, rows: int, building: bool):
        if building:
            wait(None, None, None, 1)
        super().__init__(rows, 0.2, 0)
        self.train.augment = wait
"""


@pytest.mark.parametrize("building", ["true", "false"])
@pytest.mark.slow
def test_no_wait_for_what_is_slow(building: str, tmp_path: Path) -> None:
    """A data set that is being built is left at the first interrupt, a batch that hangs at the second."""
    write(
        tmp_path,
        {"own_slow.py": SLOW, "c/data/slow.yaml": "# own\n_target_: own_slow.Slow\nrows: 90\nbuilding: true\n"},
    )
    own = ("--config-dir", "c", "plugins=[own_slow]", "model=mlp", "data=slow", f"data.building={building}")
    process = start(*own, cwd=tmp_path)
    deadline = time.monotonic() + 90
    while not Path("waiting").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    if building == "false":
        time.sleep(0.3)
        assert process.poll() is None, "the first interrupt is noted until the batch is done"
        process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130, said + errors
    assert time.monotonic() - began < 20


# No flat key is dead: each changes something, or is refused with a reason.

CHANGES: dict[str, tuple[str, str]] = {
    "epochs": ("epochs=3", "epochs"),
    "max_steps": ("max_steps=4", "steps"),
    "batch_size": ("batch_size=32", "steps"),
    "drop_last": ("drop_last=true", "steps"),
    "bucket": ("bucket=1", "elsewhere"),
    "seed": ("seed=1", "val"),
    "precision": ("precision=bf16", "metrics"),
    "accumulate": ("accumulate=2", "steps"),
    "grad_clip": ("grad_clip=1e-3", "metrics"),
    "ema": ("ema=0.9", "metrics"),
    "monitor": ("monitor=nll", "monitor"),
    "val_every": ("val_every=2", "metrics"),
    "threads": ("threads=2", "threads"),
    "device": ("device=gpu", "refused: 'gpu' given; it must be one of auto, cpu, cuda, mps"),
    "teacher_forcing": ("teacher_forcing=0.5", "refused: no past to feed"),
    "data_dir": ("data_dir=/nope", "elsewhere"),
    "grad_clip_mode": ("grad_clip_mode=value", "elsewhere"),
    "patience": ("patience=1", "elsewhere"),
    "compile": ("compile=true", "elsewhere"),
    "num_workers": ("num_workers=1", "elsewhere"),
    "worker_timeout": ("worker_timeout=5", "elsewhere"),
    "save_every": ("save_every=0", "elsewhere"),
    "jobs": ("jobs=1", "elsewhere"),
    "resume": ("resume=/nope", "refused: is not a run folder"),
    "plugins": ("plugins=[nope_at_all]", "refused: no module"),
    "debug": ("debug=true", "elsewhere"),
    "verbose": ("verbose=true", "elsewhere"),
}
"""The flat key, a value of it, and what must differ; ``elsewhere`` is a test of its own below."""


def test_every_flat_key_has_a_test() -> None:
    assert set(CHANGES) == {field.name for field in fields(Settings)}
    own = [key for key, (_, what) in CHANGES.items() if what == "elsewhere"]
    assert [key for key in own if f"test_{key}_" not in Path(__file__).read_text()] == []


@pytest.mark.parametrize("key", [key for key, (_, what) in CHANGES.items() if what != "elsewhere"])
def test_a_flat_key_changes_what_it_says(key: str) -> None:
    override, what = CHANGES[key]
    if what.startswith("refused: "):
        with pytest.raises(ConfigError, match=what.removeprefix("refused: ")):
            run(override)
        return
    before, after = run(), run(override)
    if what == "metrics":
        assert metrics(Path(before.folder)) != metrics(Path(after.folder))
    else:
        assert getattr(before, what) != getattr(after, what)


def test_grad_clip_mode_clips_each_number() -> None:
    norm, value = run("grad_clip=1e-2"), run("grad_clip=1e-2", "grad_clip_mode=value")
    assert metrics(Path(norm.folder)) != metrics(Path(value.folder))


def test_patience_stops_a_run_that_stands_still() -> None:
    result = run("optimizer.lr=1e-12", "epochs=9", "patience=2")
    assert (result.epochs, result.best_epoch) == (3, 1)


def test_compile_hands_the_loss_to_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    run()
    assert not compiled
    run("compile=true")
    assert [function.__name__ for function in compiled] == ["loss"]


def test_num_workers_and_worker_timeout_reach_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer import builder

    seen = []
    make = builder.Loader
    monkeypatch.setattr(builder, "Loader", lambda *args, **kinds: seen.append(kinds) or make(*args, **kinds))
    run("num_workers=1", "worker_timeout=5")
    assert {(kinds["workers"], kinds["timeout"]) for kinds in seen} == {(1, 5)}


test_worker_timeout_reaches_the_loader = test_num_workers_and_worker_timeout_reach_the_loader


def test_save_every_says_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer import checkpoint

    saved: list[str] = []
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda state, path: (saved.append(path.name), save(state, path)))
    run("save_every=1000")
    rarely = saved.count(checkpoint.LAST)
    saved.clear()
    run("save_every=0")
    assert rarely == 1
    assert saved.count(checkpoint.LAST) >= 6


def test_data_dir_is_where_real_data_is_looked_for(tmp_path: Path) -> None:
    from trainer.errors import UserError

    with pytest.raises(UserError, match="nowhere_at_all"):
        runner.run(config.compose(["model=gcn", "data=cora", f"data_dir={tmp_path}/nowhere_at_all"]))


def test_verbose_shows_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    quiet = capsys.readouterr().out
    run("verbose=true")
    assert "INFO" not in quiet
    assert "INFO" in capsys.readouterr().out


def test_debug_is_looked_at_by_the_command_and_jobs_by_the_sweep() -> None:
    """``test_cli.test_debug_raises`` and ``test_sweep.test_jobs_side_by_side`` have them."""
    tests = Path(__file__).parent
    assert "def test_debug_raises" in (tests / "test_cli.py").read_text()
    assert "def test_jobs_side_by_side" in (tests / "test_sweep.py").read_text()


test_jobs_are_looked_at_by_the_sweep = test_debug_is_looked_at_by_the_command_and_jobs_by_the_sweep


def test_bucket_reaches_every_loader() -> None:
    composed = config.compose([*SMALL, "bucket=7"])
    made = builder.loaders(builder.data(composed.tree), composed.settings, torch.device("cpu"))
    assert [loader.bucket for loader in made.values()] == [7, 7, 7]
