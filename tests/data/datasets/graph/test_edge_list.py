"""Graphs in CSV tables: inputs, splits, targets, and learning from edges."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import lab
from tests.helpers.resumed_runs import ResumedRun, hash_state
from tests.helpers.small_graphs import EDGES, MANY, NODES, WITHIN, load_graph, load_graphs, write
from tests.helpers.tiny import StopAt
from trainer.core.split import FullBatchSplit, Split
from trainer.engine.trainer import Trainer
from trainer.utils.errors import DataError


def get_full_batch_inputs(split: Split) -> dict[str, Tensor]:
    assert isinstance(split, FullBatchSplit)
    return split.full_batch.inputs


class TestOneGraph:
    def test_tables_become_graph_inputs_and_targets(self, tmp_path: Path) -> None:
        data = load_graph(write(tmp_path))
        inputs = get_full_batch_inputs(data.train)
        assert inputs["edge_index"].tolist() == [[0, 1, 2, 3], [1, 2, 1, 0]]
        assert inputs["x"].flatten().tolist() == [-1, 1, 48, 68, 88], "mean 2 and deviation 1 of the training nodes"
        assert inputs["edge_weight"].tolist() == [1] * 4
        assert inputs["edge_type"].tolist() == [0] * 4
        assert inputs["edge_attr"].tolist() == [[1]] * 4
        labels = [
            (part.full_batch.output_index.tolist(), part.full_batch.target.tolist())
            for part in (data.train, data.val, data.test)
        ]  # type: ignore[attr-defined]
        assert labels == [([0, 1], [0, 1]), ([2], [0]), ([3], [1])]
        expected_sizes = {"in_features": 1, "edge_features": 1, "num_relations": 1, "num_nodes": 5, "num_classes": 2}
        assert expected_sizes.items() <= data.info.sizes.items()
        assert data.info.class_names == ["no", "yes"]

    def test_undirected_edges_are_mirrored_without_duplicates(self, tmp_path: Path) -> None:
        inputs = get_full_batch_inputs(load_graph(write(tmp_path, edges=[*EDGES, "e,e"]), directed=False).train)
        assert inputs["edge_index"].t().tolist() == [[0, 1], [1, 2], [2, 1], [3, 0], [4, 4], [1, 0], [0, 3]]

    def test_edge_columns_are_mirrored_with_edges(self, tmp_path: Path) -> None:
        lines = ["source,target,weight,type,kind", "a,b,2,likes,x", "b,c,0,knows,y", "c,b,4,knows,x", "d,a,2,likes,x"]
        data = load_graph(write(tmp_path, edges=lines), directed=False)
        inputs = get_full_batch_inputs(data.train)
        assert inputs["edge_weight"].tolist() == [2, 0, 4, 2, 2, 2]
        assert inputs["edge_type"].tolist() == [1, 0, 0, 1, 1, 1]
        assert inputs["edge_attr"][:, 0].tolist() == pytest.approx([0, -(2**0.5), 2**0.5, 0, 0, 0])
        assert inputs["edge_attr"][:, 1:].tolist() == [[1, 0], [0, 1], [1, 0], [1, 0], [1, 0], [1, 0]]
        assert (data.info.sizes["edge_features"], data.info.sizes["num_relations"]) == (3, 2)
        plain_inputs = get_full_batch_inputs(load_graph(tmp_path, drop_columns=["weight", "kind"]).train)
        assert plain_inputs["edge_weight"].tolist() == plain_inputs["edge_attr"].flatten().tolist() == [1] * 4

    def test_node_columns_are_encoded_like_csv_columns(self, tmp_path: Path) -> None:
        nodes = [
            ",id,size,y,colour",
            *(f"{i},{i},{i % 7},{'yes' if i % 2 else 'no'},{'rg'[i % 3 > 0]}" for i in range(40)),
        ]
        data = load_graph(write(tmp_path, nodes, ["source,target", "0,1"]), drop_columns=[0], categorical=["size"])
        assert get_full_batch_inputs(data.train)["x"].shape == (40, 9)
        assert get_full_batch_inputs(data.train)["x"].sum(1).unique().tolist() == [2]
        assert [len(part.full_batch.output_index) for part in (data.train, data.val, data.test)] == [24, 8, 8]  # type: ignore[attr-defined]
        assert data.test.get_targets().bincount().tolist() == [4, 4]  # type: ignore[union-attr]

    def test_index_column_with_numeric_names_is_reported_and_dropped(self, tmp_path: Path) -> None:
        nodes = [",id,0,1,y", *(f"{i},n{i},{i % 7},{i % 5},{i % 2}" for i in range(40))]
        write(tmp_path, nodes, ["source,target", "n0,n1"])
        with pytest.raises(DataError, match=r"holds row numbers; data.drop_columns=\[-5\] drops it"):
            load_graph(tmp_path)
        assert load_graph(tmp_path, drop_columns=[-5]).info.sizes["in_features"] == 2
        assert load_graph(tmp_path, drop_columns=[-5, 0]).info.sizes["in_features"] == 1

    def test_columns_constant_in_training_stay_finite(self, tmp_path: Path) -> None:
        nodes = [
            "id,c,y,split",
            *(
                f"n{i},{0.1 if i < 24 else 0.2},{i % 2},{'train' if i < 24 else 'val' if i < 30 else 'test'}"
                for i in range(40)
            ),
        ]
        edges = ["source,target,c", *(f"n{i},n{(i + 1) % 40},{0.1 if i < 23 else 0.2}" for i in range(40))]
        inputs = get_full_batch_inputs(load_graph(write(tmp_path, nodes, edges)).test)
        assert float(inputs["x"].abs().max()) < 10
        assert float(inputs["edge_attr"].abs().max()) < 10

    def test_nodes_without_features_have_their_degrees(self, tmp_path: Path) -> None:
        inputs = get_full_batch_inputs(load_graph(write(tmp_path), drop_columns=["size"]).train)
        expected = torch.tensor([[1, 1], [1, 2], [1, 1], [1, 0], [0, 0]]).float().log1p()
        torch.testing.assert_close(inputs["x"], expected)

    def test_numeric_node_targets_skip_missing_values(self, tmp_path: Path) -> None:
        nodes = ["id,size,y", *(f"{i},{i},{'' if i == 3 else 10 * i}" for i in range(20))]
        data = load_graph(write(tmp_path, nodes, ["source,target", "0,1"]), target_kind="number")
        assert sum(len(part.get_targets()) for part in (data.train, data.val, data.test)) == 19  # type: ignore[arg-type]
        assert data.train.get_targets().shape[1:] == (1,)  # type: ignore[union-attr]
        assert {"mse", "r2"} <= set(data.info.baseline)


class TestManyGraphs:
    def test_batch_is_disjoint_union_of_graphs(self, tmp_path: Path) -> None:
        data = load_graphs(write(tmp_path, MANY, WITHIN, ["graph,y,split", *(f"{g},{y},{s}" for g, y, s in GRAPHS)]))
        sizes = data.train.batch(torch.arange(3), 0).inputs["sizes"]
        batch = data.train.batch(torch.stack([(sizes == size).nonzero()[0, 0] for size in (1, 3, 2)]), 0)
        assert batch.target is not None
        assert batch.target.tolist() == [1, 0, 0]
        assert batch.inputs["sizes"].tolist() == [1, 3, 2]
        assert batch.inputs["edge_index"].t().tolist() == [[3, 1], [1, 2], [4, 5], [5, 4]]
        assert batch.inputs["edge_type"].tolist() == [0] * 4
        torch.testing.assert_close(
            batch.inputs["x"][:4].expm1(), torch.tensor([[0, 0], [1, 1], [0, 1], [1, 0]]).float()
        )
        assert (len(data.val), len(data.test)) == (1, 2)
        assert data.info.sizes["cardinalities"] is None

    def test_graph_targets_are_read_from_node_table(self, tmp_path: Path) -> None:
        data = load_graphs(write(tmp_path, MANY, WITHIN), val=0.17, test=0.34)
        batches = [part.batch(torch.arange(len(part)), 0) for part in (data.train, data.val, data.test)]
        assert sorted(torch.cat([batch.inputs["sizes"] for batch in batches]).tolist()) == [1, 1, 1, 1, 2, 3]
        assert data.info.sizes["in_features"] == 2

    def test_features_are_standardized_by_training_graphs(self, tmp_path: Path) -> None:
        nodes = ["id,graph,size", *(f"{i},{'pqrstu'[i // 2]},{i if i < 4 else 1000}" for i in range(12))]
        graphs = ["graph,y,split", "p,no,train", "q,yes,train", "r,no,val", "s,no,test", "t,yes,test", "u,no,test"]
        data = load_graphs(write(tmp_path, nodes, ["source,target,length", "0,1,1", "2,3,3", "4,5,99"], graphs))
        batch = data.train.batch(torch.arange(2), 0)
        assert float(batch.inputs["x"].mean()) == pytest.approx(0, abs=1e-6)
        assert batch.inputs["edge_attr"].flatten().tolist() == [-1, 1]
        assert data.val.batch(torch.tensor([0]), 0).inputs["edge_attr"].item() == 97


GRAPHS = [("s", "yes", "train"), ("r", "no", "train"), ("p", "no", "train"), ("q", "yes", "dev"), ("t", "no", "test")]
GRAPHS += [("u", "yes", "test")]


def write_neighbor_classes(folder: Path, nodes: int = 120) -> Path:
    """Write a graph whose node classes are the sign of the neighbors' values, independent of the node's own."""
    draw = random.Random(0)
    sizes = [draw.choice([-1, 1]) * draw.uniform(0.5, 1) for _ in range(nodes)]
    edges, label = [], []
    for node in range(nodes):
        side = draw.choice([-1, 1])
        near = draw.sample([other for other in range(nodes) if sizes[other] * side > 0 and other != node], 4)
        edges += [f"n{other},n{node}" for other in near]
        label.append("up" if side > 0 else "down")
    lines = [f"n{node},{sizes[node]:.4f},{label[node]}" for node in range(nodes)]
    return write(folder, ["id,size,y", *lines], ["source,target", *edges])


def make_overrides(folder: Path, *extra: str) -> list[str]:
    return ["data=edge_list", f"data.path={folder}", "data.target=y", "data.directed=true", "model.dropout=0", *extra]


@pytest.mark.parametrize(
    "extra", [[], ["data.num_neighbors=[2,2]", "batch_size=24", "epochs=12"]], ids=["full_batch", "sampled"]
)
def test_sage_learns_from_edges_and_mlp_does_not(tmp_path: Path, extra: list[str]) -> None:
    overrides = make_overrides(write_neighbor_classes(tmp_path), "epochs=60", *extra)
    assert lab("model=sage", *overrides).test()["accuracy"] >= 0.9
    if not extra:
        assert lab("model=mlp", *overrides).test()["accuracy"] <= 0.75


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.slow
def test_resume_between_sampled_batches_is_bit_exact(tmp_path: Path, workers: int) -> None:
    folder = write_neighbor_classes(tmp_path, 40)
    overrides = make_overrides(
        folder, "model=gat", "data.num_neighbors=[2,1]", "batch_size=5", "epochs=2", "model.dropout=0.3"
    )

    def make(manager: Any = None, callback: Any = None, num_workers: int = 0) -> Trainer:
        return lab(*overrides, f"num_workers={num_workers}", manager=manager, callback=callback).trainer

    uninterrupted = make()
    uninterrupted.fit()
    resumed = ResumedRun(make, tmp_path / "run")
    (tmp_path / "run").mkdir()
    resumed.start(StopAt(7))
    assert hash_state(resumed.resume(num_workers=workers)) == hash_state(uninterrupted)


def test_node_ids_are_texts(tmp_path: Path) -> None:
    nodes = [line.replace("a,1", "007,1").replace("b,3", "Ann O'Hara,3") for line in NODES]
    edges = ["source,target", "007,Ann O'Hara", "c,007"]
    assert get_full_batch_inputs(load_graph(write(tmp_path, nodes, edges)).train)["edge_index"].tolist() == [
        [0, 2],
        [1, 0],
    ]


def test_file_summary_describes_the_tables(tmp_path: Path) -> None:
    assert load_graph(write(tmp_path)).info.file_summary == [
        "y: class, 2 classes, 1 missing value",
        "nodes.csv: 5 rows, with a header",
        "size: number, mean 42.8",
        "edges.csv: 4 rows, with a header",
    ]
