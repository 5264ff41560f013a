"""Graphs in the user's own tables: what is read, how it is cut, and that it can be learned from."""

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
from trainer.core.dataset import FullBatchSplit, Split
from trainer.engine.trainer import Trainer
from trainer.utils.errors import DataError


def whole(split: Split) -> dict[str, Tensor]:
    assert isinstance(split, FullBatchSplit)
    return split.full_batch.inputs


class TestOneGraph:
    def test_nodes_and_edges_are_where_the_tables_say(self, tmp_path: Path) -> None:
        data = load_graph(write(tmp_path))
        inputs = whole(data.train)
        assert inputs["edge_index"].tolist() == [[0, 1, 2, 3], [1, 2, 1, 0]]
        assert inputs["x"].flatten().tolist() == [-1, 1, 48, 68, 88], "mean 2 and deviation 1 of the training nodes"
        assert inputs["edge_weight"].tolist() == [1] * 4
        assert inputs["edge_type"].tolist() == [0] * 4
        assert inputs["edge_attr"].tolist() == [[1]] * 4
        asked = [
            (part.full_batch.output_index.tolist(), part.full_batch.target.tolist())
            for part in (data.train, data.val, data.test)
        ]  # type: ignore[attr-defined]
        assert asked == [([0, 1], [0, 1]), ([2], [0]), ([3], [1])]
        wanted = {"in_features": 1, "edge_features": 1, "num_relations": 1, "num_nodes": 5, "num_classes": 2}
        assert wanted.items() <= data.info.sizes.items()
        assert data.info.class_names == ["no", "yes"]

    def test_both_ways_unless_the_table_has_both(self, tmp_path: Path) -> None:
        inputs = whole(load_graph(write(tmp_path, edges=[*EDGES, "e,e"]), directed=False).train)
        assert inputs["edge_index"].t().tolist() == [[0, 1], [1, 2], [2, 1], [3, 0], [4, 4], [1, 0], [0, 3]]

    def test_what_edges_have_goes_with_them(self, tmp_path: Path) -> None:
        lines = ["source,target,weight,type,kind", "a,b,2,likes,x", "b,c,0,knows,y", "c,b,4,knows,x", "d,a,2,likes,x"]
        data = load_graph(write(tmp_path, edges=lines), directed=False)
        inputs = whole(data.train)
        assert inputs["edge_weight"].tolist() == [2, 0, 4, 2, 2, 2]
        assert inputs["edge_type"].tolist() == [1, 0, 0, 1, 1, 1]
        assert inputs["edge_attr"][:, 0].tolist() == pytest.approx([0, -(2**0.5), 2**0.5, 0, 0, 0])
        assert inputs["edge_attr"][:, 1:].tolist() == [[1, 0], [0, 1], [1, 0], [1, 0], [1, 0], [1, 0]]
        assert (data.info.sizes["edge_features"], data.info.sizes["num_relations"]) == (3, 2)
        bare = whole(load_graph(tmp_path, drop_columns=["weight", "kind"]).train)
        assert bare["edge_weight"].tolist() == bare["edge_attr"].flatten().tolist() == [1] * 4

    def test_columns_are_encoded_as_in_any_table(self, tmp_path: Path) -> None:
        nodes = [
            ",id,size,y,colour",
            *(f"{i},{i},{i % 7},{'yes' if i % 2 else 'no'},{'rg'[i % 3 > 0]}" for i in range(40)),
        ]
        data = load_graph(write(tmp_path, nodes, ["source,target", "0,1"]), drop_columns=[0], categorical=["size"])
        assert whole(data.train)["x"].shape == (40, 9)
        assert whole(data.train)["x"].sum(1).unique().tolist() == [2]
        assert [len(part.full_batch.output_index) for part in (data.train, data.val, data.test)] == [24, 8, 8]  # type: ignore[attr-defined]
        assert data.test.get_targets().bincount().tolist() == [4, 4]  # type: ignore[union-attr]

    def test_an_index_column_is_dropped_when_columns_are_named_by_number(self, tmp_path: Path) -> None:
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
        inputs = whole(load_graph(write(tmp_path, nodes, edges)).test)
        assert float(inputs["x"].abs().max()) < 10
        assert float(inputs["edge_attr"].abs().max()) < 10

    def test_nodes_without_features_have_their_degrees(self, tmp_path: Path) -> None:
        inputs = whole(load_graph(write(tmp_path), drop_columns=["size"]).train)
        expected = torch.tensor([[1, 1], [1, 2], [1, 1], [1, 0], [0, 0]]).float().log1p()
        torch.testing.assert_close(inputs["x"], expected)

    def test_numbers_can_be_learned_at_nodes(self, tmp_path: Path) -> None:
        nodes = ["id,size,y", *(f"{i},{i},{'' if i == 3 else 10 * i}" for i in range(20))]
        data = load_graph(write(tmp_path, nodes, ["source,target", "0,1"]), target_kind="number")
        assert sum(len(part.get_targets()) for part in (data.train, data.val, data.test)) == 19  # type: ignore[arg-type]
        assert data.train.get_targets().shape[1:] == (1,)  # type: ignore[union-attr]
        assert {"mse", "r2"} <= set(data.info.baseline)


