"""``hydra/launcher=ray``: jobs as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.config.launcher_options import OPTION_PREFIX, RayOptions
from trainer.runs.launchers.capacity import Capacity
from trainer.runs.launchers.run_job import JobRunner
from trainer.utils.errors import SystemFault

CONNECT_SECONDS = 10.0
"""Seconds for a cluster to answer."""
LOCAL_OPTIONS: Mapping[str, Any] = {
    "_node_ip_address": "127.0.0.1",
    "include_dashboard": False,
    "object_store_memory": 80 * 2**20,
}
"""A cluster of this machine alone: not reachable from others, and with Ray's least memory, as files carry all state."""


class RayTask:
    """Submission of a task.

    Args:
        reference: Reference to its result.
    """

    def __init__(self, reference: Any):
        self._reference = reference

    def has_ended(self) -> bool:
        """Return whether the task has a result or an error."""
        import ray

        return bool(ray.wait([self._reference], timeout=0)[0])

    def describe_end(self) -> str:
        """Return the error of the task, such as that its node has died."""
        import ray

        try:
            ray.get(self._reference)
        except Exception as error:  # of the cluster, or of the function
            return f"Ray: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
        return "its process ended without a record"

    def cancel(self) -> None:
        """Remove the task from the queue."""
        import ray

        ray.cancel(self._reference)


class RayBackend:
    """Backend of Ray.

    Args:
        options: Options of the command line.
        cpus: Cores of a job without ``num_cpus``.
        gpus: GPUs of a job, also a part of one, if the cluster has any.

    Raises:
        SystemFault: The cluster cannot be reached.
    """

    description = "as tasks of Ray"
    poll_seconds = 0.5
    shares_devices = False
    outlives_command = False

    def __init__(self, options: RayOptions, cpus: float, gpus: float):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        address = options.address or os.environ.get("RAY_ADDRESS")
        local: Mapping[str, Any] = {} if address else LOCAL_OPTIONS
        if address and address != "auto":
            _check_address(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            place, reason = address or "this machine", " ".join(str(error).split())[:300]
            raise SystemFault(f"{OPTION_PREFIX}address: no Ray cluster at {place}: {reason}") from error
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        num_gpus = options.num_gpus or (gpus if has_gpus else 0)
        # A lost task is not repeated by Ray, for which it would have to be known that its old process is dead.
        self._remote = ray.remote(num_cpus=options.num_cpus or cpus, num_gpus=num_gpus, max_retries=0)(_call)

    def limit_jobs(self, capacity: Capacity) -> Capacity | None:
        """Return the limit of the command line, if any: Ray queues what does not fit."""
        return None if capacity.limit is None else Capacity(0, [], capacity.limit)

    def submit(self, runners: Sequence[JobRunner]) -> list[RayTask]:
        return [RayTask(self._remote.remote(runner)) for runner in runners]

    def close(self) -> None:
        import ray

        ray.shutdown()


def _check_address(address: str) -> None:
    """Raise SystemFault if nothing listens at an address, for which Ray would wait for minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise SystemFault(f"{OPTION_PREFIX}address: no Ray cluster at {address}: {error}") from error


def _call(runner: JobRunner) -> int | None:
    """Run one job in a worker of Ray."""
    return runner()
