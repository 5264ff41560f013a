"""Tables of regions over time: formats, labels, standardization, splits and graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.region_tables import NAMES, read_tables, write_table, write_tables
from trainer.core.batch import Batch
from trainer.data.datasets.graph.parcel_series import ParcelSeries
from trainer.data.encoding import correlation
from trainer.data.splits.graph_batches import SplitWithSharedInputs


def load_batch(data: ParcelSeries, split: str = "train") -> Batch:
    selected_split = getattr(data, split)
    return selected_split.to_model_inputs(selected_split.batch(torch.arange(len(selected_split)), 0))


def get_tables(data: ParcelSeries) -> list[np.ndarray]:
    """Return the values of each training table."""
    assert isinstance(data.train, SplitWithSharedInputs)
    x = data.train.rows.inputs["x"]  # type: ignore[attr-defined]
    return [part[..., 0].numpy() for part in x.values.split(x.lengths.tolist())]


def test_folders_are_classes_and_tables_are_padded(tmp_path: Path) -> None:
    data = read_tables(write_tables(tmp_path))
    train_batch = load_batch(data)
    assert train_batch.target is not None
    assert [load_batch(data, split).target.bincount().tolist() for split in ("train", "val", "test")] == [  # type: ignore[union-attr]
        [6, 6],
        [2, 2],
        [2, 2],
    ]
    lengths = train_batch.inputs["lengths"]
    assert train_batch.inputs["x"].shape == (12, int(lengths.max()), 5, 3)
    padding = torch.arange(int(lengths.max())) >= lengths[:, None]
    assert padding.any()
    assert (train_batch.inputs["x"][padding] == 0).all()
    sizes = {"in_features": 3, "num_nodes": 5, "seq_len": 9, "num_classes": 2, "out_features": 1}
    assert data.info.sizes == sizes
    assert data.info.class_names == ["calm", "wild"]
    assert data.info.baseline["accuracy"] == 0.5


def test_graph_is_mean_correlation_of_training_tables(tmp_path: Path) -> None:
    data = read_tables(write_tables(tmp_path / "all"), top_k=1)
    strength = torch.stack([correlation.absolute_correlation(torch.from_numpy(run)) for run in get_tables(data)]).mean(
        0
    )
    edge_index, edge_weight = correlation.top_k_edges(strength, 1)
    inputs = load_batch(data, "test").inputs
    assert torch.equal(inputs["edge_index"], edge_index)
    torch.testing.assert_close(inputs["edge_weight"], edge_weight, atol=1e-5, rtol=0)
    weights = dict(zip(map(tuple, edge_index.t().tolist()), edge_weight.tolist(), strict=True))
    assert weights[0, 1] > 0.9, "regions of negative correlation are linked by its absolute value"
    assert 4 not in edge_index, "a constant region has no edge"
    torch.testing.assert_close(
        inputs["x"][0, 0, :, 1:], correlation.node_roles(strength, edge_index), atol=1e-4, rtol=0
    )


def test_training_inputs_do_not_depend_on_test_tables(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("test", 3)):
        write_tables(tmp_path / part, count=count)
    original = load_batch(read_tables(tmp_path, standardize="training"))
    for path in (tmp_path / "test").rglob("*.csv"):
        write_table(path, 100 * np.random.default_rng(1).normal(size=(6, 5)))
    changed = load_batch(read_tables(tmp_path, standardize="training"))
    assert all(torch.equal(value, changed.inputs[name]) for name, value in original.inputs.items())


@pytest.mark.parametrize("standardize", ["table", "training"])
def test_values_are_standardized_by_table_or_training_set(tmp_path: Path, standardize: str) -> None:
    tables = get_tables(read_tables(write_tables(tmp_path), standardize=standardize))
    for run in tables if standardize == "table" else [np.concatenate(tables)]:
        assert np.allclose(run.mean(0), 0, atol=1e-5)
        assert np.allclose(run.std(0), [1, 1, 1, 1, 0], atol=1e-5)


@pytest.mark.parametrize("ending", [".tsv", ".npy"])
def test_tsv_and_npy_files_match_csv_files(tmp_path: Path, ending: str) -> None:
    first, second = (load_batch(read_tables(write_tables(tmp_path / kind, kind))).inputs for kind in (".csv", ending))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_labels_file_matches_class_folders(tmp_path: Path) -> None:
    write_tables(tmp_path)
    rows = [f"{kind}/{number}.csv,{kind}" for kind in ("calm", "wild") for number in range(10)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    from_labels_file = load_batch(read_tables(tmp_path))
    (tmp_path / "labels.csv").unlink()
    from_folders = load_batch(read_tables(tmp_path))
    assert all(torch.equal(value, from_folders.inputs[name]) for name, value in from_labels_file.inputs.items())
    assert torch.equal(from_labels_file.target, from_folders.target)  # type: ignore[arg-type]


def test_regions_are_matched_by_name_without_index_column(tmp_path: Path) -> None:
    original = load_batch(read_tables(write_tables(tmp_path))).inputs
    path = tmp_path / "wild" / "3.csv"
    values = np.loadtxt(path, delimiter=",", skiprows=1)
    index = np.arange(len(values))[:, None]
    write_table(path, np.hstack((index, values[:, ::-1])), ("", *reversed(NAMES)))
    assert all(torch.equal(value, original[name]) for name, value in load_batch(read_tables(tmp_path)).inputs.items())


def test_header_key_decides_on_numeric_first_row(tmp_path: Path) -> None:
    write_tables(tmp_path)
    for path in tmp_path.rglob("*.csv"):
        write_table(path, np.loadtxt(path, delimiter=",", skiprows=1), tuple("01234"))
    assert read_tables(tmp_path, header=True).info.sizes["seq_len"] == 9
    assert read_tables(tmp_path, header=False).info.sizes["seq_len"] == 10


def test_columns_key_selects_regions(tmp_path: Path) -> None:
    data = read_tables(write_tables(tmp_path), columns=["back", "left"])
    assert data.info.sizes["num_nodes"] == 2
    assert torch.equal(load_batch(data).inputs["x"], load_batch(read_tables(tmp_path, columns=[3, 0])).inputs["x"])


def test_graph_file_has_edges_from_row_to_column(tmp_path: Path) -> None:
    weights = np.zeros((5, 5))
    weights[0, 2], weights[3, 3] = 0.5, 2.0
    write_table(tmp_path / "plain.npy", weights)
    write_table(tmp_path / "named.csv", weights[::-1, ::-1], tuple(reversed(NAMES)))
    for name in ("plain.npy", "named.csv"):
        inputs = load_batch(read_tables(write_tables(tmp_path / "runs"), graph=str(tmp_path / name))).inputs
        assert inputs["edge_index"].tolist() == [[0, 3], [2, 3]]
        assert inputs["edge_weight"].tolist() == [0.5, 2.0]


@pytest.mark.slow
def test_brain_model_learns_from_tables(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for kind, sign in (("falls", -1), ("rises", 1)):
        for number in range(40):
            slope = sign * np.linspace(-1, 1, draw.integers(8, 12))[:, None]
            write_table(
                tmp_path / kind / f"{number}.npy", slope * [1, 1, 1, 0, 0] + draw.normal(size=(len(slope), 5)) / 2
            )
    overrides = ("model=brain", "data=parcel_series", f"data.path={tmp_path}", "data.top_k=2", "epochs=20")
    assert lab(*overrides).test()["accuracy"] >= 0.85
