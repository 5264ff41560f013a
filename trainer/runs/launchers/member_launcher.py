"""Launcher of ``members``: jobs that differ only in numbers are trained together, a share of each group per process.

Whether they are is decided by the process of a share, after it has loaded the data and before it creates anything. If
not, or for other jobs, each job is a fork of its own as without this launcher.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from trainer.engine.member_probe import Verdict
from trainer.runs import member_groups, run_dir
from trainer.runs.job_attempt import OwnAttempt
from trainer.runs.launchers.capacity import Capacity
from trainer.runs.launchers.fork_launcher import ForkLauncher, fork_process
from trainer.runs.launchers.launcher import JobEnd, JobHandle
from trainer.runs.launchers.member_process import TOGETHER, run_share
from trainer.runs.run_command import format_command
from trainer.runs.sweep_job import Job
from trainer.utils.text import format_count, join_names
from trainer.viz.console import print_line


class Share:
    """Jobs that one process trains together.

    Args:
        jobs: The jobs.
        group: Number of their group.
    """

    def __init__(self, jobs: Sequence[Job], group: int):
        self.jobs, self.group = list(jobs), group
        self.codes: dict[Path, int] = {}
        self.verdict: Verdict | None = None
        self.has_ended = False
        self._text = b""
        self._reader = self.pid = -1

    def start(self, jobs: Sequence[Job], *, is_timed: bool) -> int:
        """Start the process, and return its process id.

        Args:
            jobs: Those of the jobs that are run.
            is_timed: Whether training them together must be faster, or only possible.
        """
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.pid = fork_process(lambda: run_share(jobs, writer, is_timed=is_timed))
        os.close(writer)
        return self.pid

    def update(self) -> None:
        """Read what the process has reported, and notice its end."""
        if self.has_ended:
            return
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        with suppress(BlockingIOError):
            while chunk := os.read(self._reader, 65536):
                self._text += chunk
        *lines, self._text = self._text.split(b"\n")
        for key, value in map(json.loads, lines):
            if key == TOGETHER:
                self.verdict = Verdict(*value)
            else:
                self.codes[Path(key)] = value
        if pid:
            self.has_ended = True
            os.close(self._reader)
            code = os.waitstatus_to_exitcode(status)
            self.codes = {job.path: code or 1 for job in self.jobs} | self.codes

    def send(self, number: int) -> None:
        """Send a signal to the process, unless it has ended."""
        if not self.has_ended:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class MemberJob:
    """A job that is trained together with others, or turns out to be none.

    Args:
        job: The job.
        share: The jobs of its process.
        attempt: The attempt to run it.
    """

    def __init__(self, job: Job, share: Share, attempt: OwnAttempt):
        self.job, self.attempt = job, attempt
        self._share, self._is_lost = share, False

    @property
    def has_ended(self) -> bool:
        """Whether its process has ended, which may be after its last job has."""
        self._share.update()
        return self._share.has_ended

    def poll(self) -> JobEnd | None:
        self._share.update()
        if self._share.verdict is not None and not self._share.verdict.is_joint:
            return JobEnd(0, is_abandoned=True)
        if self.job.path in self._share.codes:
            code = self._share.codes[self.job.path]
            self.attempt.finish(code)
            return JobEnd(code, is_abandoned=self._is_lost)
        if not self.attempt.update() and not self._is_lost:
            self._is_lost = True
            self._share.send(signal.SIGKILL)
        return None

    def stop(self, number: int) -> None:
        # Signals within a second count as one, and each of its jobs sends it.
        self._share.send(signal.SIGTERM if number == signal.SIGINT else number)


class MemberLauncher(ForkLauncher):
    """Launcher that trains the jobs of each group together, if that is faster.

    Args:
        jobs: All jobs of the sweep.
        scheduler: Name of this command.
        capacity: Room for jobs on this machine.
        members: Most jobs that are trained together, without a measurement; ``auto`` for a measurement and no limit.
    """

    poll_seconds = 0.3  # all jobs are running at once, and each check reads the output of all

    def __init__(self, jobs: Sequence[Job], scheduler: str, capacity: Capacity, members: int | Literal["auto"]):
        super().__init__(jobs, scheduler, capacity)
        self._is_timed = members == "auto"
        self._shares = make_shares(jobs, capacity, None if members == "auto" else members)
        self._obstacle = None if self._shares else describe_obstacle(jobs)
        self._undecided: list[Share] = []
        self._announced: set[int] = set()
        self._has_announced_figures = False
        self._attempts: dict[Path, OwnAttempt] = {}

    def start_jobs(self, waiting: Sequence[Job]) -> list[tuple[Job, JobHandle]]:
        self._announce()
        started: list[tuple[Job, JobHandle]] = []
        rest = list(waiting)
        self._running = [handle for handle in self._running if not handle.has_ended]
        while self._shares and (job := self._capacity.find_next_job([self._shares[0].jobs[0]], self._list_running())):
            assert job is self._shares[0].jobs[0]
            started += self._start_share(self._shares.pop(0))
        in_shares = {id(job) for share in self._shares for job in share.jobs} | {id(job) for job, _ in started}
        return started + super().start_jobs([job for job in rest if id(job) not in in_shares])

    def begin_attempt(self, job: Job) -> OwnAttempt | JobHandle:
        return self._attempts.pop(job.path, None) or super().begin_attempt(job)

    def _list_running(self) -> list[Job]:
        return [handle.job for handle in self._running]

    def _start_share(self, share: Share) -> list[tuple[Job, JobHandle]]:
        attempts = {job.path: self.begin_attempt(job) for job in share.jobs}
        started: list[tuple[Job, JobHandle]] = []
        members: list[MemberJob] = []
        for job in share.jobs:
            attempt = attempts[job.path]
            if isinstance(attempt, OwnAttempt):
                self._attempts[job.path] = attempt
                members.append(MemberJob(job, share, attempt))
                started.append((job, members[-1]))
            else:
                started.append((job, attempt))
        if members:
            pid = share.start([member.job for member in members], is_timed=self._is_timed)
            for member in members:
                member.attempt.add_process(pid)
            self._running.append(members[0])
            self._undecided.append(share)
        return started

    def _announce(self) -> None:
        """Print once for each group whether its jobs are trained together, and why; or why there is no group."""
        if self._obstacle is not None:
            print_line(f"members: one process per job: {self._obstacle}")
            self._obstacle = None
        for share in [*self._undecided]:
            share.update()
            if share.verdict is None and not share.has_ended:
                continue
            self._undecided.remove(share)
            if share.verdict is None or share.verdict.is_joint:
                for job in share.jobs:  # a job that is trained alone begins no other attempt
                    self._attempts.pop(job.path, None)
            if share.verdict is not None and share.group not in self._announced:
                self._announced.add(share.group)
                print_line(describe_verdict(share))
                if share.verdict.is_joint and not self._has_announced_figures:
                    self._has_announced_figures = True
                    print_line(f"members: no figures are drawn; {_describe_resume(share)} draws those of a run")


def make_shares(jobs: Sequence[Job], capacity: Capacity, limit: int | None) -> list[Share]:
    """Divide the jobs of each group among as many processes as there is room for.

    Args:
        jobs: All jobs of the sweep; those that have finished before are left out.
        capacity: Room for jobs on this machine.
        limit: Most jobs of a process; None for no limit.
    """
    pending = _list_pending(jobs)
    configs = [job.config for job in pending if job.config is not None]
    shares = []
    for number, indices in enumerate(member_groups.group_configs(configs)):
        num_processes = capacity.count_parallel_jobs([configs[index].settings for index in indices])
        size = max(2, -(-len(indices) // num_processes))
        size = size if limit is None else min(size, limit)
        parts = [indices[start : start + size] for start in range(0, len(indices), size)]
        shares += [Share([pending[index] for index in part], number) for part in parts if len(part) > 1]
    return shares


def _list_pending(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if job.config and run_dir.read_results(job.path).get("status") != "finished"]


def describe_obstacle(jobs: Sequence[Job]) -> str | None:
    """Return why no jobs of a sweep can be trained together; None if fewer than two are left.

    Args:
        jobs: All jobs of the sweep, of which no two are of a group.
    """
    configs = [job.config for job in _list_pending(jobs) if job.config is not None]
    obstacles = {member_groups.find_obstacle(config) for config in configs}
    if len(configs) < 2:
        return None
    if None in obstacles:
        return "no two of them differ only in numbers that leave the model, the data and the batches as they are"
    return join_names(sorted(filter(None, obstacles)))


def _describe_resume(share: Share) -> str:
    """Return the command that resumes a job of a group."""
    (first, *_) = (job.config for job in share.jobs if job.config is not None)
    return format_command("resume", Path("RUN"), first.settings.plugins)


def describe_verdict(share: Share) -> str:
    """Return a line about whether the jobs of a group are trained together."""
    assert share.verdict is not None
    reason = f": {share.verdict.reason}" if share.verdict.reason else ""
    if share.verdict.is_joint:
        return f"members: {format_count(len(share.jobs), 'job')} of a process are trained as one model{reason}"
    return f"members: one process per job{reason}"
