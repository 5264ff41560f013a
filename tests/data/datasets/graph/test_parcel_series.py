"""Tables of regions over time: read, linked, split, and refused with the file's name."""

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


def batch(data: ParcelSeries, split: str = "train") -> Batch:
    rows = getattr(data, split)
    return rows.to_model_inputs(rows.batch(torch.arange(len(rows)), 0))


def runs(data: ParcelSeries) -> list[np.ndarray]:
    """The numbers of the training rows."""
    assert isinstance(data.train, SplitWithSharedInputs)
    x = data.train.rows.inputs["x"]  # type: ignore[attr-defined]
    return [part[..., 0].numpy() for part in x.values.split(x.lengths.tolist())]


def test_folders_are_classes_and_runs_are_padded(tmp_path: Path) -> None:
    data = read_tables(write_tables(tmp_path))
    seen = batch(data)
    assert seen.target is not None
    assert [batch(data, split).target.bincount().tolist() for split in ("train", "val", "test")] == [  # type: ignore[union-attr]
        [6, 6],
        [2, 2],
        [2, 2],
    ]
    lengths = seen.inputs["lengths"]
    assert seen.inputs["x"].shape == (12, int(lengths.max()), 5, 3)
    padding = torch.arange(int(lengths.max())) >= lengths[:, None]
    assert padding.any()
    assert (seen.inputs["x"][padding] == 0).all()
    sizes = {"in_features": 3, "num_nodes": 5, "seq_len": 9, "num_classes": 2, "out_features": 1}
    assert data.info.sizes == sizes
    assert data.info.class_names == ["calm", "wild"]
    assert data.info.baseline["accuracy"] == 0.5


def test_the_graph_is_the_mean_strength_of_training_tables_alone(tmp_path: Path) -> None:
    data = read_tables(write_tables(tmp_path / "all"), top_k=1)
    strength = torch.stack([correlation.absolute_correlation(torch.from_numpy(run)) for run in runs(data)]).mean(0)
    edge_index, edge_weight = correlation.top_k_edges(strength, 1)
    seen = batch(data, "test").inputs
    assert torch.equal(seen["edge_index"], edge_index)
    torch.testing.assert_close(seen["edge_weight"], edge_weight, atol=1e-5, rtol=0)
    found = dict(zip(map(tuple, edge_index.t().tolist()), edge_weight.tolist(), strict=True))
    assert found[0, 1] > 0.9, "regions that go against each other are linked, by the size of it"
    assert 4 not in edge_index, "one that never changes is linked to none"
    torch.testing.assert_close(seen["x"][0, 0, :, 1:], correlation.node_roles(strength, edge_index), atol=1e-4, rtol=0)


def test_test_tables_are_never_looked_at(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("test", 3)):
        write_tables(tmp_path / part, count=count)
    was = batch(read_tables(tmp_path, standardize="training"))
    for path in (tmp_path / "test").rglob("*.csv"):
        write_table(path, 100 * np.random.default_rng(1).normal(size=(6, 5)))
    now = batch(read_tables(tmp_path, standardize="training"))
    assert all(torch.equal(value, now.inputs[name]) for name, value in was.inputs.items())


@pytest.mark.parametrize("standardize", ["table", "training"])
def test_numbers_are_in_deviations_of_their_table_or_of_training(tmp_path: Path, standardize: str) -> None:
    found = runs(read_tables(write_tables(tmp_path), standardize=standardize))
    for run in found if standardize == "table" else [np.concatenate(found)]:
        assert np.allclose(run.mean(0), 0, atol=1e-5)
        assert np.allclose(run.std(0), [1, 1, 1, 1, 0], atol=1e-5)


@pytest.mark.parametrize("ending", [".tsv", ".npy"])
def test_other_files_say_the_same(tmp_path: Path, ending: str) -> None:
    first, second = (batch(read_tables(write_tables(tmp_path / kind, kind))).inputs for kind in (".csv", ending))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_labels_may_stand_in_a_file(tmp_path: Path) -> None:
    write_tables(tmp_path)
    rows = [f"{kind}/{number}.csv,{kind}" for kind in ("calm", "wild") for number in range(10)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    listed = batch(read_tables(tmp_path))
    (tmp_path / "labels.csv").unlink()
    folders = batch(read_tables(tmp_path))
    assert all(torch.equal(value, folders.inputs[name]) for name, value in listed.inputs.items())
    assert torch.equal(listed.target, folders.target)  # type: ignore[arg-type]


def test_regions_are_matched_by_name_and_an_index_is_none(tmp_path: Path) -> None:
    was = batch(read_tables(write_tables(tmp_path))).inputs
    path = tmp_path / "wild" / "3.csv"
    values = np.loadtxt(path, delimiter=",", skiprows=1)
    index = np.arange(len(values))[:, None]
    write_table(path, np.hstack((index, values[:, ::-1])), ("", *reversed(NAMES)))
    assert all(torch.equal(value, was[name]) for name, value in batch(read_tables(tmp_path)).inputs.items())


def test_numbers_may_be_names(tmp_path: Path) -> None:
    write_tables(tmp_path)
    for path in tmp_path.rglob("*.csv"):
        write_table(path, np.loadtxt(path, delimiter=",", skiprows=1), tuple("01234"))
    assert read_tables(tmp_path, header=True).info.sizes["seq_len"] == 9
    assert read_tables(tmp_path, header=False).info.sizes["seq_len"] == 10


def test_columns_chosen_are_the_regions(tmp_path: Path) -> None:
    data = read_tables(write_tables(tmp_path), columns=["back", "left"])
    assert data.info.sizes["num_nodes"] == 2
    assert torch.equal(batch(data).inputs["x"], batch(read_tables(tmp_path, columns=[3, 0])).inputs["x"])


def test_a_graph_may_be_given_by_name_from_row_to_column(tmp_path: Path) -> None:
    weights = np.zeros((5, 5))
    weights[0, 2], weights[3, 3] = 0.5, 2.0
    write_table(tmp_path / "plain.npy", weights)
    write_table(tmp_path / "named.csv", weights[::-1, ::-1], tuple(reversed(NAMES)))
    for name in ("plain.npy", "named.csv"):
        seen = batch(read_tables(write_tables(tmp_path / "runs"), graph=str(tmp_path / name))).inputs
        assert seen["edge_index"].tolist() == [[0, 3], [2, 3]]
        assert seen["edge_weight"].tolist() == [0.5, 2.0]


@pytest.mark.slow
def test_a_run_on_user_tables_learns(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for kind, sign in (("falls", -1), ("rises", 1)):
        for number in range(40):
            slope = sign * np.linspace(-1, 1, draw.integers(8, 12))[:, None]
            write_table(
                tmp_path / kind / f"{number}.npy", slope * [1, 1, 1, 0, 0] + draw.normal(size=(len(slope), 5)) / 2
            )
    words = ("model=brain", "data=parcel_series", f"data.path={tmp_path}", "data.top_k=2", "epochs=20")
    assert lab(*words).test()["accuracy"] >= 0.85
