"""``train predict`` with models of sequences: a class or a number for each, whatever its length."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import trainer
from tests.helpers.marks import mark_slow_after
from tests.helpers.own_runs import train_run
from tests.helpers.prediction_tables import predict
from trainer.cli import main
from trainer.core.batch import Batch
from trainer.data.splits.ragged import RaggedSplit
from trainer.utils.errors import UserError

SEQUENCE_MODELS = ("transformer", "lstm", "attention_rnn", "rnn", "gru", "bilstm", "bigru", "birnn", "nested_rnn")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run on series of one dimension whose training files are gone; its test file is beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder := tmp_path_factory.mktemp("waves"))
        run = train_run("ucr", "model=gru").absolute()
        (test,) = folder.rglob("WAVES_TEST.ts")
        shutil.copy(test, folder)
        shutil.rmtree(folder / "files")
        return run.rename(folder / "run")


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run on tables of regions; the training files are beside it, under another name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder := tmp_path_factory.mktemp("brain"))
        run = train_run("parcel_series").absolute()
        next((folder / "files").iterdir()).rename(folder / "tables")
        return run.rename(folder / "run")


def read_accuracy(run: Path) -> float:
    return json.loads((run / "results.json").read_text())["test"]["accuracy"]


def read_labels(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [line.rpartition(":")[2] for line in lines[lines.index("@data") + 1 :]]


def refuse(run: Path, path: Path, folder: Path, *words: str) -> str:
    """Return the message of a refusal, which has exit code 2 and writes nothing."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError) as caught:
        main.run_command(["predict", str(run), f"input={path}", f"output={folder / 'out.csv'}", *words])
    assert caught.value.exit_code == 2
    assert sorted(folder.rglob("*")) == before
    return str(caught.value)


# Series of unequal length.


@pytest.mark.slow
def test_predicted_classes_of_a_test_file_have_the_reported_accuracy(waves: Path) -> None:
    path = waves.parent / "WAVES_TEST.ts"
    found = predict(waves, f"input={path}")
    assert list(found) == ["row", "label", "p_down", "p_up"]
    assert found["row"].tolist() == list(range(1, 25))
    assert (found["label"] == read_labels(path)).mean() == read_accuracy(waves)
    assert np.allclose(found["p_down"] + found["p_up"], 1)
    assert (found["label"] == np.where(found["p_up"] > 0.5, "up", "down")).all()


@pytest.mark.slow
def test_classes_are_not_needed_and_every_format_is_read_alike(waves: Path, tmp_path: Path) -> None:
    path = waves.parent / "WAVES_TEST.ts"
    expected = predict(waves, f"input={path}")
    lines = path.read_text().splitlines()
    series = [line.rpartition(":")[0] for line in lines[lines.index("@data") + 1 :]]
    files = tmp_path / "files"
    files.mkdir()
    (files / "b.ts").write_text("\n".join(["@problemName B", "@data", *series]))
    (files / "a.tsv").write_text("\n".join("up\t" + line.replace(",", "\t") for line in series))
    (files / "c.txt").write_text("\n".join(line.replace(",", " ") for line in series))
    for name in ("a.tsv", "b.ts", "c.txt"):
        pd.testing.assert_frame_equal(predict(waves, f"input={files / name}"), expected)
    whole = predict(waves, f"input={files}")
    assert whole["case"].tolist() == [f"{name}:{row}" for name in ("a.tsv", "b.ts", "c.txt") for row in range(1, 25)]
    assert whole["label"].tolist() == expected["label"].tolist() * 3
    arrays = [np.array(line.split(","), dtype=float) for line in series]
    assert trainer.load(waves).predict(arrays).tolist() == expected["label"].tolist()


