"""The device of these tests: a GPU, or with ``ACCELERATOR=cpu`` the CPU, to try the tests themselves.

``ACCELERATOR=simulated`` tries them on the device of ``tests.helpers.simulated_cuda``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from tests.helpers.simulated_cuda import simulate_cuda

ACCELERATOR = os.environ.get("ACCELERATOR", "cuda")
# cuBLAS reads it once per process, so it must be set before the first test that uses CUDA.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip these tests without a GPU; warnings are shown there, and do not fail a test."""
    assert ACCELERATOR in ("cuda", "cpu", "simulated"), f"ACCELERATOR={ACCELERATOR}"
    is_missing = ACCELERATOR == "cuda" and not torch.cuda.is_available()
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.filterwarnings("default"))
            if is_missing:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def device() -> Iterator[torch.device]:
    """Return the device of these tests."""
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # comparisons with the CPU need all bits of a float32
    try:
        if ACCELERATOR == "simulated":
            with simulate_cuda():
                yield torch.device("cuda", 0)
        else:
            yield torch.device("cuda", 0) if ACCELERATOR == "cuda" else torch.device("cpu")
    finally:
        torch.backends.cudnn.allow_tf32 = tf32


@pytest.fixture
def is_real(device: torch.device) -> bool:
    """Return whether the device is a GPU."""
    return device.type == "cuda" and ACCELERATOR == "cuda"
