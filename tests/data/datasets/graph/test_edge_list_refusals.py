"""Errors for tables without a valid graph: row, id and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers.small_graphs import EDGES, MANY, NODES, WITHIN, load_graph, load_graphs, problem, write
from trainer.config import compose
from trainer.utils.errors import ConfigError


def get_edge_error(folder: Path, edge: str, header: str = "source,target") -> str:
    return problem(
        load_graph, write(folder, edges=[header, *(line + ",1" * header.count("weight") for line in EDGES[1:]), edge])
    )


def test_edge_with_unknown_node_raises(tmp_path: Path) -> None:
    message = get_edge_error(tmp_path, "a,zoe")
    assert "edges.csv: row 5 (line 6), column 'target': node 'zoe' is not among the 5 nodes of" in message
    assert "did you mean" not in message
    assert "column 'source': node 'A' is not among the 5 nodes" in get_edge_error(tmp_path, "A,b")
    assert "column 'target': empty cell; every row needs a value" in get_edge_error(tmp_path, "a,")


def test_edge_with_invalid_numeric_id_raises(tmp_path: Path) -> None:
    write(tmp_path, ["id,size,y", *(f"{i},{i},{i % 2}" for i in range(10))])
    write(tmp_path, [], ["source,target", "0,1", "2.0,3"])
    assert "row 2 (line 3), column 'source': node '2.0' is not among the 10 nodes" in (
        message := problem(load_graph, tmp_path)
    )
    assert "whose ids are written like '2'; use one spelling" in message
    for bad in ("10", "-1", "1.5", "nan"):
        write(tmp_path, [], ["source,target", f"0,{bad}"])
        assert f"row 1 (line 2), column 'target': node '{bad}' is not among the 10 nodes" in problem(
            load_graph, tmp_path
        )


def test_ids_are_texts_of_any_length(tmp_path: Path) -> None:
    ids = ["900719925474099200", "900719925474099201", "007", "7", "1_0", "10", "a", "b", "c", "d"]
    write(tmp_path, ["id,size,y", *(f"{name},{i},{i % 2}" for i, name in enumerate(ids))])
    write(tmp_path, [], ["source,target", "900719925474099201,007", "7,1_0", "a,10"])
    edge_index = load_graph(tmp_path).train.batch(torch.zeros(1, dtype=torch.long), 0).inputs["edge_index"]
    assert edge_index.tolist() == [[1, 3, 6], [2, 4, 5]]
    long_id = "x" * 140_000
    write(tmp_path, ["id,size,y", *(f"{long_id if i == 3 else i},{i},{i % 2}" for i in range(10))])
    write(tmp_path, [], ["source,target", f"{long_id},5"])
    assert load_graph(tmp_path).train.batch(torch.zeros(1, dtype=torch.long), 0).inputs["edge_index"].tolist() == [
        [3],
        [5],
    ]
    write(tmp_path, [], ["source,target", f"{long_id}y,5"])
    assert len(problem(load_graph, tmp_path)) < 1000, "only the beginning is shown"
    write(tmp_path, ["id,size,y", *(f"{name},{i},{i % 2}" for i, name in enumerate(ids))])
    for spelling, known_id in (("900719925474099201.0", "900719925474099201"), ("07", "7")):
        write(tmp_path, [], ["source,target", f"a,{spelling}"])
        assert f"whose ids are written like '{known_id}'; use one spelling" in problem(load_graph, tmp_path)


def test_columns_with_numeric_names_are_selected_by_name(tmp_path: Path) -> None:
    write(tmp_path, ["id,2019,2020,y", *(f"n{i},{i},{i},{i % 2}" for i in range(10))], ["source,target", "n0,n1"])
    assert load_graph(tmp_path, drop_columns=[2019]).info.sizes["in_features"] == 1
    data = load_graph(tmp_path, target=2020, task_target="number", drop_columns=["y"])
    assert "2020: target, number, mean 4.5" in data.info.file_summary
    assert data.info.sizes["in_features"] == 1, "2019 alone"
    assert load_graph(tmp_path, categorical=[2019]).info.sizes["in_features"] > 2
    assert "no column '2021' in" in problem(load_graph, tmp_path, target=2021)
    message = problem(load_graph, tmp_path, drop_columns=[2018], categorical=["sise"])
    assert "drop_columns: no column 2018" in message
    assert "categorical: no column 'sise'" in message


@pytest.mark.parametrize("bad", ["-0.5", "nan", "inf", "1e300", "1e99", "3.4028235e38", "heavy", ""])
def test_invalid_edge_weight_raises(tmp_path: Path, bad: str) -> None:
    message = get_edge_error(tmp_path, f"a,c,{bad}", "source,target,weight")
    assert (
        f"row 5 (line 6), column 'weight': {bad!r} is not a weight; it must be a number >= 0, below 3.4e+38" in message
    )


def test_duplicate_or_empty_node_id_raises(tmp_path: Path) -> None:
    assert "row 6 (line 7), column 'id': 'b' is a duplicate of row 2" in problem(
        load_graph, write(tmp_path, [*NODES, "b,1,no,test"])
    )
    assert "row 6 (line 7), column 'id': empty" in problem(load_graph, write(tmp_path, [*NODES, ",1,no,test"]))


def test_missing_column_raises_with_nearest_name(tmp_path: Path) -> None:
    assert "path: no column 'source' in" in (
        message := problem(load_graph, write(tmp_path, edges=["sorce,target", "a,b"]))
    )
    assert "did you mean sorce? (columns: sorce, target)" in message
    assert "path: no column 'id' in" in problem(load_graph, write(tmp_path, ["name,size,y", "a,1,no", "b,2,yes"]))
    write(tmp_path)
    assert "target: no column 'z' in" in problem(load_graph, tmp_path, target="z")
    assert "drop_columns: no column 'sise' in nodes.csv or edges.csv; did you mean size?" in problem(
        load_graph, tmp_path, drop_columns=["sise"]
    )
    assert "drop_columns: no column 0 in nodes.csv or edges.csv" in problem(load_graph, tmp_path, drop_columns=[0])
    assert "path: no column 'graph' in" in problem(load_graphs, tmp_path)


def test_folder_without_graph_tables_raises(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert "give the folder of edges.csv and nodes.csv" in problem(load_graph, folder / "edges.csv")
    assert "does not exist" in problem(load_graph, folder / "gone")
    (folder / "edges.csv").rename(folder / "edge.csv")
    assert "edges.csv does not exist; did you mean edge.csv?" in problem(load_graph, folder)


def test_uninformative_targets_raise(tmp_path: Path) -> None:
    nodes = ["id,size,y", *(f"{i},{i},{{}}" for i in range(30))]
    edges = ["source,target", "0,1"]
    assert "only missing values" in problem(load_graph, write(tmp_path, [line.format("") for line in nodes], edges))
    assert "only one class, 'x'" in problem(load_graph, write(tmp_path, [line.format("x") for line in nodes], edges))
    numeric_nodes = [nodes[0], *(line.format(k / 7) for k, line in enumerate(nodes[1:]))]
    assert "use task=regression" in problem(load_graph, write(tmp_path, numeric_nodes, edges))
    numeric_nodes[5] = "4,4,much"
    message = problem(load_graph, write(tmp_path, numeric_nodes, edges), target_kind="number")
    assert "row 5 (line 6), column 'y': 'much' is not a finite number" in message
    assert "'tain' is not a split; it must be train, val or test; did you mean train?" in problem(
        load_graph, write(tmp_path, [line.replace("train", "tain") for line in NODES])
    )


def test_missing_feature_values_are_reported(tmp_path: Path) -> None:
    write(tmp_path, [line.replace("c,50", "c,?") for line in NODES])
    message = problem(load_graph, tmp_path)
    assert "column 'size': missing value ('?')" in message
    assert "data.nan=fill" in message
    assert "drop" not in message
    assert load_graph(tmp_path, nan="fill").info.sizes["in_features"] == 1


def test_inconsistent_graphs_raise(tmp_path: Path) -> None:
    mixed_targets = [line.replace("3,r,no", "3,r,yes") for line in MANY]
    assert "row 6 (line 7), column 'y': graph 'r' has 'yes' here and 'no' in row 4" in problem(
        load_graphs, write(tmp_path, mixed_targets, WITHIN)
    )
    mixed_splits = ["id,graph,y,split", *(f"{line},{'val' if line[0] == '2' else 'train'}" for line in MANY[1:])]
    assert "row 2 (line 3), column 'split': graph 'p' has 'val' here and 'train' in row 1" in problem(
        load_graphs, write(tmp_path, mixed_splits, WITHIN)
    )
    assert "node '3' is not among the 9 nodes" in (
        message := problem(load_graphs, write(tmp_path, MANY, ["graph,source,target", "p,1,3"]))
    )
    assert message.endswith("in this graph")
    unique_ids = [f"{line.replace(',', f'{k},', 1)}" for k, line in enumerate(MANY)]
    crossing = ["source,target", "11,22", "11,13"]
    unique_ids[0] = MANY[0]
    assert "row 2 (line 3), column 'target': this node belongs to another graph than the source" in problem(
        load_graphs, write(tmp_path, unique_ids, crossing)
    )
    graphs = ["graph,y", *(f"{name},{'yes' if name in 'qsu' else 'no'}" for name in "pqrstu")]
    assert "no graph 'u' in" in problem(load_graphs, write(tmp_path, MANY, WITHIN, graphs[:-1]))
    assert "row 7 (line 8), column 'graph': this graph has no node in" in problem(
        load_graphs, write(tmp_path, MANY, WITHIN, [*graphs, "v,no"])
    )
    assert "'p' is a duplicate of row 1" in problem(load_graphs, write(tmp_path, MANY, WITHIN, [*graphs, "p,no"]))
    assert "row 2 (line 3), column 'y': missing value" in problem(
        load_graphs, write(tmp_path, MANY, WITHIN, [line.replace("q,yes", "q,") for line in graphs])
    )


def test_an_incompatible_model_is_reported_before_any_file_is_read() -> None:
    with pytest.raises(ConfigError, match="data edge_list gives"):
        compose.compose(["model=lstm", "data=edge_list", "data.path=x", "data.target=y"])
