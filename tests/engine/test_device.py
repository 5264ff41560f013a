"""Selection of device and threads, and errors about memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.lab import lab
from trainer.config import compose
from trainer.engine import device, sanity_check
from trainer.utils.errors import ConfigError, SystemFault


@pytest.mark.parametrize(
    "name", ["gpu", "'cuda:x'", "'cuda:'", "CPU", "", "tpu", "'cpu:0'", "'cuda:-1'", "'cuda:01'", "0", "null"]
)
def test_an_unknown_device_is_reported_with_all_other_problems(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose.compose([f"device={name}", "epochs=-1"])
    problems = dict(problem.split(": ", 1) for problem in caught.value.problems)
    assert set(problems) == {"device", "epochs"}
    assert problems["device"].endswith("given; it must be one of auto, cpu, cuda, mps or text like cuda:1")
    with pytest.raises(AssertionError, match="not checked"):
        device.select_device(name)


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "'cuda:0'", "'cuda:17'", "mps"])
def test_valid_device_name_is_accepted(name: str) -> None:
    assert compose.compose([f"device={name}"]).settings.device == name.strip("'")


def test_auto_selects_cuda_then_mps_then_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.select_device("cpu") == torch.device("cpu")
    for cuda, mps, expected in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert device.select_device("auto").type == expected


def test_unavailable_device_is_a_system_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:3", "mps"):
        with pytest.raises(SystemFault, match=f"device={name}: this torch"):
            device.select_device(name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SystemFault, match="there are 2 CUDA devices, cuda:0 to cuda:1"):
        device.select_device("cuda:2")
    assert device.select_device("cuda:1") == torch.device("cuda:1")


def test_macs_of_an_mlp_match_a_closed_form() -> None:
    made = lab("model=mlp", "data=moons", "data.rows=60", "model.hidden=[5,3]")
    batch = sanity_check.make_small_batch(made.loaders["train"])
    assert len(batch) == 36
    assert device.count_macs(made.task, batch) == 36 * (2 * 5 + 5 * 3 + 3 * 1)
    assert device.choose_threads(made.task, batch) == 1


def test_macs_of_a_convolution_match_a_closed_form() -> None:
    plain = (
        "model.channels=[2]",
        "model.dilations=[1]",
        "model.pools=[none]",
        "model.hidden=[]",
        "model.adaptive_size=1",
    )
    made = lab("model=cnn", "data=gratings", "data.rows=40", "data.size=8", *plain, "batch_size=4")
    batch = sanity_check.make_small_batch(made.loaders["train"])
    assert device.count_macs(made.task, batch) == 4 * (2 * 8 * 8 * 9 + 2 * 10)


def test_large_operations_use_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    made = lab("model=mlp", "data=moons", "data.rows=60")
    monkeypatch.setattr(device, "MULTITHREAD_MIN_MACS", 1)
    monkeypatch.setattr(device, "count_cores", lambda: 7)
    torch.set_num_threads(1)  # as a run does before it chooses
    assert device.choose_threads(made.task, sanity_check.make_small_batch(made.loaders["train"])) == 7


def test_choose_threads_changes_no_state() -> None:
    made = lab("model=lstm", "data=synthetic_seq", "data.rows=60", "model.dropout=0.5")
    before = {name: value.clone() for name, value in made.task.state_dict().items()}
    generator_state = torch.get_rng_state()
    device.choose_threads(made.task.eval(), sanity_check.make_small_batch(made.loaders["train"]))
    assert torch.equal(generator_state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in made.task.state_dict().items())


FREED_MEMORY_SCRIPT = """
import torch
from pathlib import Path
from trainer.engine import device

def count_pages_left(keep):
    device.keep_freed_memory(keep=keep)
    before = pages()
    torch.ones(10_000_000).sum()
    return pages() - before

def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

count_pages_left(False)  # the first call loads libraries
print(count_pages_left(False), count_pages_left(True))
"""
"""Print the pages that a freed large tensor leaves in a fresh process, without and with ``keep``."""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_freed_memory_is_returned_or_retained() -> None:
    done = subprocess.run([sys.executable, "-c", FREED_MEMORY_SCRIPT], capture_output=True, text=True, check=True)
    returned, retained = map(int, done.stdout.split())
    assert returned < 1000 < 9000 < retained


def test_memory_error_of_a_model_does_not_mention_batch_size() -> None:
    with (
        pytest.raises(SystemFault, match=r"out of memory: .*; the model does not fit in memory") as caught,
        device.explain_model_memory(),
    ):
        torch.nn.Linear(2**24, 2**24)
    assert "batch_size" not in str(caught.value)
    with pytest.raises(RuntimeError, match="another"), device.explain_model_memory():
        raise RuntimeError("another")


@pytest.mark.parametrize(
    "error",
    [MemoryError("m"), torch.OutOfMemoryError("m"), RuntimeError("CUDA error: out of memory\nCUDA kernel errors ...")],
    ids=["python", "device", "page-locked"],
)
def test_memory_errors_of_python_and_torch_are_system_faults(error: Exception) -> None:
    with pytest.raises(SystemFault, match="does not fit"), device.explain_model_memory():
        raise error
