"""Tests of ``train predict``: predictions of saved runs, written to files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.own_runs import train_run
from trainer.cli import main
from trainer.inference import prediction_files
from trainer.utils.errors import ConfigError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        return train_run("csv").absolute()


@pytest.mark.slow
def test_predicted_labels_have_the_reported_accuracy(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    assert main.run_command(["predict", str(run), f"output={file}"]) == 0
    with file.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    accuracy = np.mean([row["label"] == row["target"] for row in rows])
    assert accuracy == json.loads((run / "results.json").read_text())["test"]["accuracy"]


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output: .* given; the suffix must be one of \.csv, \.parquet"):
        prediction_files.check_output(tmp_path / "labels.xlsx", tmp_path)


@pytest.mark.slow
def test_nothing_is_written_on_an_error(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    with pytest.raises(ConfigError, match=r"does not exist"):
        main.run_command(["predict", str(run), f"input={tmp_path / 'nope.csv'}", f"output={file}"])
    assert list(tmp_path.iterdir()) == []
