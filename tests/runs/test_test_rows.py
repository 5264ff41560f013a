"""Test rows of a run: what each contributes to the test scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.in_process import run
from trainer.config import compose
from trainer.core.row_terms import MetricTerms
from trainer.engine.row_recorder import RecordedRows
from trainer.runs import test_rows, train

REGRESSION = ("model=mlp", "data=diabetes", "model.hidden=[4]")


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (("seed=1",), {"accuracy", "nll"}),
        (("task.threshold=f1",), {"accuracy", "nll"}),
        (("ema=0.9",), {"accuracy", "nll"}),
        (REGRESSION, {"mse", "rmse", "mae"}),
        (("model=gcn", "data=karate"), {"accuracy", "nll"}),
    ],
)
@pytest.mark.slow
def test_terms_of_the_rows_give_the_test_scores(overrides: tuple[str, ...], names: set[str]) -> None:
    is_small = not overrides[0].startswith("model=")
    result = run(*overrides) if is_small else train.run(compose.compose([*overrides, "epochs=1", "draw=false"]))
    rows = test_rows.read_rows(Path(result.run_dir))
    assert rows is not None
    assert rows.terms.keys() == names
    assert (np.diff(rows.rows) > 0).all()
    for name, terms in rows.terms.items():
        assert terms.compute_score() == pytest.approx(result.test[name], rel=1e-6), name


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.slow
def test_rows_of_two_runs_are_recognized() -> None:
    first, second, other = (
        test_rows.read_rows(Path(run(*overrides).run_dir))
        for overrides in (("seed=1",), ("seed=2", "batch_size=7"), ("data.seed=1",))
    )
    assert first is not None
    assert second is not None
    assert other is not None
    assert first.has_same_rows(second)
    assert not first.has_same_rows(other)
    assert not np.array_equal(first.terms["nll"].numerators, second.terms["nll"].numerators)


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.slow
def test_a_task_without_separate_rows_writes_none() -> None:
    overrides = ["model=vae", "data=linear_gaussian", "max_steps=2", "draw=false"]
    result = train.run(compose.compose(overrides))
    assert test_rows.read_rows(Path(result.run_dir)) is None


def write_arrays(path: Path, **changes: np.ndarray) -> None:
    arrays = {
        "version": np.array(1),
        "rows": np.arange(3),
        "targets": np.zeros(3),
        "numerators/mean/accuracy": np.array([1.0, 0.0, 1.0]),
        "denominators/mean/accuracy": np.ones(3),
    }
    np.savez(path / test_rows.FILE, **(arrays | changes))


def test_a_file_is_read(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    rows = test_rows.read_rows(tmp_path)
    assert rows is not None
    assert rows.terms["accuracy"].compute_score() == pytest.approx(2 / 3)
    assert test_rows.read_rows(tmp_path / "other") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"version": np.array(2)},
        {"version": np.zeros(2)},
        {"targets": np.zeros(2)},
        {"rows": np.zeros((3, 2))},
        {"numerators/mean/accuracy": np.array(["a", "b", "c"])},
        {"denominators/mean/accuracy": np.array(1.0)},
        {"rows": np.zeros(0)},
    ],
)
def test_a_damaged_file_is_reported_and_left_out(
    changes: dict[str, np.ndarray], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_arrays(tmp_path, **changes)
    assert test_rows.read_rows(tmp_path) is None
    assert f"{test_rows.FILE} is not read" in caplog.text


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_archive_is_left_out(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / test_rows.FILE).write_bytes(content)
    assert test_rows.read_rows(tmp_path) is None
    assert f"{test_rows.FILE} is not read" in caplog.text


def test_no_flipped_byte_ends_the_program(tmp_path: Path) -> None:
    """Most damage is in the directory of the archive, in the headers of the arrays or in the compressed data."""
    arrays = {"version": np.array(1), "rows": np.arange(9), "targets": np.arange(9.0)}
    terms = {f"{kind}/mean/accuracy": np.arange(1.0, 10.0) for kind in test_rows.KINDS}
    file = tmp_path / test_rows.FILE
    np.savez_compressed(file, **arrays, **terms)
    content = file.read_bytes()
    for place in range(7, len(content), 40):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        test_rows.read_rows(tmp_path)


def test_a_single_array_under_that_name_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open(tmp_path / test_rows.FILE, "wb") as file:
        np.save(file, np.zeros(3))
    assert test_rows.read_rows(tmp_path) is None
    assert "is not read: it is a single array" in caplog.text


def test_unknown_arrays_are_ignored(tmp_path: Path) -> None:
    """An older numpy stores its arguments that it does not know as arrays."""
    write_arrays(tmp_path, unknown=np.array(False))
    assert test_rows.read_rows(tmp_path) is not None


def test_written_arrays_are_those_of_the_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever keyword arguments of numpy are: all given ones are arrays."""
    given: dict[str, np.ndarray] = {}

    def save(file: Path, **arrays: np.ndarray) -> None:
        given.update(arrays)
        np.savez(file, **arrays)

    monkeypatch.setattr(np, "savez_compressed", save)
    ones = torch.ones(2)
    recorded = RecordedRows(torch.arange(2), ones, {"accuracy": MetricTerms(ones, ones, "mean")})
    test_rows.write_rows(tmp_path, recorded)
    assert given.keys() == {"version", "rows", "targets", "numerators/mean/accuracy", "denominators/mean/accuracy"}


def test_other_metrics_are_not_read(tmp_path: Path) -> None:
    write_arrays(tmp_path, **{f"{kind}/mean/nll": np.array(["a", "b", "c"]) for kind in test_rows.KINDS})
    rows = test_rows.read_rows(tmp_path, "accuracy")
    assert rows is not None
    assert rows.terms.keys() == {"accuracy"}
    assert test_rows.read_rows(tmp_path) is None


def test_a_file_with_objects_is_not_unpickled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_arrays(tmp_path)
    np.savez(tmp_path / test_rows.FILE, version=np.array(1), rows=np.array([{}], dtype=object))
    assert test_rows.read_rows(tmp_path) is None
    assert "is not read" in caplog.text
