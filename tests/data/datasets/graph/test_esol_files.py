"""Molecules of other files than the published table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer.core.dataset_info import DatasetInfo, TargetInfo
from trainer.data.datasets.graph.esol import ESOL, TARGET
from trainer.utils.errors import DataError

pytest.importorskip("rdkit")
MOLECULES = ["CCO", "c1ccccc1", "C"]


@pytest.fixture
def data() -> ESOL:
    """Return the data set of a saved run, which has no files."""
    data = ESOL.__new__(ESOL)
    data.info = DatasetInfo(sizes={}, target=TargetInfo(scale=2.0, mean=-3.0))
    return data


def test_lines_and_tables_are_molecules(data: ESOL, tmp_path: Path) -> None:
    lines, table = tmp_path / "lines.smi", tmp_path / "table.csv"
    lines.write_text("".join(f"{text} name\n" for text in MOLECULES))
    table.write_text("\n".join([f"name,smiles,{TARGET}", *(f"x,{text},-1" for text in MOLECULES)]))
    (one,), (other,) = data.read_chunks(str(lines)), data.read_chunks(str(table), with_targets=True)
    memory = data.encode_rows(MOLECULES)
    for split in (other, memory):
        for name, value in split.batch(torch.arange(3), 0).inputs.items():
            assert torch.equal(value, one.batch(torch.arange(3), 0).inputs[name])
    assert one.get_output_columns(1) == {"smiles": MOLECULES}
    assert one.get_targets() is None
    assert torch.equal(other.get_targets(), torch.ones(3, 1))  # (-1 - -3) / 2


def test_invalid_molecules_are_refused_or_skipped(
    data: ESOL, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines.smi"
    file.write_text("CCO\nxyz\nC\n")
    with pytest.raises(DataError, match=r"lines\.smi: line 2: 'xyz' is not a valid SMILES string"):
        list(data.read_chunks(str(file)))
    (split,) = data.read_chunks(str(file), on_error="skip")
    assert split.get_output_columns(1) == {"smiles": ["CCO", "C"]}
    assert caplog.text.count("left out: ") == 1
    with pytest.raises(DataError, match="rows: row 2: 'xyz' is not"):
        data.encode_rows(["CCO", "xyz"])
    assert capfd.readouterr().err == ""
