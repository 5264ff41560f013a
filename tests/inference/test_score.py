"""``train score`` and ``train sample``: files of the user, formats of the output."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from tests.helpers.changed_files import CHANGED_DATA, append_rows, rename_classes
from tests.helpers.own_runs import train_run
from trainer.cli import main
from trainer.data.readers import delimited
from trainer.inference import score
from trainer.runs import saved_run
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")


@pytest.mark.slow
def test_image_scores_do_not_depend_on_changed_training_files() -> None:
    path = train_run("image_folder", "model=conv_vae", "task.classifier=null", "data.size=8")
    shutil.copytree(next(Path("files").iterdir()), "today")
    before = score.score_run(saved_run.load(path), "today").read_text()
    append_rows(Path("files"))
    rename_classes(Path("files"))
    assert score.score_run(saved_run.load(path), "today").read_text() == before
    with pytest.raises(ConfigError, match=CHANGED_DATA):
        score.score_run(saved_run.load(path), None)


@pytest.mark.slow
def test_scores_are_written_in_any_format_and_do_not_depend_on_the_rows_around(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = train_run("csv", "model=real_nvp", "data.target=null", "task.classifier=null", "task.samples=20")
    table = next(Path("files").iterdir())
    arguments = ["score", str(path), f"input={table}"]
    capsys.readouterr()
    main.run_command(arguments)
    tables = capsys.readouterr().out
    default = list(csv.DictReader((path / "scores.csv").read_text().splitlines()))
    assert [row["row"] for row in default] == [str(number) for number in range(1, 121)]
    expected = [float(row["log_likelihood"]) for row in default]
    for suffix in ("jsonl", "npz"):
        main.run_command([*arguments, f"output={tmp_path}/scores.{suffix}", "batch_size=7"])
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([line["log_likelihood"] for line in lines], expected, rtol=1e-5)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npz")["log_likelihood"], expected, rtol=1e-5)
    lowest = sorted(range(120), key=expected.__getitem__)[:10]
    listed = tables[tables.index("most unusual") :].split("─\n")[1].splitlines()[:10]
    assert [int(line.split()[0]) for line in listed] == [row + 1 for row in lowest]
    monkeypatch.setattr(delimited, "CHUNK_CELLS", 60)
    monkeypatch.setattr(delimited, "SAMPLE_ROWS", 5)
    capsys.readouterr()
    main.run_command([*arguments, f"output={tmp_path}/chunks.csv"])
    assert capsys.readouterr().out.splitlines()[:-1] == tables.splitlines()[:-1]
    with pytest.raises(ConfigError, match=r"output: .* the suffix must be one of"):
        main.run_command([*arguments, f"output={tmp_path}/scores.xlsx"])
    with pytest.raises(ConfigError, match="does not exist"):
        main.run_command(["score", str(path), "input=nope.csv", f"output={tmp_path}/never.csv"])
    assert not (tmp_path / "never.csv").exists()


@pytest.mark.slow
def test_samples_are_written_in_any_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = train_run("text_file", "data.seq_len=16")
    capsys.readouterr()
    main.run_command(["sample", str(path), "length=9", "prompt=fine", "seed=1"])
    text = capsys.readouterr().out
    main.run_command(["sample", str(path), "length=9", "prompt=fine", "seed=1", f"output={tmp_path}/text.jsonl"])
    assert f"1 row sampled, written to {tmp_path}/text.jsonl" in capsys.readouterr().out
    assert json.loads((tmp_path / "text.jsonl").read_text())["text"] == text.removesuffix("\n")


@pytest.mark.slow
def test_sampled_arrays_and_tables_are_those_of_the_run_directory(tmp_path: Path) -> None:
    path = train_run("csv", "model=real_nvp", "data.target=null", "task.classifier=null", "task.samples=20")
    main.run_command(["sample", str(path), "count=5"])
    main.run_command(["sample", str(path), "count=5", f"output={tmp_path}/rows.csv"])
    assert (tmp_path / "rows.csv").read_text() == (path / "sampled-0.csv").read_text()
    path = train_run("image_folder", "model=conv_vae", "task.classifier=null", "data.size=8", "task.samples=20")
    main.run_command(["sample", str(path), "count=5"])
    for suffix in ("npz", "parquet"):
        main.run_command(["sample", str(path), "count=5", f"output={tmp_path}/images.{suffix}"])
    expected = np.load(path / "sampled-0.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "images.npz")["sample"], expected)
    stored = pyarrow.parquet.read_table(tmp_path / "images.parquet")["sample"].to_pylist()
    np.testing.assert_allclose(stored, expected)
