"""Errors of data sets: argument names become configuration keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer.core.dataset import Dataset
from trainer.data.datasets.graph.karate import Karate
from trainer.data.datasets.graph.simulated_bold import SimulatedBold
from trainer.data.datasets.sequence.memory_tasks import VarLenSum
from trainer.data.datasets.sequence.token_labels import TemporalOrder
from trainer.data.datasets.tabular.csv_table import CSV
from trainer.data.datasets.text.translation import SentencePairs
from trainer.engine.config_errors import explain_errors
from trainer.utils.errors import ConfigError, DataError


def get_message(dataset: type[Dataset], **options: Any) -> str:
    with pytest.raises(DataError):
        dataset(**options)
    with pytest.raises(ConfigError) as caught, explain_errors({"data": options}, "data"):
        dataset(**options)
    return str(caught.value)


@pytest.mark.slow
def test_error_names_the_configuration_key() -> None:
    assert get_message(VarLenSum, shortest=9, longest=4) == "data.shortest: 9 is more than data.longest, 4"
    assert get_message(Karate, val_nodes=30).startswith("data.val_nodes: 30 of the 30 members")


def test_error_names_several_configuration_keys(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("x,y,z\n" + "1,a,5\n2,b,6\n" * 20)
    options = {"path": str(path), "target": "y", "target_kind": "class"}
    same = get_message(CSV, **options, split_column=None, drop_columns=["y"])
    assert same == "data.target, data.split_column and data.drop_columns: the same column is given twice"
    both = get_message(CSV, **options, split_column="x", test_path=str(path))
    assert both == "data.split_column and data.test_path both select the test rows; give only one"


def test_error_without_single_key_begins_with_the_group(tmp_path: Path) -> None:
    bold = get_message(SimulatedBold, shortest=3, longest=20)
    assert bold.startswith("data: data.shortest must be at least 8, for both networks to activate")
    assert get_message(TemporalOrder, shortest=1).startswith("data: temporal_order needs data.shortest >= 2")
    files = {"source": tmp_path / "a", "target": tmp_path / "b"}
    for lines, file in enumerate(files.values(), 1):
        file.write_text("word\n" * lines)
    pairs = get_message(SentencePairs, **{name: str(file) for name, file in files.items()})
    assert pairs == (
        f"data: {files['source']} has 1 lines, {files['target']} has 2; the files must be aligned line by line"
    )
