"""Graph series: splits, shared graph, baselines and forecasts."""

from __future__ import annotations

import json
from typing import Literal

import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.real_data import FOLDER, needs
from trainer.data.datasets.series.graph_series import GraphSeries
from trainer.data.splits.graph_batches import SplitWithSharedInputs
from trainer.data.splits.windows import WindowSplit
from trainer.models.layers.graph.graph import Graph
from trainer.utils.errors import DataError

pytestmark = needs("chickenpox", "pedalme")


def read(name: Literal["chickenpox", "pedalme"], history: int = 4, horizon: int = 1) -> GraphSeries:
    return GraphSeries(name, history, horizon, val=0.1, test=0.2, data_dir=str(FOLDER))


def get_window_split(data: GraphSeries, split: str) -> WindowSplit:
    outer_split = getattr(data, split)
    assert isinstance(outer_split, SplitWithSharedInputs)
    assert isinstance(outer_split.rows, WindowSplit)
    return outer_split.rows


@pytest.mark.parametrize(
    ("name", "key", "weeks", "nodes", "edges"), [("chickenpox", "FX", 521, 20, 102), ("pedalme", "X", 35, 15, 225)]
)
def test_splits_are_chronological_and_share_the_graph(
    name: Literal["chickenpox", "pedalme"], key: str, weeks: int, nodes: int, edges: int
) -> None:
    (file,) = (FOLDER / name).glob("*.json")
    raw = json.loads(file.read_bytes())
    data = read(name)
    splits = [get_window_split(data, split) for split in ("train", "val", "test")]
    assert torch.equal(torch.cat([split.get_targets()[:, 0] for split in splits]), torch.tensor(raw[key])[4:])  # type: ignore[index]
    assert sum(map(len, splits)) == weeks - 4
    assert data.info.sizes["num_nodes"] == data.info.sizes["in_features"] == nodes
    inputs = data.test.to_model_inputs(data.test.batch(torch.arange(2), 0)).inputs
    assert inputs["edge_index"].t().tolist() == raw["edges"]
    assert inputs["edge_weight"].tolist() == pytest.approx(raw.get("weights", [1.0] * edges))
    Graph(nodes, inputs["edge_index"], inputs["edge_weight"])


def test_chickenpox_errors_match_reference() -> None:
    test = get_window_split(read("chickenpox"), "test")
    target = test.get_targets()
    assert target is not None
    assert len(target) == 105
    assert float(target.square().mean()) == pytest.approx(1.049, abs=5e-4)
    assert float((target[:, 0] - test.inputs["x"][:, -1]).square().mean()) == pytest.approx(3.022, abs=5e-4)
    assert read("chickenpox").info.baseline["mse"] == pytest.approx(1.0495, abs=1e-4)


def test_history_longer_than_training_split_raises() -> None:
    with pytest.raises(DataError, match="history 24 and horizon 1 need 25 rows; the train split has 24"):
        read("pedalme", history=24)
    assert read("pedalme", history=4, horizon=2).info.sizes["horizon"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(("model", "max_mse"), [("gcn_lstm", 0.8), ("dlinear", 0.9), ("gru_forecaster", 0.85)])
def test_chickenpox_forecasts_beat_the_zero_baseline(model: str, max_mse: float) -> None:
    run = lab(f"model={model}", "data=chickenpox", f"data_dir={FOLDER}", "max_steps=120")
    assert run.data.info.baseline["mse"] > 1.04
    assert run.test()["mse"] < max_mse
