"""Data parallel runs from the command line: their files, their errors, and torchrun."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

import trainer
from tests.helpers import commands, sweeps
from tests.helpers.digest import digest
from tests.helpers.interruptions import read_table
from tests.helpers.process_runs import list_workers, torchrun, wait_for_checkpoint, wait_for_steps
from trainer.engine import checkpoint
from trainer.runs import run_dir
from trainer.runs.worker_processes import PARENT_VARIABLE, STORE_VARIABLE, TIMEOUT_VARIABLE
from trainer.utils.errors import ConfigError

RUN = (
    *("model=mlp", "data=synthetic_tabular", "data.rows=300", "model.dropout=0.2", "batch_size=37"),
    *("threads=1", "draw=false", "task.calibration=temperature", "patience=5", "hydra.run.dir=run"),
)
SHORT = (*RUN, "epochs=2")
LONG = (*RUN, "max_steps=1000000", "val_every=1", "save_every=0")


def outcome(run: Path) -> list[object]:
    weights = [checkpoint.load_newest(run), checkpoint.load_checkpoint(run / checkpoint.BEST)]
    results = run_dir.read_results(run)
    return [digest(weights), read_table(run / run_dir.METRICS_FILE), results["test"], results["decisions"]]


@pytest.mark.slow
def test_a_run_has_the_same_files_on_any_number_of_processes(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "torchrun")]
    for folder in folders:
        folder.mkdir()
    words = [word.replace("threads=1", "threads=2") for word in SHORT]
    done = [
        commands.train(*words, "shards=2", "devices=1", cwd=folders[0]),
        commands.train(*words, "devices=2", cwd=folders[1]),
        torchrun(*words, cwd=folders[2]),
    ]
    assert [each.returncode for each in done] == [0, 0, 0], [each.stderr for each in done]
    expected = outcome(folders[0] / "run")
    assert [outcome(folder / "run") for folder in folders[1:]] == [expected] * 2
    # No process but the first one prints or writes anything.
    lines = [each.stdout.split("saved in")[0].splitlines() for each in done]
    assert len(lines[0]) == len(lines[1]) == len(lines[2])
    names = [sorted(path.name for path in (folder / "run").iterdir()) for folder in folders]
    assert names[0] == names[1] == names[2]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_has_the_same_files_on_two_processes(tmp_path: Path) -> None:
    words = (*commands.SMALL, "data.rows=60", "shards=2", "compile=true", "draw=false", "hydra.run.dir=run")
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        done = commands.train(*words, f"devices={devices}", cwd=folder)
        assert done.returncode == 0, done.stderr
    assert outcome(tmp_path / "1/run") == outcome(tmp_path / "2/run")


@pytest.mark.slow
def test_a_divided_optimizer_is_saved_and_resumed_as_a_whole(tmp_path: Path) -> None:
    whole, divided = tmp_path / "whole", tmp_path / "divided"
    words = (*RUN, "max_steps=60", "val_every=1", "ema=0.9", "scheduler=onecycle")
    for folder in (whole, divided):
        folder.mkdir()
    assert commands.train(*words, "shards=2", cwd=whole).returncode == 0
    words = (*words, "devices=2", "shard_optimizer=true", "save_every=0")
    process = commands.start(*words, cwd=divided)
    wait_for_checkpoint(process, divided)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=commands.TIMEOUT)
    assert process.returncode in (0, 130), error
    for devices in (1, 2):
        done = commands.train("resume", "run", f"devices={devices}", cwd=divided)
        assert done.returncode == 0, done.stderr
    assert outcome(divided / "run") == outcome(whole / "run")


@pytest.mark.slow
def test_torchrun_ends_when_there_is_nothing_to_train(tmp_path: Path) -> None:
    done = torchrun("list", "models", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("lstm_forecaster") <= 1
    refused = torchrun(*SHORT, "devices=4", cwd=tmp_path)
    assert refused.returncode != 0
    assert "devices: 4 given, but torchrun has started 2 processes; leave it out" in refused.stderr
    assert "/trainer/" not in refused.stderr  # no traceback but that of torchrun


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_process_that_is_lost_ends_the_run_and_is_named(number: signal.Signals, tmp_path: Path) -> None:
    process_timeout = 5 if number == signal.SIGSTOP else 600  # a slow machine may need seconds between two exchanges
    process = commands.start(*LONG, "devices=2", f"process_timeout={process_timeout}", cwd=tmp_path)
    wait_for_checkpoint(process, tmp_path)
    (worker,) = list_workers(process)
    os.kill(worker, number)
    _, error = process.communicate(timeout=commands.TIMEOUT)
    assert process.returncode == 4
    cause = "was killed by signal 9" if number == signal.SIGKILL else "has not responded within process_timeout"
    assert f"process 1 {cause}" in error
    assert "resume with: train resume run" in error
    assert "Traceback" not in error
    sweeps.wait_for_ends([worker])
    step = checkpoint.load_newest(tmp_path / "run")["position"]["step"]
    resumed = commands.start("resume", "run", "devices=1", cwd=tmp_path)
    wait_for_steps(resumed, tmp_path, step)
    resumed.kill()
    resumed.communicate()


@pytest.mark.slow
def test_a_process_ends_whose_process_0_was_killed_while_it_started(tmp_path: Path) -> None:
    variables = {"RANK": "1", "WORLD_SIZE": "2", STORE_VARIABLE: str(tmp_path / "store"), TIMEOUT_VARIABLE: "1000"}
    worker = subprocess.run(
        [sys.executable, "-m", "trainer"],
        env=commands.environment(**variables, **{PARENT_VARIABLE: str(2**22)}),  # above all process ids
        timeout=commands.TIMEOUT,
        check=False,
    )
    assert worker.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_signal_stops_all_processes_at_one_step(tmp_path: Path) -> None:
    process = commands.start(*LONG, "devices=2", cwd=tmp_path)
    wait_for_checkpoint(process, tmp_path)
    (worker,) = list_workers(process)
    os.kill(worker, signal.SIGTERM)  # process 0 learns of it
    _, error = process.communicate(timeout=commands.TIMEOUT)
    assert process.returncode == 128 + signal.SIGTERM, error
    assert "stopped by SIGTERM; resume with: train resume run" in error
    assert run_dir.read_results(tmp_path / "run")["status"] == "interrupted"


PLUGIN = """
import os
from trainer import Callback

