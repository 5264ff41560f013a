"""Backends get what the jobs need, and refuse what would depend on the machine that runs a job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.helpers.tiny import defaults
from trainer.config.launcher_options import LauncherOptions, RayOptions, SubmititSlurmOptions
from trainer.runs.launchers import ray_backend, select_launcher, submitit_backend
from trainer.runs.launchers.capacity import Capacity
from trainer.utils.errors import ConfigError


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return the arguments of each backend that is made."""
    calls: list[tuple[Any, ...]] = []
    for module, name in ((submitit_backend, "SubmititSlurmBackend"), (ray_backend, "RayBackend")):
        monkeypatch.setattr(module, name, lambda *arguments, **more: calls.append((*arguments[1:], *more.values())))
    return calls


def make_backend(options: LauncherOptions, **settings: Any) -> None:
    select_launcher.make_backend(options, [replace(defaults(), **settings)], Capacity(1, []))


@pytest.mark.parametrize(
    ("options", "shards", "key"),
    [
        (SubmititSlurmOptions(), None, "gpus_per_node"),
        (SubmititSlurmOptions(), 4, "gpus_per_node"),
        (SubmititSlurmOptions(gpus_per_node=4), None, "gpus_per_node"),
        (RayOptions(), None, "num_gpus"),
        (RayOptions(num_gpus=4), None, "num_gpus"),
    ],
    ids=["slurm", "slurm with shards", "slurm with GPUs", "ray", "ray with GPUs"],
)
def test_another_machine_does_not_decide_the_number_of_shards(
    options: LauncherOptions, shards: int | None, key: str, made: list[tuple[Any, ...]]
) -> None:
    with pytest.raises(
        ConfigError, match=rf"devices: auto .*give devices=N, or both shards=N and hydra.launcher.{key}=N"
    ):
        make_backend(options, devices="auto", device="cuda", shards=shards)
    assert not made


def test_auto_devices_are_those_that_the_launcher_asks_for(made: list[tuple[Any, ...]]) -> None:
    settings = {"devices": "auto", "device": "cuda", "shards": 4}
    make_backend(SubmititSlurmOptions(gpus_per_node=2), **settings)
    make_backend(RayOptions(num_gpus=2), **settings)
    assert made == [(None, 2, True), (2, 2.0)]


def test_auto_devices_of_a_job_on_the_cpu_are_one_process(made: list[tuple[Any, ...]]) -> None:
    make_backend(SubmititSlurmOptions(), devices="auto", device="cpu")
    assert made == [(None, 1, False)]