class TestManyGraphs:
    def test_a_batch_holds_whole_graphs(self, tmp_path: Path) -> None:
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

    def test_targets_may_stand_on_the_nodes(self, tmp_path: Path) -> None:
        data = load_graphs(write(tmp_path, MANY, WITHIN), val=0.17, test=0.34)
        seen = [part.batch(torch.arange(len(part)), 0) for part in (data.train, data.val, data.test)]
        assert sorted(torch.cat([batch.inputs["sizes"] for batch in seen]).tolist()) == [1, 1, 1, 1, 2, 3]
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


def sorted_by_neighbours(folder: Path, nodes: int = 120) -> Path:
    """The class of a node is whether its neighbours' numbers are above zero; its own tells nothing."""
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


def words(folder: Path, *more: str) -> list[str]:
    return ["data=edge_list", f"data.path={folder}", "data.target=y", "data.directed=true", "model.dropout=0", *more]


@pytest.mark.parametrize(
    "more", [[], ["data.num_neighbors=[2,2]", "batch_size=24", "epochs=12"]], ids=["whole", "sampled"]
)
def test_links_in_tables_are_learned_from(tmp_path: Path, more: list[str]) -> None:
    run = words(sorted_by_neighbours(tmp_path), "epochs=60", *more)
    assert lab("model=sage", *run).test()["accuracy"] >= 0.9
    if not more:
        assert lab("model=mlp", *run).test()["accuracy"] <= 0.75


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.slow
def test_resume_between_sampled_batches_is_bit_exact(tmp_path: Path, workers: int) -> None:
    folder = sorted_by_neighbours(tmp_path, 40)
    sampled = words(folder, "model=gat", "data.num_neighbors=[2,1]", "batch_size=5", "epochs=2", "model.dropout=0.3")

    def make(manager: Any = None, callback: Any = None, num_workers: int = 0) -> Trainer:
        return lab(*sampled, f"num_workers={num_workers}", manager=manager, callback=callback).trainer

    straight = make()
    straight.fit()
    chain = ResumedRun(make, tmp_path / "run")
    (tmp_path / "run").mkdir()
    chain.start(StopAt(7))
    assert hash_state(chain.resume(num_workers=workers)) == hash_state(straight)


def test_ids_may_be_any_text_and_numbers_stay_texts(tmp_path: Path) -> None:
    nodes = [line.replace("a,1", "007,1").replace("b,3", "Ann O'Hara,3") for line in NODES]
    edges = ["source,target", "007,Ann O'Hara", "c,007"]
    assert whole(load_graph(write(tmp_path, nodes, edges)).train)["edge_index"].tolist() == [[0, 2], [1, 0]]


def test_the_table_format_is_printed(tmp_path: Path) -> None:
    assert load_graph(write(tmp_path)).info.file_summary == [
        "y: class, 2 classes, 1 missing value",
        "nodes.csv: 5 rows, with a header",
        "size: number, mean 42.8",
        "edges.csv: 4 rows, with a header",
    ]
