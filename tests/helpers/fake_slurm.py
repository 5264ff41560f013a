"""Commands of Slurm for tests: a queue of one machine, whose jobs run as its real ones do.

``install`` writes the commands into a folder for ``PATH``; each of them runs this file with its name. The state is in
the folder ``$FAKE_SLURM``: a script and a file per task with its state, and a line per call in ``calls``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scontrol", "scancel")


def install(folder: Path) -> dict[str, str]:
    """Write the commands, and return the environment for them."""
    commands, state = folder / "slurm-bin", folder / "slurm-state"
    commands.mkdir()
    state.mkdir()
    for name in COMMANDS:
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        (commands / name).chmod(0o755)
    return {"PATH": f"{commands}:{os.environ['PATH']}", "FAKE_SLURM": str(state)}


def read_calls(folder: Path) -> list[list[str]]:
    """Return the words of each call."""
    return [json.loads(line) for line in (folder / "slurm-state" / "calls").read_text().splitlines()]


def read_script(folder: Path) -> str:
    """Return the only script that was submitted."""
    (script,) = (folder / "slurm-state").glob("*.sh")
    return script.read_text()


def state_folder() -> Path:
    return Path(os.environ["FAKE_SLURM"])


def sbatch(arguments: list[str]) -> None:
    """Submit a script, and run its tasks in a process that outlives this one."""
    text = Path(arguments[-1]).read_text()
    if "--partition=nope" in text:
        sys.exit("sbatch: error: invalid partition specified: nope")
    job = str(100 + len(list(state_folder().glob("*.sh"))))
    (state_folder() / f"{job}.sh").write_text(text)
    array = re.search(r"^#SBATCH --array=0-(\d+)%(\d+)$", text, re.MULTILINE)
    tasks = [f"{job}_{number}" for number in range(int(array[1]) + 1)] if array else [job]
    for task in tasks:
        write_state(task, "PENDING")
    command = [sys.executable, __file__, "run-tasks", job, array[2] if array else "1", *tasks]
    with open(state_folder() / "log", "a") as log:
        subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    print(f"Submitted batch job {job}")


def run_tasks(job: str, limit: str, *tasks: str) -> None:
    """Run the tasks of an array, at most ``limit`` at a time; one that is requeued runs again."""
    waiting, running = list(tasks), dict[str, subprocess.Popen[bytes]]()
    while waiting or running:
        waiting = [task for task in waiting if read_state(task) != "CANCELLED"]
        while waiting and len(running) < int(limit):
            task = waiting.pop(0)
            running[task] = start_task(job, task)
            write_state(task, "RUNNING")
        for task, process in list(running.items()):
            if (code := process.poll()) is None:
                continue
            del running[task]
            if read_state(task) == "REQUEUED":
                waiting.append(task)
            elif read_state(task) != "CANCELLED":
                write_state(task, "FAILED" if code else "COMPLETED")
        time.sleep(0.05)


def start_task(job: str, task: str) -> subprocess.Popen[bytes]:
    variables = {"SLURM_JOB_ID": job, "SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
    if "_" in task:
        variables |= {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": task.partition("_")[2]}
    # A session for each task, whose processes Slurm signals together.
    process = subprocess.Popen(
        ["bash", state_folder() / f"{job}.sh"], env=os.environ | variables, start_new_session=True
    )
    (state_folder() / f"{task}.pid").write_text(str(process.pid))
    return process


def srun(arguments: list[str]) -> None:
    """Run a command with its output in the files of the options."""
    streams: dict[str, str] = {}
    while arguments[0].startswith("-"):
        option = arguments.pop(0)
        if option in ("--output", "--error"):
            streams[option] = arguments.pop(0)
    job, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID", "") for name in ("JOB", "TASK"))
    patterns = {"%A": job, "%a": task, "%j": os.environ["SLURM_JOB_ID"], "%t": "0"}
    for descriptor, option in ((1, "--output"), (2, "--error")):
        if option in streams:
            path = re.sub("%[Aajt]", lambda match: patterns[match[0]], streams[option])
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.execvp(arguments[0], arguments)


def sacct(arguments: list[str]) -> None:
    jobs = {arguments[place + 1] for place, word in enumerate(arguments) if word == "-j"}
    print("JobID|State|NodeList")
    for path in sorted(state_folder().glob("*.state")):
        if path.stem.partition("_")[0] in jobs:
            print(f"{path.stem}|{path.read_text()}|here")


def scontrol(arguments: list[str]) -> None:
    action, task = arguments
    assert action == "requeue"
    write_state(task, "REQUEUED")


def scancel(arguments: list[str]) -> None:
    (task,) = arguments
    is_running = read_state(task) == "RUNNING"
    write_state(task, "CANCELLED")
    if is_running:
        signal_task(task, signal.SIGTERM)


def signal_task(task: str, number: signal.Signals, folder: Path | None = None) -> None:
    """Send a signal to all processes of a task but its shell, as Slurm does before a time limit."""
    shell = int(((folder or state_folder()) / f"{task}.pid").read_text())
    for pid in find_children(shell):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def find_children(pid: int) -> list[int]:
    """Return the processes below one; any of them may end meanwhile."""
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += map(int, path.read_text().split())
    return [*children, *(other for child in children for other in find_children(child))]


def read_state(task: str) -> str:
    path = state_folder() / f"{task}.state"
    return path.read_text() if path.exists() else "UNKNOWN"


def write_state(task: str, state: str) -> None:
    temporary = state_folder() / f".{task}.{os.getpid()}"
    temporary.write_text(state)
    temporary.replace(state_folder() / f"{task}.state")


def main(name: str, *arguments: str) -> None:
    if name == "run-tasks":
        return run_tasks(*arguments)
    with open(state_folder() / "calls", "a") as file:
        file.write(json.dumps([name, *arguments]) + "\n")
    {"sbatch": sbatch, "srun": srun, "sacct": sacct, "scontrol": scontrol, "scancel": scancel}[name](list(arguments))
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
