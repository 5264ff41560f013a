"""``hydra/launcher=joblib``: jobs as calls of joblib, in processes of this machine or of another registered backend."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from trainer.config.launcher_options import OPTION_PREFIX, JoblibOptions
from trainer.runs.launchers.capacity import Capacity
from trainer.runs.launchers.run_job import JobRunner
from trainer.utils.errors import ConfigError


class JoblibBatch:
    """Calls that run in a thread of this process; the submission of each of them.

    Args:
        n_jobs: Calls at a time.
        backend: Backend of joblib.
        runners: The calls.
    """

    def __init__(self, n_jobs: int, backend: str, runners: Sequence[JobRunner]):
        self._n_jobs, self._backend, self._runners = n_jobs, backend, runners
        self._error = ""
        # A daemon: it must not keep the command from ending.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        import joblib

        try:
            parallel = joblib.Parallel(self._n_jobs, backend=self._backend, batch_size=1, pre_dispatch="all")
            parallel(joblib.delayed(runner)() for runner in self._runners)
        except Exception as error:  # such as a worker that was killed; each job without a record reports it
            self._error = f"{type(error).__name__}: {error}"

    def has_ended(self) -> bool:
        """Return whether all calls have ended."""
        return not self._thread.is_alive()

    def describe_end(self) -> str:
        """Return the error that ended the calls."""
        return f"joblib ended without it: {self._error}" if self._error else "its process ended without a record"

    def cancel(self) -> None:
        """Do nothing: a call that begins after the sweep was stopped returns at once."""


class JoblibBackend:
    """Backend of joblib.

    Args:
        options: Options of the command line.
        jobs_at_a_time: Number of jobs at a time without ``n_jobs``.

    Raises:
        ConfigError: joblib has no such backend.
    """

    poll_seconds = 0.3
    shares_devices = True
    outlives_command = False

    def __init__(self, options: JoblibOptions, jobs_at_a_time: int):
        import joblib

        self._n_jobs, self._backend = options.n_jobs or jobs_at_a_time, options.backend
        self.description = f"{self._n_jobs} at a time, by joblib"
        try:
            with joblib.parallel_config(backend=options.backend):
                pass
        except (ValueError, ImportError) as error:
            raise ConfigError(f"{OPTION_PREFIX}backend: {' '.join(str(error).split())}") from error

    def limit_jobs(self, capacity: Capacity) -> None:
        """Return None: joblib has a queue."""

    def submit(self, runners: Sequence[JobRunner]) -> list[JoblibBatch]:
        batch = JoblibBatch(self._n_jobs, self._backend, runners)
        return [batch] * len(runners)

    def close(self) -> None:
        """Do nothing: the processes end when they are idle."""
