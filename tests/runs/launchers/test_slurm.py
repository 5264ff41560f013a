"""``hydra/launcher=submitit_slurm``, with commands in PATH that behave as those of Slurm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.helpers import fake_slurm, sweeps
from tests.helpers.commands import SMALL, find_runs, start, train
from tests.helpers.digest import digest
from tests.helpers.held_runs import HOLD, STEP, HeldRun
from trainer.engine import checkpoint
from trainer.runs import run_dir

pytest.importorskip("submitit")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux"),
]

SLURM = ("-m", "hydra/launcher=submitit_slurm", "resume=auto", "hydra.sweep.dir=outputs/sweep", "threads=1")
RUN = (*SMALL[:3], "epochs=9", "save_every=1000", "draw=false", "ema=0.9", "scheduler=cosine", *HOLD)


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    return fake_slurm.install(tmp_path)


def run_states(path: Path) -> list[str]:
    return [digest(checkpoint.load_checkpoint(path / name)) for name in (checkpoint.LAST, checkpoint.BEST)]


def test_a_sweep_is_an_array_with_the_options_of_the_command_line(slurm: dict[str, str], tmp_path: Path) -> None:
    options = ("partition=gpu", "timeout_min=30", "gpus_per_node=2", "mem_gb=0.5", "cpus_per_task=3", "account=lab")
    lists = ("setup=[touch prepared]", "additional_parameters={mail-type: END}")
    words = [f"hydra.launcher.{text}" for text in (*options, *lists, "signal_delay_s=77")]
    done = train(*SLURM, *words, *SMALL, "seed=0,1,2", "jobs=2", cwd=tmp_path, env=slurm)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 jobs, as jobs of Slurm, in outputs/sweep" in done.stdout
    lines = fake_slurm.read_script(tmp_path).splitlines()
    assert lines[0] == "#!/bin/bash"
    parameters = dict(line.removeprefix("#SBATCH --").split("=", 1) for line in lines if line.startswith("#SBATCH"))
    logs = tmp_path / "outputs/sweep/.jobs/.submitit"
    expected = {
        **{"partition": "gpu", "time": "30", "gpus-per-node": "2", "mem": "512MB", "cpus-per-task": "3"},
        **{"account": "lab", "mail-type": "END", "array": "0-2%2", "signal": "USR1@77", "job-name": "train"},
        **{"nodes": "1", "open-mode": "append", "wckey": "submitit"},
        **{"output": f"{logs}/%A_%a_0_log.out", "error": f"{logs}/%A_%a_0_log.err"},
    }
    assert parameters == expected
    assert "export SUBMITIT_PREEMPT_SIGNAL=USR1" in lines
    assert (tmp_path / "prepared").exists()
    assert [words[0] for words in fake_slurm.read_calls(tmp_path)].count("sbatch") == 1
    assert sweeps.list_statuses(tmp_path) == ["finished"] * 3
    again = train(*SLURM, *words, *SMALL, "seed=0,1,2", "jobs=2", cwd=tmp_path, env=slurm)
    assert again.returncode == 0, again.stderr
    assert [words[0] for words in fake_slurm.read_calls(tmp_path)].count("sbatch") == 1, (
        "finished jobs are not submitted"
    )


def test_a_job_of_several_processes_asks_for_a_core_each_and_auto_is_refused(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    command = (*SLURM, *SMALL, "draw=false")
    refused = train(*command, "devices=auto", cwd=tmp_path, env=slurm)
    assert refused.returncode == 2
    assert "give devices=N, or both shards=N and hydra.launcher.gpus_per_node=N" in refused.stderr
    assert not (tmp_path / "slurm-state" / "calls").exists()
    done = train(*command, "devices=2", "device=cpu", cwd=tmp_path, env=slurm)
    assert done.returncode == 0, done.stderr
    assert "#SBATCH --cpus-per-task=2" in fake_slurm.read_script(tmp_path).splitlines()
    assert "2 processes, 1 thread each" in (tmp_path / "outputs/sweep/0-.out").read_text()


@pytest.mark.parametrize(
    ("number", "at_start"),
    [(signal.SIGUSR1, False), (signal.SIGUSR1, True), (signal.SIGTERM, False)],
    ids=["time limit", "time limit during the imports", "preemption"],
)
def test_a_stopped_job_is_requeued_and_goes_on_to_the_same_bits(
    number: signal.Signals, at_start: bool, slurm: dict[str, str], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    HeldRun(elsewhere, seed=3, is_requested=False)
    held = HeldRun(tmp_path, seed=3, is_requested=not at_start)
    unbroken = train("-m", *RUN, "threads=1", "seed=3", "hydra.sweep.dir=outputs/sweep", cwd=elsewhere)
    assert unbroken.returncode == 0, unbroken.stderr
    process = start(*SLURM, *RUN, "seed=3", cwd=tmp_path, env=slurm)
    root = tmp_path / "outputs/sweep"
    attempt = root / ".jobs/0-/.attempt-0.json"

    def has_process() -> bool:
        """The first record of an attempt has one process, the second one that of the job, too."""
        return attempt.exists() and len(json.loads(attempt.read_text())["processes"]) == 2

    sweeps.wait_until(has_process if at_start else held.is_held, process)
    if number == signal.SIGTERM:  # Slurm requeues what it preempts itself
        (tmp_path / "requeued").write_text("REQUEUED")
        (tmp_path / "requeued").replace(tmp_path / "slurm-state" / "100.state")
    fake_slurm.signal_task("100", number, tmp_path / "slurm-state")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stdout + stderr
    assert (["scontrol", "requeue", "100"] in fake_slurm.read_calls(tmp_path)) == (number == signal.SIGUSR1)
    assert sweeps.list_attempts(root) == {"0-": 2}
    if not at_start:
        assert f"from step {STEP}" in (root / "0-.out").read_text()
    assert run_states(root / "0-") == run_states(elsewhere / "outputs/sweep/0-")


def test_jobs_outlive_a_killed_command_and_the_next_one_waits_for_them(slurm: dict[str, str], tmp_path: Path) -> None:
    command = (*SLURM, *RUN, "seed=0,1", "hydra.launcher.array_parallelism=2")
    jobs = [HeldRun(tmp_path, seed) for seed in (0, 1)]
    process = start(*command, cwd=tmp_path, env=slurm)
    sweeps.wait_until(lambda: all(job.is_held() for job in jobs), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    for job in jobs:
        job.release()
    done = train(*command, cwd=tmp_path, env=slurm)
    assert done.returncode == 0, done.stderr
    assert sweeps.list_statuses(tmp_path) == ["finished"] * 2
    assert sweeps.list_attempts(tmp_path) == {"0-seed=0": 1, "1-seed=1": 1}


def test_a_stopped_sweep_saves_what_runs_and_cancels_what_waits(slurm: dict[str, str], tmp_path: Path) -> None:
    process = start(
        *SLURM, *SMALL[:3], "epochs=100000", "seed=0,1,2", "hydra.launcher.array_parallelism=1", cwd=tmp_path, env=slurm
    )
    sweeps.wait_until((tmp_path / "outputs/sweep/0-seed=0/metrics.csv").exists, process)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stdout + stderr
    cancelled = [words[1:] for words in fake_slurm.read_calls(tmp_path) if words[0] == "scancel"]
    assert cancelled == [["100_1"], ["100_2"]]
    (run,) = find_runs(tmp_path)
    assert run_dir.read_results(run)["status"] == "interrupted"
    assert (run / "last.pt").exists()


def test_a_job_that_someone_cancels_is_interrupted(slurm: dict[str, str], tmp_path: Path) -> None:
    process = start(*SLURM, *SMALL[:3], "epochs=100000", "seed=0,1", cwd=tmp_path, env=slurm)
    sweeps.wait_until((tmp_path / "outputs/sweep/0-seed=0/metrics.csv").exists, process)
    subprocess.run([slurm["PATH"].partition(":")[0] + "/scancel", "100_0"], env=os.environ | slurm, check=True)
    sweeps.wait_until((tmp_path / "outputs/sweep/1-seed=1/metrics.csv").exists, process)
    subprocess.run([slurm["PATH"].partition(":")[0] + "/scancel", "100_1"], env=os.environ | slurm, check=True)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stdout + stderr
    assert stderr.count("interrupted: ") == 2
    assert "not continued: Slurm job 100_0 ended as CANCELLED" in stderr
    assert [run_dir.read_results(run)["status"] for run in find_runs(tmp_path)] == ["interrupted"] * 2


def test_what_sbatch_refuses_is_told(slurm: dict[str, str], tmp_path: Path) -> None:
    done = train(*SLURM, *SMALL, "seed=0,1", "hydra.launcher.partition=nope", cwd=tmp_path, env=slurm)
    assert done.returncode == 4
    assert "invalid partition specified: nope" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_machine_without_slurm_is_told(tmp_path: Path) -> None:
    done = train(*SLURM, *SMALL, "seed=0,1", cwd=tmp_path, env={"PATH": "/nowhere"})
    assert done.returncode == 4
    assert "there is no sbatch and no srun in PATH" in done.stderr
    assert not (tmp_path / "outputs").exists()
