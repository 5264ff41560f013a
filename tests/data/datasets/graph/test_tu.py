"""TU collections: file format, standardization, folds and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.own_files import collection
from tests.helpers.real_data import FOLDER, missing_reason
from trainer.core.preprocessing import Preprocessing
from trainer.data.datasets.graph.tu import TU, PinnedTU
from trainer.data.readers import tu_format
from trainer.data.splits import splitting
from trainer.utils.errors import DataError

FILES = {
    "A": "1, 2\n2, 1\n4, 6\n6,5\n",
    "graph_indicator": "1\n1\n2\n3\n3\n3\n",
    "graph_labels": "7\n-1\n7\n",
    "node_labels": "0\n5\n2\n2\n0\n5\n",
    "node_attributes": "1.5, 0\n-2, 1\n0, 2\n0, 3\n0, 4\n1e1, 5\n",
    "edge_labels": "1\n1\n0\n3\n",
}


def write(folder: Path, changes: dict[str, str | None] | None = None, name: str = "TOY") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, text in (FILES | (changes or {})).items():
        if text is not None:
            (folder / f"{name}_{part}.txt").write_text(text)
    return folder


def test_collection_files_are_parsed(tmp_path: Path) -> None:
    graphs = tu_format.read(write(tmp_path), "TOY", Preprocessing())
    assert graphs.classes == ["-1", "7"]
    assert graphs.label.tolist() == [1, 0, 1]
    assert graphs.node_codes.lengths.tolist() == [2, 1, 3]
    assert graphs.node_codes.values.tolist() == torch.eye(3)[[0, 2, 1, 1, 0, 2]].tolist()
    assert graphs.node_values.values[:, 0].tolist() == [1.5, -2, 0, 0, 0, 10]
    assert graphs.edges.lengths.tolist() == [2, 0, 2]
    assert graphs.edges.values.tolist() == [[0, 1], [1, 0], [0, 2], [2, 1]]
    assert graphs.edge_codes.values.tolist() == torch.eye(3)[[1, 1, 0, 2]].tolist()
    assert graphs.edge_values.values.shape == (4, 0)


def test_edges_in_any_order_keep_their_labels(tmp_path: Path) -> None:
    shuffled_files = {"A": "6,5\n1,2\n4,6\n2,1\n", "edge_labels": "3\n1\n0\n1\n"}
    graphs = tu_format.read(write(tmp_path, shuffled_files), "TOY", Preprocessing())
    assert graphs.edges.values.tolist() == [[0, 1], [1, 0], [2, 1], [0, 2]]
    assert graphs.edge_codes.values.argmax(1).tolist() == [1, 1, 2, 0]


REFUSALS = [
    ("A", "1, 2\n2, x\n", r"TOY_A\.txt:2: expected 2 integers, found '2, x'"),
    ("A", "1, 2\n2\n", r"TOY_A\.txt:2: expected 2 integers, found '2'"),
    ("A", "1, 2\n\n2, 1\n", r"TOY_A\.txt:2: expected 2 integers, found ''"),
    ("A", "", r"TOY_A\.txt:1: expected 2 integers, found ''"),
    ("A", "1, 2\n1_0, 2\n", r"TOY_A\.txt:2: expected 2 integers, found '1_0, 2'"),
    ("graph_labels", "1\n9007199254740993\n9007199254740992\n", r"labels\.txt:2: expected 1 integer"),
    ("node_attributes", "1,1\n1,1\n1,1\n1,1e300\n1,1\n1,1\n", r"attributes\.txt:4: expected 2 numbers"),
    ("A", "1, 2\n1.5, 2\n", r"TOY_A\.txt:2: expected 2 integers"),
    ("A", "1, 2\n2, 7\n", r"TOY_A\.txt:2: edge 2, 7, but nodes are 1\.\.6"),
    ("A", "0, 2\n", r"TOY_A\.txt:1: edge 0, 2, but nodes are 1\.\.6"),
    ("A", "1, 2\n2, 3\n", r"TOY_A\.txt:2: the edge connects graph 1 with graph 2"),
    ("graph_indicator", "1\n1\n3\n3\n3\n3\n", r"indicator\.txt:3: graph 3, but graphs must be 1\.\.3, sorted and with"),
    ("graph_indicator", "1\n2\n1\n3\n3\n3\n", r"indicator\.txt:3: graph 1, but graphs"),
    ("graph_indicator", "1\n1\n2\n4\n4\n4\n", r"indicator\.txt:4: graph 4, but graphs must be 1\.\.3"),
    ("graph_indicator", "1\n1\n2\n2\n2\n2\n", r"indicator\.txt: nodes of 2 graphs, but 3 have labels"),
    ("graph_labels", "7\nyes\n7\n", r"labels\.txt:2: expected 1 integer, found 'yes'"),
    ("node_labels", "0\n5\n2\n", r"node_labels\.txt: 3 lines for 6 nodes"),
    ("edge_labels", "0\n", r"edge_labels\.txt: 1 lines for 4 edges"),
    ("node_attributes", "1,1\n1,1\n1,nan\n1,1\n1,1\n1,1\n", r"attributes\.txt:3: expected 2 numbers, found '1,nan'"),
    ("graph_labels", None, r"TOY_graph_labels\.txt does not exist"),
]


@pytest.mark.parametrize(("part", "text", "message"), REFUSALS)
def test_errors_are_reported_with_file_and_line(part: str, text: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        tu_format.read(write(tmp_path, {part: text}), "TOY", Preprocessing())


def test_find_collection(tmp_path: Path) -> None:
    assert tu_format.find_collection(str(write(tmp_path)), None) == (tmp_path, "TOY")
    with pytest.raises(DataError, match=r"it has TOY; there is no TOYS_A\.txt"):
        tu_format.find_collection(str(tmp_path), "TOYS")
    write(tmp_path, name="OTHER")
    with pytest.raises(DataError, match=r"it has OTHER, TOY; give data\.name"):
        tu_format.find_collection(str(tmp_path), None)
    assert tu_format.find_collection(str(tmp_path), "OTHER") == (tmp_path, "OTHER")
    raw = write(tmp_path / "geometric" / "TOY" / "raw")
    assert tu_format.find_collection(str(raw.parent), None) == (raw, "TOY")
    assert tu_format.find_collection(str(raw.parent.parent), "TOY") == (raw, "TOY")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"it has no file NAME_A\.txt"):
        tu_format.find_collection(str(tmp_path / "empty"), None)
    with pytest.raises(DataError, match=r"path: .*nowhere does not exist"):
        tu_format.find_collection(str(tmp_path / "nowhere"), None)


def test_hidden_collections_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, name=".TOY")
    write(tmp_path / "raw")
    assert tu_format.find_collection(str(tmp_path), None) == (tmp_path / "raw", "TOY")


def load_tu(folder: Path, **changes: Any) -> TU:
    return TU(**{"path": str(folder), "name": None, "fold": 0, "folds": 3, "seed": 0, **changes})


def test_attributes_are_standardized_and_labels_are_one_hot(tmp_path: Path) -> None:
    data = load_tu(write(tmp_path))
    for part in (data.train, data.val, data.test):
        assert set(part.nodes["x"].values[:, :3].flatten().tolist()) == {0.0, 1.0}
    values = data.train.nodes["x"].values[:, 3:]
    torch.testing.assert_close(values.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    assert all(float(spread) in (0.0, pytest.approx(1.0)) for spread in values.std(0, correction=0))
    assert data.info.sizes["in_features"] == 5
    assert data.info.sizes["edge_features"] == 3
    assert data.info.sizes["out_features"] == 1
    assert data.info.class_names == ["-1", "7"]


def test_nodes_without_features_get_their_degree(tmp_path: Path) -> None:
    data = load_tu(write(tmp_path, {"node_labels": None, "node_attributes": None, "edge_labels": None}))
    degrees = {1.0: {0.0}, 2.0: {1.0}, 3.0: {0.0, 1.0}}
    values_by_size: dict[float, set[float]] = {}
    for part in (data.train, data.val, data.test):
        x = part.nodes["x"].values
        assert x.shape[1] == 1
        values_by_size[float(len(x))] = set(x.flatten().tolist())
    assert {size: len(values) for size, values in values_by_size.items()} == {
        size: len(v) for size, v in degrees.items()
    }
    assert data.info.sizes["edge_features"] == 0


def test_invalid_folds_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=r"fold: 3 given; it must be in 0\.\.2 for 3 folds"):
        load_tu(tmp_path, fold=3)
    with pytest.raises(DataError, match=r"folds: 2 given; it must be 3 \(train, validation, test\) to 3 \(graphs\)"):
        load_tu(tmp_path, folds=2)
    with pytest.raises(DataError, match=r"folds: 4 given"):
        load_tu(tmp_path, folds=4)


class TestFolds:
    labels = torch.tensor([0] * 125 + [1] * 63 + [2] * 7)

    def test_splits_are_disjoint_complete_and_stratified(self) -> None:
        for seed in range(5):
            parts = splitting.make_folds(self.labels, 10, seed)
            assert torch.cat(parts).sort().values.tolist() == list(range(195))
            assert {len(part) for part in parts} == {19, 20}
            for part in parts:
                counts = self.labels[part].bincount(minlength=3)
                for count, total in zip(counts.tolist(), (125, 63, 7), strict=True):
                    assert abs(count - total / 10) < 1.5

    def test_the_seed_determines_the_split(self) -> None:
        one, again, other = (torch.cat(splitting.make_folds(self.labels, 10, seed)) for seed in (1, 1, 2))
        assert torch.equal(one, again)
        assert not torch.equal(one, other)

    def test_folds_validate_and_test_every_row_once(self) -> None:
        parts = splitting.make_folds(self.labels, 10, 0)
        folds = [splitting.split_by_fold(parts, fold) for fold in range(10)]
        for train, val, test in folds:
            assert torch.cat((train, val, test)).sort().values.tolist() == list(range(195))
        for position in (1, 2):
            assert torch.cat([indices[position] for indices in folds]).sort().values.tolist() == list(range(195))


@pytest.mark.slow
def test_gin_distinguishes_chords_in_rings_and_mlp_does_not() -> None:
    overrides = (
        "model=graph_net",
        "data=tu",
        f"data.path={collection()}",
        "data.folds=3",
        "model.hidden=[16,16]",
        "ema=0.9",
    )
    gin_accuracy, mlp_accuracy = (
        lab(*overrides, "epochs=40", f"model.conv={conv}").test()["accuracy"] for conv in ("gin", "none")
    )
    assert gin_accuracy > 0.9 > 0.7 > mlp_accuracy


@pytest.mark.parametrize(
    ("name", "graphs", "nodes", "edges", "sizes", "classes"),
    [
        ("MUTAG", 188, 3371, 7442, (7, 4), [63, 125]),
        pytest.param("PROTEINS", 1113, 43471, 162088, (4, 0), [663, 450], marks=pytest.mark.slow),
    ],
)
def test_data_sets_match_the_literature(
    name: Any, graphs: int, nodes: int, edges: int, sizes: tuple[int, int], classes: list[int]
) -> None:
    if reason := missing_reason(f"tu_{name.lower()}"):
        pytest.skip(reason)
    data = PinnedTU(name, fold=3, folds=10, seed=0, data_dir=str(FOLDER))
    parts = (data.train, data.val, data.test)
    assert sum(map(len, parts)) == graphs
    assert sum(int(part.sizes.sum()) for part in parts) == nodes
    assert sum(len(part.edges.values) for part in parts) == edges
    assert (data.info.sizes["in_features"], data.info.sizes["edge_features"]) == sizes
    assert torch.cat([part.target for part in parts]).bincount().tolist() == classes
