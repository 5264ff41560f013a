"""Runs with sharded models from the command line: the ordinary files, resumed by one process and by several."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import trainer
from tests.helpers import commands
from tests.helpers.interruptions import read_table
from tests.helpers.process_runs import list_workers, torchrun, wait_for_checkpoint, wait_for_steps
from trainer.engine import checkpoint
from trainer.runs import run_dir
from trainer.utils.errors import ConfigError

RUN = (
    *("model=vit_tiny", "model.layers=2", "model.dropout=0.1", "data=gratings", "data.rows=60", "batch_size=8"),
    *("threads=1", "ema=0.9", "patience=50", "task.calibration=temperature", "hydra.run.dir=run"),
)
SHARDED = ("devices=2", "strategy=fsdp")
SHORT = (*RUN, "epochs=2", "save_every=0")
LONG = (*RUN, "max_steps=1000000", "save_every=0", "draw=false")


def read_losses(run: Path) -> list[float]:
    """Return the losses of training and validation of each epoch, and the best weights' score on the test rows."""
    rows = read_table(run / run_dir.METRICS_FILE)
    test = run_dir.read_results(run)["test"]
    return [float(row[key]) for row in rows for key in ("train_loss", "val_loss")] + [test["nll"]]


@pytest.mark.slow
def test_a_run_has_the_files_and_losses_of_one_process(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "torchrun")]
    for folder in folders:
        folder.mkdir()
    done = [
        commands.train(*SHORT, "shards=2", cwd=folders[0]),
        commands.train(*SHORT, *SHARDED, cwd=folders[1]),
        torchrun(*SHORT, "strategy=fsdp", cwd=folders[2]),
    ]
    assert [each.returncode for each in done] == [0, 0, 0], [each.stderr for each in done]
    losses = [read_losses(folder / "run") for folder in folders]
    assert losses[1] == losses[2] == pytest.approx(losses[0], abs=1e-5)
    names = [{path.name for path in (folder / "run").iterdir()} for folder in folders]
    assert names[0] == names[1] == names[2]
    shown = commands.train("evaluate", "run", cwd=folders[1])
    assert shown.returncode == 0, shown.stderr


@pytest.mark.slow
def test_an_interrupted_run_is_resumed_by_any_strategy(tmp_path: Path) -> None:
    process = commands.start(*LONG, *SHARDED, cwd=tmp_path)
    wait_for_checkpoint(process, tmp_path)
    (worker,) = list_workers(process)
    os.kill(worker, signal.SIGTERM)
    _, error = process.communicate(timeout=commands.TIMEOUT)
    assert process.returncode == 128 + signal.SIGTERM, error
    for words in (("devices=1",), ("strategy=data_parallel",), ()):
        before = checkpoint.load_newest(tmp_path / "run")["position"]["step"]
        resumed = commands.start("resume", "run", *words, cwd=tmp_path)
        wait_for_steps(resumed, tmp_path, before)
        resumed.send_signal(signal.SIGTERM)
        _, error = resumed.communicate(timeout=commands.TIMEOUT)
        assert resumed.returncode == 128 + signal.SIGTERM, error


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run(tmp_path: Path) -> None:
    process = commands.start(*LONG, *SHARDED, cwd=tmp_path)
    wait_for_checkpoint(process, tmp_path)
    (worker,) = list_workers(process)
    os.kill(worker, signal.SIGKILL)
    _, error = process.communicate(timeout=commands.TIMEOUT)
    assert process.returncode == 4, error
    assert "process 1 was killed by signal 9" in error
    assert "resume with: train resume run" in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_all_processes(tmp_path: Path) -> None:
    done = commands.train(*SHORT, *SHARDED, "optimizer=sgd", "optimizer.lr=1e30", cwd=tmp_path)
    assert done.returncode == 3
    assert "loss nan" in done.stderr
    assert "first non-finite gradient: model." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compile=true",), "compile: true cannot be combined with strategy=fsdp"),
        (("channels_last=true",), "channels_last: true cannot be combined with strategy=fsdp"),
        (("strategy=zero",), "strategy: 'zero' given; it must be one of data_parallel, fsdp"),
        (("model=cnn",), "strategy: model cnn has no repeated blocks; these have: diffusion_unet"),
        (("devices=1",), "strategy: fsdp shards a model over several processes; set devices=2 or more"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_be_combined_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trainer.compose(["model=vit_tiny", "data=gratings", *SHARDED, *words])
    assert message in str(caught.value)


def test_the_strategy_does_not_identify_a_run() -> None:
    words = ["model=vit_tiny", "data=gratings", "devices=2"]
    assert trainer.compose([*words, "strategy=fsdp"]).config_hash == trainer.compose(words).config_hash
