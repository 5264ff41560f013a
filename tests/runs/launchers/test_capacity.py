"""How many jobs of a sweep run at a time, on lists of devices that this machine does not have."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.helpers.commands import SMALL
from trainer.config import compose
from trainer.config.schema import Settings
from trainer.runs.launchers.capacity import Capacity
from trainer.utils import gpus

UUIDS = ["GPU-8a56b2c1", "MIG-41b36f1a"]


@pytest.fixture(scope="module")
def settings() -> Settings:
    return compose.compose(SMALL).settings


@pytest.mark.parametrize(
    ("devices", "changes", "limit", "expected"),
    [
        ([], {}, None, 8),
        ([], {}, 3, 3),
        ([], {}, 20, 20),
        (["0", "1"], {}, None, 2),
        (UUIDS, {}, None, 2),
        (["0", "1"], {}, 1, 1),
        (["0", "1"], {}, 8, 2),
        (["0", "1"], {"jobs_per_device": 3}, None, 6),
        (["0", "1"], {"jobs_per_device": 3}, 4, 4),
        (["0", "1"], {"device": "cpu"}, None, 8),
        (["0", "1"], {"device": "mps"}, None, 8),
        (["0", "1"], {"device": "cuda"}, None, 2),
        (["0", "1"], {"device": "cuda:1"}, None, 1),
        (["0", "1"], {"device": "cuda:1", "jobs_per_device": 2}, None, 2),
        (["0", "1"], {"device": "cuda:7"}, None, 8),  # refused by each job
        ([], {"device": "cuda"}, None, 8),
        (["0", "1", "2", "3", "4"], {"devices": 2}, None, 2),
        (["0", "1", "2", "3"], {"devices": 2, "jobs_per_device": 2}, None, 4),
        (["0", "1"], {"devices": 3}, None, 1),  # refused by each job
        (["0", "1"], {"devices": "auto"}, None, 1),
        ([], {"devices": "auto"}, None, 8),
        ([], {"devices": 3}, None, 2),
        ([], {"devices": 99}, None, 1),
    ],
)
def test_jobs_at_a_time_depend_on_devices_and_limit(
    devices: list[str], changes: dict[str, object], limit: int | None, expected: int, settings: Settings
) -> None:
    jobs = [replace(settings, **changes)] * 40  # type: ignore[arg-type]
    assert Capacity(8, devices, limit).count_parallel_jobs(jobs) == expected


def test_jobs_on_gpus_and_on_the_cpu_run_side_by_side(settings: Settings) -> None:
    jobs = [replace(settings, device=name) for name in ("cuda", "cpu") for _ in range(9)]
    assert Capacity(3, ["0", "1"]).count_parallel_jobs(jobs) == 5
    assert Capacity(3, ["0", "1"]).describe_devices(jobs) == " on 2 GPUs"
    assert Capacity(3, ["0", "1"]).describe_devices(jobs[-1:]) == ""


def test_a_job_starts_when_another_has_freed_its_device(settings: Settings) -> None:
    capacity, running = Capacity(8, ["0", "1"]), [replace(settings, device="cuda:0"), settings]
    assert not capacity.has_room(running, settings)
    assert capacity.has_room(running[:1], settings)
    assert not capacity.has_room(running[:1], running[0])
    assert capacity.has_room(running[1:], settings)


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        (None, 3, ["0", "1", "2"]),
        ("2,0", 2, ["2", "0"]),
        ("1,-1,2", 1, ["1"]),  # nothing after the first that does not exist
        ("", 0, []),
        ("GPU-8a56b2c1, MIG-41b36f1a", 2, UUIDS),
    ],
)
def test_names_of_devices_follow_the_environment(
    visible: str | None, count: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "count_cuda_devices", lambda: count)
    monkeypatch.delenv(gpus.VISIBLE_DEVICES, raising=False)
    if visible is not None:
        monkeypatch.setenv(gpus.VISIBLE_DEVICES, visible)
    assert gpus.list_cuda_devices() == expected


def test_devices_are_counted_in_a_child_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    calls: list[int] = []
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: calls.append(1) or 4)
    assert (gpus.count_cuda_devices(), calls) == (4, [])


def test_auto_devices_are_counted_without_initializing_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def initialize() -> int:
        raise AssertionError("counted in this process")

    monkeypatch.setattr(gpus, "count_cuda_devices", lambda: 4)
    monkeypatch.setattr(torch.cuda, "device_count", initialize)
    assert compose.compose([*SMALL, "devices=auto"]).tree["shards"] == 4


def test_a_process_that_has_initialized_cuda_counts_devices_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    parent = os.getpid()
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4 if os.getpid() == parent else 0)
    assert gpus.count_cuda_devices() == 4
