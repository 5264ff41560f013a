"""Devices by name, and threads by the size of the work."""

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
        compose.compose([f"device={name}", "epochs=0"])
    problems = dict(problem.split(": ", 1) for problem in caught.value.problems)
    assert set(problems) == {"device", "epochs"}
    assert problems["device"].endswith("given; it must be one of auto, cpu, cuda, mps or text like cuda:1")
    with pytest.raises(AssertionError, match="not checked"):
        device.select_device(name)


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "'cuda:0'", "'cuda:17'", "mps"])
def test_a_name_that_is_one(name: str) -> None:
    assert compose.compose([f"device={name}"]).settings.device == name.strip("'")


def test_auto_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.select_device("cpu") == torch.device("cpu")
    for cuda, mps, expected in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert device.select_device("auto").type == expected


def test_what_this_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:3", "mps"):
        with pytest.raises(SystemFault, match=f"device={name}: this torch"):
            device.select_device(name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SystemFault, match="there are 2 CUDA devices, cuda:0 to cuda:1"):
        device.select_device("cuda:2")
    assert device.select_device("cuda:1") == torch.device("cuda:1")


def test_multiply_adds_by_hand() -> None:
    small = lab("model=mlp", "data=moons", "data.rows=60", "model.hidden=[5,3]")
    batch = sanity_check.make_small_batch(small.loaders["train"])
    assert len(batch) == 36
    assert device.count_macs(small.task, batch) == 36 * (2 * 5 + 5 * 3 + 3 * 1)
    assert device.choose_threads(small.task, batch) == 1


def test_convolutions_count_their_places() -> None:
    plain = (
        "model.channels=[2]",
        "model.dilations=[1]",
        "model.pools=[none]",
        "model.hidden=[]",
        "model.adaptive_size=1",
    )
    picture = lab("model=cnn", "data=gratings", "data.rows=40", "data.size=8", *plain, "batch_size=4")
    batch = sanity_check.make_small_batch(picture.loaders["train"])
    assert device.count_macs(picture.task, batch) == 4 * (2 * 8 * 8 * 9 + 2 * 10)


def test_large_operations_use_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    small = lab("model=mlp", "data=moons", "data.rows=60")
    monkeypatch.setattr(device, "MULTITHREAD_MIN_MACS", 1)
    monkeypatch.setattr(device, "count_cores", lambda: 7)
    torch.set_num_threads(1)  # as a run does before it chooses
    assert device.choose_threads(small.task, sanity_check.make_small_batch(small.loaders["train"])) == 7


def test_reading_the_size_changes_nothing() -> None:
    small = lab("model=lstm", "data=synthetic_seq", "data.rows=60", "model.dropout=0.5")
    before = {name: value.clone() for name, value in small.task.state_dict().items()}
    random = torch.get_rng_state()
    device.choose_threads(small.task.eval(), sanity_check.make_small_batch(small.loaders["train"]))
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in small.task.state_dict().items())


KEPT = """
import torch
from pathlib import Path
from trainer.engine import device

def left(keep):
    device.keep_freed_memory(keep=keep)
    before = pages()
    torch.ones(10_000_000).sum()
    return pages() - before

def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

left(False)  # loads what is loaded once
print(left(False), left(True))
"""
"""Pages that a large tensor, freed, leaves in a process of which nothing else has been asked."""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_freed_memory_is_returned_or_retained() -> None:
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    assert given_back < 1000 < 9000 < kept


def test_a_model_that_does_not_fit_in_memory_gets_no_advice_about_batches() -> None:
    with (
        pytest.raises(SystemFault, match=r"out of memory: .*; the model does not fit in memory") as caught,
        device.explain_model_memory(),
    ):
        torch.nn.Linear(2**24, 2**24)
    assert "batch_size" not in str(caught.value)
    with pytest.raises(RuntimeError, match="another"), device.explain_model_memory():
        raise RuntimeError("another")


@pytest.mark.parametrize("error", [MemoryError("m"), torch.OutOfMemoryError("m")])
def test_both_kinds_of_exhausted_memory_are_reported(error: Exception) -> None:
    with pytest.raises(SystemFault, match="does not fit"), device.explain_model_memory():
        raise error
