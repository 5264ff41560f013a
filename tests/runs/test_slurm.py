"""A run in a Slurm job: SIGUSR1 saves it and requeues the job, whose command line continues it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers import fake_slurm, sweeps
from tests.helpers.commands import SMALL, find_runs, start, train
from tests.helpers.digest import digest
from tests.helpers.held_runs import HOLD, STEP, HeldRun
from trainer.cli import main
from trainer.engine import checkpoint
from trainer.runs import run_dir, slurm
from trainer.utils.errors import Interrupted

RUN = (*SMALL[:3], "epochs=9", "save_every=1000", "draw=false", "threads=1", "ema=0.9", "scheduler=cosine", *HOLD)


def run_states(path: Path) -> list[str]:
    return [digest(checkpoint.load_checkpoint(path / name)) for name in (checkpoint.LAST, checkpoint.BEST)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "variables", "job"),
    [
        (("resume=auto",), {"SLURM_JOB_ID": "1"}, "1"),
        (("resume=auto",), {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}, "7_2"),
        (("resume=auto", "-m", "jobs=1", "hydra.sweep.dir=outputs/sweep"), {"SLURM_JOB_ID": "1"}, "1"),
    ],
    ids=["run", "task of an array", "sweep"],
)
def test_usr1_saves_and_requeues_and_the_same_command_line_continues(
    words: tuple[str, ...], variables: dict[str, str], job: str, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    HeldRun(whole, is_requested=False)
    held = HeldRun(tmp_path)
    assert train(*RUN, cwd=whole).returncode == 0
    env = fake_slurm.install(tmp_path) | variables
    process = start(*RUN, *words, cwd=tmp_path, env=env)
    sweeps.wait_until(held.is_held, process)
    process.send_signal(signal.SIGUSR1)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert f"Slurm job {job}: requeued" in stderr
    assert fake_slurm.read_calls(tmp_path) == [["scontrol", "requeue", job]]
    (run,) = find_runs(tmp_path / "outputs")
    assert run_dir.read_results(run)["steps"] == STEP
    done = train(*RUN, *words, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert find_runs(tmp_path / "outputs") == [run]
    assert run_states(run) == run_states(find_runs(whole)[0])
    assert len(fake_slurm.read_calls(tmp_path)) == 1


def stop(*, is_resumable: bool = True, is_early_warning: bool = True) -> None:
    with pytest.raises(Interrupted), slurm.requeue_on_warning(is_resumable=is_resumable):
        raise Interrupted("stopped", signal.SIGTERM, is_early_warning=is_early_warning)


def test_a_job_is_requeued_only_by_its_first_process_after_the_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in fake_slurm.install(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    stop()  # without Slurm
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    stop(is_early_warning=False)  # SIGTERM: Slurm ends the job, or requeues it itself
    monkeypatch.setenv("SLURM_PROCID", "1")
    stop()
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert capsys.readouterr().err == ""
    stop(is_resumable=False)
    assert "Slurm job 5: not requeued without resume=auto" in capsys.readouterr().err
    assert not (tmp_path / "slurm-state" / "calls").exists()
    stop()
    assert fake_slurm.read_calls(tmp_path) == [["scontrol", "requeue", "5"]]


@pytest.mark.parametrize(
    ("words", "is_resumable"),
    [
        (["resume='auto'"], True),
        (["resume=auto", "resume=null"], False),
        (["-m", 'resume="auto"'], True),
        (["-m"], False),
    ],
    ids=["quoted", "last", "sweep", "sweep without"],
)
def test_only_a_command_line_that_resumes_is_requeued(
    words: list[str], is_resumable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []

    @contextmanager
    def record(*, is_resumable: bool) -> Iterator[None]:
        found.append(is_resumable)
        yield

    monkeypatch.setattr(slurm, "requeue_on_warning", record)
    monkeypatch.setattr("trainer.runs.train.run", lambda *_: None)
    monkeypatch.setattr("trainer.runs.sweep.run_sweep", lambda *_: 0)
    assert main.compose_and_run([*SMALL, *words]) == 0
    assert found == [is_resumable]


def test_a_failure_of_slurm_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("PATH", str(tmp_path))
    stop()
    assert "Slurm job 5: cannot be requeued: " in capsys.readouterr().err
    script = tmp_path / "scontrol"
    script.write_text("#!/bin/sh\necho Requeue is disabled >&2; exit 1\n")
    script.chmod(0o755)
    stop()
    assert "cannot be requeued: Requeue is disabled" in capsys.readouterr().err
