"""Output to broken pipes, full disks, closed streams and encodings that lack characters."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.commands import SMALL, argv, environment, find_runs, start, train
from tests.helpers.sweeps import wait_until
from trainer.runs import run_dir
from trainer.utils import stdio
from trainer.utils.errors import SystemFault


def read_one_line(*arguments: str, cwd: Path) -> tuple[int, str]:
    """Return exit code and stderr of a command whose reader closes the pipe after one line."""
    process = start(*arguments, cwd=cwd)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    return process.wait(timeout=120), stderr


@pytest.mark.slow
def test_a_run_continues_after_a_broken_pipe(tmp_path: Path) -> None:
    assert read_one_line(*SMALL, "hydra.run.dir=outputs/run", cwd=tmp_path) == (0, "")
    assert run_dir.read_results(tmp_path / "outputs/run")["status"] == "finished"
    assert (tmp_path / "outputs/run/curves.png").exists()


@pytest.mark.slow
def test_a_sweep_continues_after_a_broken_pipe(tmp_path: Path) -> None:
    words = ("-m", *SMALL, "seed=0,1,2", "jobs=1", "hydra.sweep.dir=outputs/sweep")
    assert read_one_line(*words, cwd=tmp_path) == (0, "")
    statuses = [run_dir.read_results(path)["status"] for path in find_runs(tmp_path)]
    assert statuses == ["finished"] * 3
    assert (tmp_path / "outputs/sweep/leaderboard.csv").exists()


@pytest.mark.slow
def test_train_list_handles_a_broken_pipe(tmp_path: Path) -> None:
    assert read_one_line("list", cwd=tmp_path) == (0, "")


@pytest.mark.slow
def test_every_command_on_a_run_handles_a_broken_pipe(tmp_path: Path) -> None:
    """Standard error is closed too, as in ``2>&1 | head -1``."""
    (tmp_path / "t.txt").write_text("the cat sat on the mat\n" * 60)
    words = ("model=char_lstm", "data=text_file", "data.path=t.txt", "data.seq_len=8", "max_steps=3", "threads=1")
    for command in ((*words, "hydra.run.dir=outputs/run"), ("sample", "outputs/run"), ("report", "outputs")):
        reader, writer = os.pipe()
        os.close(reader)
        process = subprocess.run(
            argv(*command), cwd=tmp_path, env=environment(), stdout=writer, stderr=writer, timeout=120, check=False
        )
        os.close(writer)
        assert process.returncode == 0, command
    assert run_dir.read_results(tmp_path / "outputs/run")["status"] == "finished"


@pytest.mark.slow
def test_sighup_saves_the_run(tmp_path: Path) -> None:
    """The terminal is closed before the run ends."""
    controller, terminal = pty.openpty()
    words = ("model=mlp", "data=moons", "epochs=100000", "threads=1", "hydra.run.dir=outputs/run")
    with subprocess.Popen(
        argv(*words),
        cwd=tmp_path,
        env=environment(),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as process:
        try:
            os.close(terminal)
            wait_until((tmp_path / "outputs/run/metrics.csv").exists, process)
            os.close(controller)
            process.send_signal(signal.SIGHUP)
            assert process.wait(timeout=60) == 129
        finally:
            process.kill()
    results = run_dir.read_results(tmp_path / "outputs/run")
    assert (results["status"], results["reason"]) == ("interrupted", "Interrupted: stopped by SIGHUP")
    assert results["steps"] > 0
    assert (tmp_path / "outputs/run/last.pt").exists()


@pytest.mark.slow
def test_characters_that_the_encoding_lacks_are_escaped(tmp_path: Path) -> None:
    words = ("-m", *SMALL, "seed=0,1", "hydra.sweep.dir=outputs/sweep")
    process = train(*words, cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert (process.returncode, process.stderr) == (0, "")
    assert "+/- " in process.stdout
    refused = train("model=é", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    assert "\\xe9" in refused.stderr


@pytest.mark.slow
def test_output_lost_to_a_full_disk_is_reported_at_the_end(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            argv(*SMALL, "hydra.run.dir=outputs/run"),
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (process.returncode, process.stderr) == (4, "error: cannot print: No space left on device\n")
    assert run_dir.read_results(tmp_path / "outputs/run")["status"] == "finished"


@pytest.mark.slow
def test_run_finishes_with_closed_standard_streams(tmp_path: Path) -> None:
    command = f"{argv()[0]} {' '.join(SMALL)} hydra.run.dir=outputs/run >&- 2>&-"
    process = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment(), check=False)
    assert process.returncode == 0
    assert run_dir.read_results(tmp_path / "outputs/run")["status"] == "finished"


@pytest.mark.slow
def test_deleted_working_folder_is_reported(tmp_path: Path) -> None:
    command = f"mkdir -p gone; cd gone; rmdir ../gone; {argv()[0]}"
    for words in (" ".join(SMALL), "-m model=mlp data=moons seed=0,1", "list", "report", "resume outputs/x"):
        process = subprocess.run(
            ["sh", "-c", f"{command} {words}"],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (process.returncode, "the working directory no longer exists" in process.stderr) == (4, True), (
            process.stderr
        )
        assert "Traceback" not in process.stderr


def test_stream_discards_output_after_a_failed_write() -> None:
    reader, writer = os.pipe()
    stream = stdio.FaultTolerantStream(writer, "w")
    assert stream.write(b"read") == 4
    assert os.read(reader, 10) == b"read"
    os.close(reader)
    assert stream.error is None
    assert [stream.write(b"unread"), stream.write(b"more")] == [6, 4]
    assert isinstance(stream.error, BrokenPipeError)
    stdio.raise_write_errors([stream])
    stream.close()


def test_stream_waits_while_the_pipe_is_full() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    text = b"x" * 1_000_000  # more than a pipe holds
    child = os.fork()
    if not child:
        os.close(writer)
        time.sleep(0.2)
        received = b""
        while more := os.read(reader, 1 << 16):
            received += more
        os._exit(received != text)
    os.close(reader)
    stream = stdio.FaultTolerantStream(writer, "w")
    buffered = io.BufferedWriter(stream)
    buffered.write(text)
    buffered.flush()
    assert stream.error is None
    stream.close()
    assert os.waitpid(child, 0)[1] == 0


def test_stream_stops_waiting_when_the_reader_closes() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stream = stdio.FaultTolerantStream(writer, "w")
    child = os.fork()
    if not child:
        os.close(writer)
        time.sleep(0.2)
        os._exit(0)
    os.close(reader)
    for _ in range(100):
        assert stream.write(b"x" * 10_000) > 0
    assert isinstance(stream.error, BrokenPipeError)
    stream.close()
    os.waitpid(child, 0)


def test_too_little_disk_space_is_a_system_fault() -> None:
    stream = stdio.FaultTolerantStream(os.open("/dev/full", os.O_WRONLY), "w")
    stream.write(b"text")
    with pytest.raises(SystemFault, match="cannot print: No space left on device"):
        stdio.raise_write_errors([stream])
    stream.close()


def test_replaced_standard_streams_are_not_protected() -> None:
    assert stdio.protect_std_streams() == []
