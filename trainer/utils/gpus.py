"""CUDA devices of this machine, listed without initializing CUDA in this process, which could not be forked then."""

from __future__ import annotations

import os

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
"""Environment variable with the devices that a process may use, by index or UUID (``GPU-...``, ``MIG-...``)."""


def list_cuda_devices() -> list[str]:
    """Return the CUDA devices that this process may use, as they are named in ``CUDA_VISIBLE_DEVICES``.

    The place of a device in the list is its index in torch: the second one is ``cuda:1``.
    """
    count = count_cuda_devices()
    visible = os.environ.get(VISIBLE_DEVICES)
    if visible is None:
        return [str(index) for index in range(count)]
    # CUDA ignores everything after the first device that does not exist, and the count says where that is.
    return [name.strip() for name in visible.split(",")][:count]


def count_cuda_devices() -> int:
    """Return the number of CUDA devices that torch sees, counted in a child process; 0 for a torch without CUDA.

    Where this process has initialized CUDA, it counts them itself: a child could not.
    """
    import torch  # here, because it is slow and the command line is checked first

    if not torch.backends.cuda.is_built():
        return 0
    if torch.cuda.is_initialized():
        return torch.cuda.device_count()
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        count = 0
        try:
            count = torch.cuda.device_count()
        finally:
            os.write(writer, str(count).encode())
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return int(text or 0)
