"""Exhausted memory is described by phase, size and remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.commands import find_runs
from tests.helpers.tiny import LeastSquares, Linear, defaults, tiny
from trainer.core.batch import Batch
from trainer.engine.memory_errors import describe_memory_error
from trainer.engine.trainer import Trainer
from trainer.optim.optimizers import SGD
from trainer.runs import run_dir

CPU_MESSAGE = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: you tried to allocate 4800000000 bytes. Error"
CUDA_MESSAGE = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.00 GiB\nmore"


class FailAt(torch.autograd.Function):
    """Raises an error in its forward or backward pass."""

    @staticmethod
    def forward(_: object, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(_: object, *__: Tensor) -> Tensor:
        raise torch.OutOfMemoryError(CUDA_MESSAGE)


class Failing(LeastSquares):
    """A task for which memory is exhausted in a phase."""

    def __init__(self, phase: str):
        super().__init__(Linear())
        self.phase = phase

    def loss(self, batch: Batch, group: str) -> Tensor:
        if self.phase == "forward":
            raise torch.OutOfMemoryError(CUDA_MESSAGE)
        loss = super().loss(batch, group)
        return FailAt.apply(loss) if self.phase == "backward" else loss  # type: ignore[no-any-return,no-untyped-call]

    def score(self, batch: Batch) -> dict[str, Tensor]:
        if self.phase == "score":
            raise RuntimeError(CPU_MESSAGE)
        return super().score(batch)


def describe(work: Callable[[], object], trainer: Trainer) -> str:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        work()
    return describe_memory_error(caught.value, trainer.settings)


@pytest.mark.parametrize(
    ("phase", "text"),
    [
        ("forward", "out of memory in the forward pass, batch_size=4: tried to allocate 2.68 GB; "),
        ("backward", "out of memory in the backward pass, batch_size=4: tried to allocate 2.68 GB; "),
        ("score", "out of memory in an evaluation, batch_size=4: tried to allocate 4.8 GB; "),
    ],
)
def test_the_phase_is_named(phase: str, text: str) -> None:
    trainer = tiny(Failing(phase), accumulate=3)
    remedy = "batch_size=2 accumulate=6 has the same gradient and needs less"
    others = ", as do checkpoint_activations and a smaller model"
    assert describe(trainer.fit, trainer) == text + remedy + others


def test_the_optimizer_step_is_a_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(SGD, "step", fail)
    trainer = tiny(batch_size=1)
    text = (
        "out of memory in the optimizer step, batch_size=1: MemoryError; a smaller model, or smaller inputs, need less"
    )
    assert describe(trainer.fit, trainer) == text


def test_a_batch_size_above_the_number_of_rows_is_no_remedy() -> None:
    trainer = tiny(Failing("forward"), batch_size=1000)
    assert "batch_size=1000: " in (text := describe(trainer.fit, trainer))
    assert "batch_size=8 accumulate=2 has" in text


def test_an_error_elsewhere_has_no_phase() -> None:
    settings = replace(defaults(), batch_size=6)
    assert describe_memory_error(MemoryError("m"), settings).startswith("out of memory, batch_size=6: m; batch_size=3 ")


LIMITED = ("model=mlp", "data=moons", "data.rows=100000", "epochs=1", "threads=1", "draw=false", "batch_size=1000000")


def train_with_limit(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command with 4 GiB of address space."""
    command = ["sh", "-c", 'ulimit -v 4194304; exec "$@"', "sh", sys.executable, "-m", "trainer", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_exhausted_memory_is_reported_and_the_next_job_of_a_sweep_runs(tmp_path: Path) -> None:
    """Rows of 20,000 hidden units need 4.8 GB, those of 4 need little."""
    done = train_with_limit("-m", *LIMITED, "model.hidden=[20000],[4]", "jobs=1", cwd=tmp_path)
    text = "out of memory in the forward pass, batch_size=1000000: tried to allocate 4.8 GB; batch_size=30000 acc"
    results = {path.name[0]: run_dir.read_results(path) for path in find_runs(tmp_path)}
    assert results["0"]["reason"].startswith(f"SystemFault: {text}"), done.stdout + done.stderr
    assert results["1"]["status"] == "finished"
    assert done.returncode == 1
    single = train_with_limit(*LIMITED, "model.hidden=[20000]", cwd=tmp_path)
    assert single.returncode == 4
    assert single.stderr.startswith(f"error: {text}")
    assert len(single.stderr.splitlines()) == 1
