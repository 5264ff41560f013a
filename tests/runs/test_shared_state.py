"""The state of a resumed run reaches every process; that of a sharded model is read from the file by each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import trainer
from tests.helpers.digest import digest
from tests.helpers.in_process import run
from tests.helpers.process_groups import run_processes
from trainer.config.run_config import Config
from trainer.engine import checkpoint
from trainer.engine.process_group import ProcessGroup
from trainer.runs import resume
from trainer.utils.errors import SystemFault

WORDS = ("model=mlp", "data=moons", "data.rows=60", "max_steps=2", "threads=1", "draw=false", "hydra.run.dir=run")


def configure(strategy: str) -> Config:
    config = trainer.compose(WORDS)
    return replace(config, settings=replace(config.settings, strategy=strategy))


def count_broadcast_bytes(group: Any) -> list[int]:
    """Return a list to which the sizes of the states are added that a process group sends."""
    sizes: list[int] = []
    broadcast = group.broadcast_object

    def broadcast_and_count(value: Any) -> Any:
        received = broadcast(value)
        sizes.append(len(received) if isinstance(received, bytes) else 0)
        return received

    group.broadcast_object = broadcast_and_count
    return sizes


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
@pytest.mark.parametrize("strategy", ["data_parallel", "fsdp"])
def test_processes_map_the_state_of_a_sharded_model(strategy: str) -> None:
    run(*WORDS)
    config, path = configure(strategy), Path("run").absolute()
    is_sharded = strategy == "fsdp"

    def share(group: ProcessGroup) -> tuple[str, bool, bool]:
        sizes = count_broadcast_bytes(group)
        state = resume.load_saved_state(path, fall_back=False, mmap=is_sharded) if group.is_main else None
        shared = resume.share_state(config, path, state, group)
        assert shared is not None
        is_mapped = str(path / checkpoint.LAST) in Path("/proc/self/maps").read_text()
        return digest(dict(shared)), is_mapped, max(sizes) > 0

    first, second = run_processes(2, share)
    assert first == second
    assert first[1:] == (is_sharded, not is_sharded)


@pytest.mark.usefixtures("in_tmp")
def test_a_process_without_the_file_of_process_0_is_refused() -> None:
    run(*WORDS)
    config, path = configure("fsdp"), Path("run").absolute()

    def share(group: ProcessGroup) -> str:
        state: Any = resume.load_saved_state(path, fall_back=False) if group.is_main else None
        if group.is_main:
            state["position"] = {"epoch": 9, "batch": 0, "step": 9}
            resume.share_state(config, path, state, group)
            return ""
        with pytest.raises(SystemFault) as caught:
            resume.share_state(config, path, state, group)
        return str(caught.value)

    assert "last.pt is not the state that process 0 has read" in run_processes(2, share)[1]