@pytest.mark.slow
def test_series_may_be_longer_than_those_of_training(waves: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.ts"
    path.write_text("@problemName L\n@data\n" + ",".join(map(str, range(90))) + "\n3\n")
    assert len(predict(waves, f"input={path}", folder=tmp_path)) == 2


@pytest.mark.slow
def test_models_of_a_fixed_length_refuse_longer_series(folder: Path) -> None:
    run = train_run("ucr", "model=transformer", "model.positions=learned")
    path = folder / "long.ts"
    path.write_text("@problemName L\n@data\n" + ",".join(map(str, range(90))) + "\n")
    assert "learned for 11 steps (seq_len) and got 90" in refuse(run, path, folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.ts", "@dimensions 2\n@data\n1,2:3,4\n", "a.ts:3 has 2 dimensions; this run was trained on series with 1"),
        ("a.ts", "1,2:up\n", "no line @data"),
        ("a.tsv", "up\t1\tx\n", "a.tsv:1: expected a number in dimension 1, found 'x'"),
        ("a.csv", "1,,3\n", "missing value in dimension 1"),
        ("a.txt", "", "is empty"),
        ("a.xls", "", "the suffix must be one of .ts, .tsv, .txt, .csv"),
        ("a.tsv", "up\t1e300\n", "a.tsv:1: expected a finite number"),
    ],
)
def test_bad_series_are_refused(waves: Path, tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    assert message in refuse(waves, tmp_path / name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", mark_slow_after(1, SEQUENCE_MODELS))
def test_predictions_of_series_of_unequal_length_do_not_depend_on_the_batch(folder: Path, model: str) -> None:
    """Padding is never read, neither the noise of ``var_len_sum`` nor that of other lengths in a batch."""
    run = train_run("ucr", f"model={model}", "max_steps=1", "bucket=1")
    draw = np.random.default_rng(0)
    path = folder / "new.ts"
    series = [",".join(draw.normal(size=draw.integers(1, 11)).round(3).astype(str)) for _ in range(70)]
    path.write_text("\n".join(["@problemName N", "@data", *series]))
    found = [predict(run, f"input={path}", f"batch_size={size}")["p_up"] for size in (1, 7, 64)]
    path.write_text("\n".join(["@problemName N", "@data", *series[::-1]]))
    found.append(predict(run, f"input={path}")["p_up"][::-1].reset_index(drop=True))
    assert found[0].std() > 1e-4
    for other in found[1:]:
        assert np.allclose(other, found[0], atol=1e-6)


@pytest.mark.slow
def test_a_model_that_reads_the_padding_would_be_found(waves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control of the test above: with the length of the longest series for all, the batch matters."""
    make_batch = RaggedSplit.batch

    def pad_lengths(self: RaggedSplit, index: torch.Tensor, epoch: int) -> Batch:
        batch = make_batch(self, index, epoch)
        lengths = torch.full_like(batch.inputs["lengths"], batch.inputs["x"].shape[1])
        return replace(batch, inputs=batch.inputs | {"lengths": lengths})

    monkeypatch.setattr(RaggedSplit, "batch", pad_lengths)
    path = waves.parent / "WAVES_TEST.ts"
    found = [predict(waves, f"input={path}", f"batch_size={size}")["p_up"] for size in (1, 24)]
    assert not np.allclose(*found, atol=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("data", ["var_len_sum", "adding"])
def test_numbers_of_sequences_are_predicted(data: str) -> None:
    config = trainer.compose(
        ["model=lstm", f"data={data}", "data.rows=100", "max_steps=1", "threads=1", "draw=false", "batch_size=16"]
    )
    run = Path(trainer.run(config, quiet=True).run_dir)
    found = [predict(run, f"batch_size={size}") for size in (1, 7, 64)]
    assert list(found[0]) == ["row", "value", "target"]
    assert len(found[0]) == 20
    for other in found[1:]:
        assert np.allclose(other["value"], found[0]["value"], atol=1e-6)
    mse = ((found[0]["value"] - found[0]["target"]) ** 2).mean()
    assert mse == pytest.approx(json.loads((run / "results.json").read_text())["test"]["mse"], rel=1e-6)


# Runs of regions.


@pytest.mark.slow
def test_runs_of_a_folder_are_classified_by_file(brain: Path) -> None:
    tables = brain.parent / "tables"
    found = predict(brain, f"input={tables}")
    assert list(found) == ["file", "label", "p_calm", "p_wild"]
    assert found["file"].tolist() == [path.relative_to(tables).as_posix() for path in sorted(tables.glob("*/*.npy"))]
    for name in ("calm/3.npy", "wild/11.npy"):
        alone = predict(brain, f"input={tables / name}")
        expected = found[found["file"] == name]
        assert alone["file"].tolist() == [Path(name).name]
        assert np.allclose(alone["p_wild"], expected["p_wild"], atol=1e-6)
    runs = [np.load(path) for path in sorted(tables.glob("*/*.npy"))]
    assert np.allclose(trainer.load(brain).predict_proba(runs)[:, 1], found["p_wild"], atol=1e-6)
    for size in (1, 7, 64):
        assert np.allclose(
            predict(brain, f"input={tables}", f"batch_size={size}")["p_wild"], found["p_wild"], atol=1e-6
        )


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_test_runs_have_their_files_and_the_reported_accuracy() -> None:
    run = train_run("parcel_series")
    found = predict(run)
    assert list(found) == ["file", "label", "p_calm", "p_wild", "target"]
    assert (found["label"] == found["target"]).mean() == read_accuracy(run)
    assert all(file.split("/")[0] == kind for file, kind in zip(found["file"], found["target"], strict=True))


@pytest.mark.slow
def test_tables_without_the_regions_of_training_are_refused(brain: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(8, 6))
    np.save(tmp_path / "a.npy", values)
    assert "a.npy has 6 regions; this run was trained on 5" in refuse(brain, tmp_path, tmp_path)
    np.save(tmp_path / "a.npy", values[:1, :5])
    assert "has 1 step; correlations need at least 2" in refuse(brain, tmp_path, tmp_path)
    (tmp_path / "a.npy").write_bytes(b"no array")
    assert "is not an array of numbers" in refuse(brain, tmp_path, tmp_path)
    (tmp_path / "a.npy").unlink()
    assert "has no .csv/.tsv/.npy files" in refuse(brain, tmp_path, tmp_path)
    assert "does not exist" in refuse(brain, tmp_path / "nope", tmp_path)
