"""What is told before the first step, and that looking leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import lab
from pairs import pair

from trainer import builder, config
from trainer.errors import ConfigError, SystemFault

NORMED = (
    *("model=cnn", "model.norm=batch", "model.channels=[4,4]", "model.dilations=[1]"),
    *("data=gratings", "data.rows=50"),
)


def test_a_norm_over_single_numbers_is_refused_before_the_first_step() -> None:
    one_pixel = (*NORMED, "data.size=2", "model.pools=[max,none]")
    with pytest.raises(ConfigError, match="batch_size: the model cannot train on batches of one row: Expected more"):
        lab(*one_pixel, "batch_size=1")
    lab(*one_pixel, "batch_size=2")
    lab(*NORMED, "data.size=4", "model.pools=[max,none]", "batch_size=1")  # four numbers a map


def test_a_look_leaves_no_trace() -> None:
    made = pair("cnn", "gratings", "model.norm=batch", "model.dropout=0.5", "augment=slides")
    made.loaders["train"].batch_size = 1
    before = {name: value.clone() for name, value in made.task.state_dict().items()}
    random = torch.get_rng_state()
    builder.probe(made.task, made.loaders["train"])
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in made.task.state_dict().items())


def test_shapes_of_the_inputs_are_known_by_name() -> None:
    assert pair("lstm", "var_len_sum").data.input_shapes()["lengths"] == []
    assert pair("cnn", "gratings").data.input_shapes() == {"x": [1, 28, 28]}


def test_a_folder_that_may_not_be_looked_into_is_a_fault_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = config.compose(["model=gcn", "data=edge_list", "data.path=closed/graph", "data.target=label"])

    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", closed)
    with pytest.raises(SystemFault, match=r"^data: cannot read closed/graph: Permission denied$"):
        builder.data(chosen.tree)
