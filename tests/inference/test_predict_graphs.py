"""Predictions of graphs in tables: nodes of another graph, whole graphs, graphs of PyTorch Geometric."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers import own_files
from tests.helpers.marks import mark_slow_after
from tests.helpers.predictions import MovedRuns, are_close, predict
from trainer.inference import trained_model
from trainer.utils.errors import ConfigError

RUNS = {
    "nodes": ("edge_list", "model=gnn"),
    "graphs": ("edge_list_graphs", "model=graph_net"),
    "values": ("edge_list", "model=gcn", "data.target=size", "task=regression", "data.categorical=[graph]"),
    "tu": ("tu",),
}
"""Runs on the same tables; their columns are a number, a category, edge weights and edge types."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> MovedRuns:
    return MovedRuns(RUNS, tmp_path_factory.mktemp)


def read_rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_rows(file: Path, rows: list[dict[str, str]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def copy_tables(folder: Path, *graphs: str, drop: tuple[str, ...] = ()) -> Path:
    """Copy some graphs of the training tables, or all, without some columns."""
    source = Path(own_files.graph_tables())
    nodes = [row for row in read_rows(source / "nodes.csv") if not graphs or row["graph"] in graphs]
    names = {row["id"] for row in nodes}
    edges = [row for row in read_rows(source / "edges.csv") if row["source"] in names]
    for file, rows in (("nodes.csv", nodes), ("edges.csv", edges)):
        write_rows(folder / file, [{key: row[key] for key in row if key not in drop} for row in rows])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", mark_slow_after(2, RUNS))
def test_scores_of_the_predicted_test_rows_are_reported(name: str, runs: MovedRuns) -> None:
    rows, scores = runs[name].test_rows, runs[name].scores
    if name == "values":
        errors = np.array([row["value"] - row["target"] for row in rows])
        assert np.mean(errors**2) == pytest.approx(scores["mse"], rel=1e-6)
    else:
        assert np.mean([row["label"] == row["target"] for row in rows]) == scores["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "key"), [("nodes", "id"), ("graphs", "graph")])
def test_graphs_of_another_folder_are_predicted_by_name(name: str, key: str, runs: MovedRuns, tmp_path: Path) -> None:
    run = runs[name]
    folder = copy_tables(tmp_path / "all", drop=("label",))
    rows = {row[key]: row for row in predict(run.path, f"input={folder}")}
    assert list(rows) == list(dict.fromkeys(row[key] for row in read_rows(folder / "nodes.csv")))
    without_target = [{title: row[title] for title in row if title != "target"} for row in run.test_rows]
    assert are_close([rows[row[key]] for row in run.test_rows], without_target)
    some = predict(run.path, f"input={copy_tables(tmp_path / 'some', '3', '8', drop=('label',))}", "batch_size=1")
    assert are_close(some, [rows[row[key]] for row in some])


def make_data(folder: Path, graph: str) -> Any:
    """Return a graph of the tables as that of PyTorch Geometric, with attributes by column name."""
    from torch_geometric.data import Data

    nodes = [row for row in read_rows(folder / "nodes.csv") if row["graph"] == graph]
    number = {row["id"]: index for index, row in enumerate(nodes)}
    edges = [row for row in read_rows(folder / "edges.csv") if row["source"] in number]
    data = Data(
        x=torch.tensor([[float(row["size"])] for row in nodes]),
        edge_index=torch.tensor([[number[row[end]] for row in edges] for end in ("source", "target")]),
        edge_weight=torch.tensor([float(row["weight"]) for row in edges]),
        edge_type=torch.tensor([["far", "near"].index(row["type"]) for row in edges]),
    )
    data["colour"] = [row["colour"] for row in nodes]
    return data


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_graphs_in_memory_are_those_of_files(runs: MovedRuns, tmp_path: Path) -> None:
    folder = copy_tables(tmp_path / "some", "3", "8")
    data = [make_data(folder, graph) for graph in ("3", "8")]
    model = trained_model.load(runs["graphs"].path, "cpu")
    expected = predict(runs["graphs"].path, f"input={folder}")
    np.testing.assert_allclose(model.predict_proba(data)[:, 1], [row["p_star"] for row in expected], rtol=1e-5)
    model = trained_model.load(runs["nodes"].path, "cpu")
    expected = predict(runs["nodes"].path, f"input={copy_tables(tmp_path / 'one', '3')}")
    np.testing.assert_allclose(model.predict_proba(data[0])[:, 1], [row["p_star"] for row in expected], rtol=1e-5)
    both = model.predict_columns(data)
    assert both["id"][:2] == ["0/0", "0/1"]
    assert both["p_star"][: len(expected)] == pytest.approx([row["p_star"] for row in expected], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("x"), "graph 1: x is missing; it must have the columns size"),
        (lambda data: data.update(x=[[1.0, 2.0]] * 9), "graph 1: x has 2 columns instead of 1: size"),
        (lambda data: data.pop("edge_index"), "graph 1 is a dict without edge_index"),
        (lambda data: data["edge_index"][0].__setitem__(0, 99), "edge_index has a node outside of 0.."),
        (lambda data: data.pop("edge_type"), "edge_type is missing; the types of this run are far, near"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_invalid_graphs_in_memory_are_refused(change: Any, message: str, runs: MovedRuns, tmp_path: Path) -> None:
    data = make_data(copy_tables(tmp_path / "one", "3"), "3").to_dict()
    data["edge_index"] = data["edge_index"].tolist()
    change(data)
    with pytest.raises(ConfigError, match=message):
        trained_model.load(runs["nodes"].path, "cpu").predict(data)


def change_cell(folder: Path, file: str, key: str, value: str) -> None:
    rows = read_rows(folder / file)
    rows[1][key] = value
    write_rows(folder / file, rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "edges.csv").unlink(), "edges.csv does not exist"),
        (shutil.rmtree, r"input: .* does not exist"),
        (lambda folder: copy_tables(folder, drop=("size",)), "nodes.csv is missing columns of the training data: size"),
        (lambda folder: copy_tables(folder, drop=("id",)), "input: no column 'id' in .*nodes.csv"),
        (lambda folder: copy_tables(folder, drop=("type",)), "input: no column 'type' in .*edges.csv"),
        (lambda folder: change_cell(folder, "nodes.csv", "size", "huge"), r"nodes.csv: row 2 .*'size'.*'huge'"),
        (lambda folder: change_cell(folder, "edges.csv", "target", "g0n99"), r"edges.csv: row 2 .*node 'g0n99' is not"),
        (lambda folder: change_cell(folder, "edges.csv", "type", "nera"), r"edges.csv: row 2 .*no edge type 'nera'"),
    ],
)
def test_invalid_tables_are_refused(change: Any, message: str, runs: MovedRuns, tmp_path: Path) -> None:
    folder = copy_tables(tmp_path / "graph")
    change(folder)
    with pytest.raises(ConfigError, match=message):
        predict(runs["nodes"].path, f"input={folder}")


def test_other_columns_and_categories_are_named(
    runs: MovedRuns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_tables(tmp_path / "graph")
    rows = read_rows(folder / "nodes.csv")
    write_rows(folder / "nodes.csv", [{**row, "age": "3", "colour": "violet"} for row in rows])
    predict(runs["nodes"].path, f"input={folder}")
    err = capsys.readouterr().err
    assert "columns that are not in the training table are ignored: age" in err
    assert "categories in column 'colour' that no training row has: violet" in err


def cut_collection(folder: Path, count: int) -> Path:
    """Write the first graphs of the training collection, without their classes."""
    source, folder = Path(own_files.collection()), folder / "FEW"
    folder.mkdir(parents=True)
    for part, lines in {"graph_indicator": 5 * count, "node_labels": 5 * count}.items():
        text = (source / f"RINGS_{part}.txt").read_text().splitlines()[:lines]
        (folder / f"FEW_{part}.txt").write_text("\n".join(text))
    edges = [line for line in (source / "RINGS_A.txt").read_text().splitlines() if int(line.split(",")[0]) <= 5 * count]
    (folder / "FEW_A.txt").write_text("\n".join(edges))
    return folder


@pytest.mark.slow
def test_graphs_of_another_collection_are_numbered(runs: MovedRuns, tmp_path: Path) -> None:
    run = runs["tu"]
    rows = {row["graph"]: row for row in predict(run.path, f"input={own_files.collection()}")}
    assert list(rows) == list(range(1, 31))
    for row in run.test_rows:
        assert row["p_1"] == pytest.approx(rows[row["graph"]]["p_1"], rel=1e-6)
    few = predict(run.path, f"input={cut_collection(tmp_path, 7)}", "batch_size=2")
    assert are_close(few, [rows[graph] for graph in range(1, 8)])
    (tmp_path / "FEW" / "FEW_node_labels.txt").unlink()
    with pytest.raises(ConfigError, match="input: 0 columns of node_labels; this run has 1"):
        predict(run.path, f"input={tmp_path / 'FEW'}")


@pytest.mark.slow
def test_collection_in_memory_is_that_of_files(runs: MovedRuns) -> None:
    graphs, rings = [], [range(5 * graph, 5 * graph + 5) for graph in range(30)]
    for number, ring in enumerate(rings):
        edges = [(i, (i - 1) % 5) for i in range(5)] + [(0, 2)] * (number % 2 == 0)
        ends = torch.tensor(edges + [(b, a) for a, b in edges]).t()
        graphs.append({"x": torch.eye(3)[[node % 3 for node in ring]], "edge_index": ends})
    model = trained_model.load(runs["tu"].path, "cpu")
    expected = [row["p_1"] for row in predict(runs["tu"].path, f"input={own_files.collection()}")]
    np.testing.assert_allclose(model.predict_proba(graphs)[:, 1], expected, rtol=1e-5)
    graphs[1].pop("x")
    with pytest.raises(ConfigError, match="graph 2: x is missing"):
        model.predict(graphs)
