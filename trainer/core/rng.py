"""Randomness as a function of (seed, epoch, index).

Nothing here depends on workers, on where a run was resumed, or on what was drawn before: the same numbers come back
for the same place in the run.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.utils.errors import ConfigError

_GOLDEN_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def hash_seed(*parts: int) -> int:
    """One well-spread 63-bit number from several (the finaliser of splitmix64, Steele et al. 2014)."""
    state = 0
    for part in parts:
        state = (state + _GOLDEN_GAMMA + (part & _MASK)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def make_generator(*parts: int) -> torch.Generator:
    """A CPU generator of its own for one purpose."""
    return torch.Generator().manual_seed(hash_seed(*parts))


def make_permutation(n: int, seed: int, epoch: int) -> Tensor:
    """The order of ``n`` rows in one epoch, (n,) int64."""
    return torch.randperm(n, generator=make_generator(seed, epoch))


def draw_uniform(index: Tensor, count: int, seed: int, epoch: int) -> Tensor:
    """``count`` numbers in [0, 1) for each row of ``index``, (B, count), equal on every device and in every worker.

    A counter through an integer hash (the 32-bit finaliser of MurmurHash3), so rows are drawn independently of the
    batch they happen to be in. Products stay under 2**63, so int64 holds them exactly.
    """
    columns = torch.arange(count, device=index.device)
    state = (index[:, None] * 0x9E3779B1 + columns * 0x85EBCA77 + (hash_seed(seed, epoch) & 0xFFFFFFFF)) & 0xFFFFFFFF
    for multiplier, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13), (0x7FEB352D, 16), (0x45D9F3B, 15)):
        state = state ^ (state >> shift)
        state = ((state * (multiplier & 0xFFFF)) + ((state * (multiplier >> 16) & 0xFFFF) << 16)) & 0xFFFFFFFF
    return (state >> 8).float() / (1 << 24)


def seed_everything(seed: int) -> None:
    """Seeds torch, Python and numpy."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)


_RNG_LOCK = threading.RLock()
"""Held while a run uses what a process has one of."""


@contextmanager
def preserve_global_state() -> Iterator[None]:
    """A block that may seed the generators of the process and set its threads, which the caller finds as they were.

    There is one of each in a process, so a second thread that wants them is refused, before anything is touched.

    Raises ConfigError while another thread is in such a block.
    """
    if not _RNG_LOCK.acquire(blocking=False):
        raise ConfigError(
            "run: another thread of this process is training, and both would draw from the same random numbers; train"
            " one after the other, or in processes of their own (train -m does)"
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
    """A block that draws from its own seed and leaves torch's generators as it found them.

    Validation runs in one, so that its noise is the same every epoch and training does not depend on how often the
    run looks at itself.
    """
    state = torch.get_rng_state()
    cuda_state = torch.cuda.get_rng_state(device) if device is not None and device.type == "cuda" else None
    # Not torch.manual_seed, which also looks for every kind of accelerator there is.
    torch.default_generator.manual_seed(seed)
    if cuda_state is not None:
        torch.cuda.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
        if device is not None and cuda_state is not None:
            torch.cuda.set_rng_state(cuda_state, device)


@contextmanager
def preserve_generators() -> Iterator[None]:
    """A block that may draw from any generator of the CPU, which training finds as it was."""
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.set_rng_state(state[2])


def get_rng_state(device: torch.device) -> dict[str, object]:
    """The state of every generator training may draw from, as tensors and plain lists."""
    algorithm, keys, position, has_gauss, cached_gaussian = np.random.get_state(legacy=True)
    state: dict[str, object] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [algorithm, torch.from_numpy(np.array(keys)), int(position), int(has_gauss), float(cached_gaussian)],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def find_state_problems(state: Any) -> list[str]:
    """What is wrong with a captured state, by setting generators of its own to it."""
    if not isinstance(state, dict):
        return ["no states of generators"]
    dtype, keys = torch.get_rng_state().dtype, ("torch", "python", "numpy")
    problems = [f"{key} is missing" for key in keys if key not in state]
    problems += [f"{key} is the state of no generator" for key in state if key not in (*keys, "cuda")]
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
            problems.append(f"{name} is not the state of a generator ({' '.join(str(error).split())[:80]})")
    return problems


def _check_bytes(value: Any, dtype: torch.dtype) -> None:
    if not isinstance(value, Tensor) or value.dtype != dtype or value.dim() != 1:
        raise TypeError("a row of bytes is saved there")


def _parse_python_state(state: Any) -> tuple[Any, ...]:
    version, numbers, gauss = state
    if gauss is not None and not isinstance(gauss, float):
        raise TypeError("its last part is no number")
    return version, tuple(numbers), gauss


def _parse_numpy_state(state: Any) -> tuple[Any, ...]:
    algorithm, keys, position, has_gauss, cached_gaussian = state
    if not 0 <= position <= len(keys):
        raise ValueError("its place is outside of its numbers")
    return algorithm, keys.numpy(), position, has_gauss, cached_gaussian


def set_rng_state(state: dict[str, Any], device: torch.device) -> None:
    """Sets every generator to a captured state."""
    torch.set_rng_state(state["torch"])
    random.setstate(_parse_python_state(state["python"]))
    np.random.set_state(_parse_numpy_state(state["numpy"]))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    elif device.type == "cuda":
        # Saved on another kind of device, whose noise was the CPU generator's.
        torch.cuda.manual_seed(torch.initial_seed())
