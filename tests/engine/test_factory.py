"""Building of data sets, tasks and parameter groups from a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.pairs import make_pair
from trainer.config import compose
from trainer.engine import factory, optimizer_factory
from trainer.utils.errors import ConfigError, SystemFault


def test_shapes_of_the_inputs_are_known_by_name() -> None:
    assert make_pair("lstm", "var_len_sum").data.input_shapes()["lengths"] == []
    assert make_pair("cnn", "gratings").data.input_shapes() == {"x": [1, 28, 28]}


def test_an_unlistable_folder_is_a_system_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = compose.compose(["model=gcn", "data=edge_list", "data.path=closed/graph", "data.target=label"])

    def closed(path: str, _: str) -> Path:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("trainer.data.readers.edge_tables.check_folder", closed)
    with pytest.raises(SystemFault, match=r"^data: cannot read closed/graph: Permission denied$"):
        factory.make_dataset(chosen.tree)


@pytest.mark.parametrize("steps", [0, 1, 7, 1000, 1003, 10**12])
def test_active_steps_are_counted_without_iterating(steps: int) -> None:
    task = make_pair("wgan_gp", "ring", "task.critic_steps=3").task
    assert optimizer_factory.count_updates(task, steps) == {"critic": steps, "generator": steps // 3}
    if steps < 2000:
        listed = [name for step in range(steps) for name in task.active_groups(step)]
        assert optimizer_factory.count_updates(task, steps) == {
            name: listed.count(name) for name in ("critic", "generator")
        }


def test_a_task_that_miscounts_its_active_steps_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_pair("mlp", "moons").task
    monkeypatch.setattr(task, "active_groups", lambda step: ("model",) if step % 2 else ())
    with pytest.raises(ConfigError, match=r"count_active_steps\(10\) contradicts"):
        optimizer_factory.count_updates(task, 10)