class Fails(Callback):
    def on_step_end(self, trainer, metrics):
        if os.environ.get("RANK") == "1" and trainer.step == 3:
            raise RuntimeError("out of order")
"""


@pytest.mark.slow
def test_the_error_of_another_process_is_told_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(PLUGIN)
    words = (*SHORT, "devices=2", "save_every=0", "plugins=[own]", "+callbacks.fails._target_=own.Fails")
    done = commands.train(*words, cwd=tmp_path)
    assert done.returncode == 4
    assert "process 1 has failed" in done.stderr
    assert "out of order" in done.stderr
    assert run_dir.read_results(tmp_path / "run")["status"] == "failed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("devices=3", "shards=4"), "devices must be one of 1, 2, 4"),
        (("devices=0",), "devices: 0 given"),
        (("devices=two",), "devices: 'two' given"),
        (("devices=2", "device=cuda:1"), "device: cuda:1 cannot be used by 2 processes"),
        (("devices=2", "shards=4", "exact=false"), "one part; shards=4 needs devices=4, 2 given"),
        (("device=2",), "device: 2 given"),
    ],
    ids=str,
)
def test_numbers_of_processes_and_shards_are_checked(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer.compose([*SHORT, *words])


def test_a_program_that_torchrun_starts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = trainer.compose(SHORT)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert trainer.compose(SHORT).config_hash == config.config_hash  # nested runs do not depend on the launcher
    with pytest.raises(ConfigError, match="torchrun starts the command alone"):
        trainer.run(config)


def test_a_program_with_a_process_group_of_its_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = trainer.compose([*SHORT, "devices=2"])
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(ConfigError, match="devices: this program has joined a process group"):
            trainer.run(config)
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_other_processes_use_the_feature_network_of_the_first_one(tmp_path: Path) -> None:
    words = (
        *("model=vae", "data=digits", "data.size=8", "model.hidden=[8]", "task.classifier=auto", "task.samples=50"),
        *("max_steps=5", "val_every=1", "draw=false", "threads=1", "hydra.run.dir=run", "optimizer.lr=1e-3"),
    )
    done = commands.train(*words, "devices=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run_dir.read_results(tmp_path / "run")["test"].keys() >= {"frechet", "elbo"}, done.stdout


def test_only_shards_are_part_of_the_identity_of_a_run() -> None:
    one, two, shards, four = (
        trainer.compose([*SHORT, *words]) for words in ((), ("devices=2",), ("shards=2",), ("shards=4", "devices=2"))
    )
    assert two.config_hash == shards.config_hash
    assert len({one.config_hash, two.config_hash, four.config_hash}) == 3
    assert one.config_hash == trainer.compose([*SHORT, "shards=1", "devices=1"]).config_hash
    assert two.settings.shards == 2


TWICE = """
import trainer

words = ["model=mlp", "data=moons", "data.rows=300", "max_steps=4", "threads=1", "draw=false", "devices=2"]
try:
    trainer.run(trainer.compose([*words, "optimizer=sgd", "optimizer.lr=1e30"]), quiet=True)
except Exception as error:
    print(type(error).__name__)
print(trainer.run(trainer.compose(words), quiet=True).status)
"""


@pytest.mark.slow
def test_a_program_trains_again_after_a_run_has_failed(tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text(TWICE)
    env = commands.environment()
    done = subprocess.run(
        [sys.executable, "twice.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["NonFiniteError", "finished"], done.stderr
