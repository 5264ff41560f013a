"""Deterministic kernels: the same bits in every run on the same GPU, with the same version of torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.utils.errors import ConfigError

WORKSPACE_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
"""Environment variable that cuBLAS reads once per process."""
WORKSPACES = (":4096:8", ":16:8")
"""Its values for which the sums of a matrix product have a fixed order; the first is faster, with 24 MB of memory."""
_MISSING_KERNEL = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def deterministic_kernels(*, enabled: bool) -> Iterator[None]:
    """Let torch use deterministic kernels alone within the block; on the CPU they are the usual ones.

    Args:
        enabled: False leaves the settings of the process as they are.

    Raises:
        ConfigError: An operation has no deterministic kernel, or cuBLAS was started with other settings.
    """
    if not enabled:
        yield
        return
    _set_workspace()
    cudnn = torch.backends.cudnn
    previous = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    previous_cudnn = cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        operation = find_missing_kernel(error)
        if operation is None:
            raise
        raise ConfigError(
            f"deterministic: {operation} has no deterministic kernel on this device; set deterministic=false, or choose"
            " options of model and task that do without it"
        ) from error
    finally:
        torch.use_deterministic_algorithms(previous[0], warn_only=previous[1])
        cudnn.deterministic, cudnn.benchmark = previous_cudnn


def find_missing_kernel(error: RuntimeError) -> str | None:
    """Return the operation that an error of torch says has no deterministic kernel; None for another error."""
    match = _MISSING_KERNEL.search(str(error))
    return None if match is None else match[1]


def _set_workspace() -> None:
    """Set the workspace of cuBLAS.

    Raises:
        ConfigError: It is too late, because this process uses CUDA already, or the variable has another value.
    """
    value = os.environ.get(WORKSPACE_VARIABLE)
    if value in WORKSPACES:
        return
    if value is not None:
        raise ConfigError(
            f"deterministic: the environment variable {WORKSPACE_VARIABLE} is {value!r}; it must be"
            f" {' or '.join(WORKSPACES)}, or not be set"
        )
    if torch.cuda.is_initialized():
        raise ConfigError(
            f"deterministic: this process uses CUDA already, and cuBLAS reads {WORKSPACE_VARIABLE} at its start; set it"
            f" to {WORKSPACES[0]} in the environment of the process"
        )
    os.environ[WORKSPACE_VARIABLE] = WORKSPACES[0]
