"""Randomness as a function of (seed, epoch, index), and the state of global generators.

The numbers do not depend on the workers, on previous draws or on where a run was resumed.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.utils.errors import ConfigError

_GOLDEN_GAMMA = 0x9E3779B97F4A7C15
"""Increment of splitmix64: 2^64 divided by the golden ratio, rounded to an odd number."""
_MASK = (1 << 64) - 1


def hash_seed(*parts: int) -> int:
    """Return a 63-bit seed hashed from several integers by the mixing function of splitmix64.

    References:
        Steele et al., Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
    """
    state = 0
    for part in parts:
        state = (state + _GOLDEN_GAMMA + (part & _MASK)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def make_generator(*parts: int) -> torch.Generator:
    """Return a new CPU generator seeded with ``hash_seed(*parts)``."""
    return torch.Generator().manual_seed(hash_seed(*parts))


def make_permutation(n: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the rows in an epoch.

    Args:
        n: Number of rows.
        seed: Seed of the run.
        epoch: Epoch, from 0.

    Returns:
        Permutation (n,) of 0..n-1, int64.
    """
    return torch.randperm(n, generator=make_generator(seed, epoch))


def draw_uniform(index: Tensor, count: int, seed: int, epoch: int) -> Tensor:
    """Draw uniform numbers in [0, 1) for each row, equal on every device and in every worker.

    A counter-based generator: the row, column, seed and epoch are hashed by a variant of the 32-bit finalizer of
    MurmurHash3, so that the numbers of a row do not depend on its batch. Products stay below 2**63, so int64 is exact.

    Args:
        index: Row numbers (B,), int64; they determine the device.
        count: Numbers per row.
        seed: Seed of the run.
        epoch: Epoch, from 0.

    Returns:
        Uniform numbers (B, count), float32 with 24 random bits.
    """
    columns = torch.arange(count, device=index.device)
    state = (index[:, None] * 0x9E3779B1 + columns * 0x85EBCA77 + (hash_seed(seed, epoch) & 0xFFFFFFFF)) & 0xFFFFFFFF
    for multiplier, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13), (0x7FEB352D, 16), (0x45D9F3B, 15)):
        state = state ^ (state >> shift)
        state = ((state * (multiplier & 0xFFFF)) + ((state * (multiplier >> 16) & 0xFFFF) << 16)) & 0xFFFFFFFF
    return (state >> 8).float() / (1 << 24)


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch, Python and numpy."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)


_RNG_LOCK = threading.RLock()
"""Lock of the global generators and the thread count of the process."""


@contextmanager
def preserve_global_state() -> Iterator[None]:
    """Restore the global generators and the number of torch threads on exit.

    The block may be nested within one thread. Both are global to the process, so only one thread may enter it.

    Raises:
        ConfigError: Another thread is in such a block.
    """
    if not _RNG_LOCK.acquire(blocking=False):
        raise ConfigError(
            "run: another thread of this process is training, and both would draw from the same generators; train one"
            " after the other, or in separate processes (as train -m does)"
        )
    try:
        state, num_threads = get_rng_state(torch.device("cpu")), torch.get_num_threads()
        cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
        try:
            yield
        finally:
            set_rng_state(state, torch.device("cpu"))
            torch.set_num_threads(num_threads)
            if cuda_states is not None:
                torch.cuda.set_rng_state_all(cuda_states)
    finally:
        _RNG_LOCK.release()


@contextmanager
def fork_rng(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's generators for the block and restore them on exit.

    Validation runs in such a block, so that its noise is the same in every epoch and training does not depend on how
    often it is validated.

    Args:
        seed: Seed of the block.
        device: CUDA device whose generator is included; None for the CPU generator alone.
    """
    state = torch.get_rng_state()
    cuda_state = torch.cuda.get_rng_state(device) if device is not None and device.type == "cuda" else None
    # torch.manual_seed would also initialize and seed every available accelerator.
    torch.default_generator.manual_seed(seed)
    if device is not None and cuda_state is not None:
        _seed_cuda(seed, device)
    try:
        yield
    finally:
        torch.set_rng_state(state)
        if device is not None and cuda_state is not None:
            torch.cuda.set_rng_state(cuda_state, device)


def _seed_cuda(seed: int, device: torch.device) -> None:
    """Seed the generator of a CUDA device, which need not be the current one that ``torch.cuda.manual_seed`` seeds."""
    with nullcontext() if device.index is None else torch.cuda.device(device):
        torch.cuda.manual_seed(seed)


@contextmanager
def preserve_generators() -> Iterator[None]:
    """Restore the generators of Python, numpy and torch on exit, on the CPU and on all CUDA devices in use."""
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.set_rng_state(state[2])
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)


def get_rng_state(device: torch.device) -> dict[str, object]:
    """Return the states of the generators of torch, Python, numpy and the CUDA device, as tensors and plain values."""
    algorithm, keys, position, has_gauss, cached_gaussian = np.random.get_state(legacy=True)
    state: dict[str, object] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [algorithm, torch.from_numpy(np.array(keys)), int(position), int(has_gauss), float(cached_gaussian)],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def get_torch_rng_states(device: torch.device) -> list[Tensor]:
    """Return the states of torch's generators that a computation on a device may draw from."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def find_state_problems(state: Any) -> list[str]:
    """Return the problems of a saved state, one per generator, by loading it into new generators; empty if valid."""
    if not isinstance(state, dict):
        return ["expected a mapping of generator states"]
    dtype, keys = torch.get_rng_state().dtype, ("torch", "python", "numpy")
    problems = [f"{key} is missing" for key in keys if key not in state]
    problems += [f"{key} is not a known generator" for key in state if key not in (*keys, "cuda")]
    if problems:
        return problems
    checks: dict[str, Callable[[], object]] = {
        "torch": lambda: torch.Generator().set_state(state["torch"]),
        "python": lambda: random.Random().setstate(_parse_python_state(state["python"])),
        "numpy": lambda: np.random.RandomState().set_state(_parse_numpy_state(state["numpy"])),
        "cuda": lambda: _check_bytes(state.get("cuda", torch.zeros(1, dtype=dtype)), dtype),
    }
    for name, check in checks.items():
        try:
            check()
        except (TypeError, ValueError, RuntimeError, OverflowError, AttributeError) as error:
            problems.append(f"{name} is not a valid generator state ({' '.join(str(error).split())[:80]})")
    return problems


def _check_bytes(value: Any, dtype: torch.dtype) -> None:
    if not isinstance(value, Tensor) or value.dtype != dtype or value.dim() != 1:
        raise TypeError("expected a one-dimensional byte tensor")


def _parse_python_state(state: Any) -> tuple[Any, ...]:
    version, numbers, gauss = state
    if gauss is not None and not isinstance(gauss, float):
        raise TypeError("the cached Gaussian is not a number")
    return version, tuple(numbers), gauss


def _parse_numpy_state(state: Any) -> tuple[Any, ...]:
    algorithm, keys, position, has_gauss, cached_gaussian = state
    if not 0 <= position <= len(keys):
        raise ValueError("the position is out of range")
    return algorithm, keys.numpy(), position, has_gauss, cached_gaussian


def set_rng_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore the generators from a state of ``get_rng_state``.

    Args:
        state: Saved states.
        device: Device of the run. On CUDA, a state saved on another device reseeds its generator.
    """
    torch.set_rng_state(state["torch"])
    random.setstate(_parse_python_state(state["python"]))
    np.random.set_state(_parse_numpy_state(state["numpy"]))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    elif device.type == "cuda":
        # The state was saved on a device whose noise came from the CPU generator.
        _seed_cuda(torch.initial_seed(), device)
