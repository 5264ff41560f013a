"""Excerpts of the data in a checkpoint; other rows are read from the files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import trainer
from trainer.core.dataset import Dataset
from trainer.core.split import FullBatchSplit, TensorSplit
from trainer.engine.dataset_state import EXCERPT_BYTES, EXCERPT_ROWS, make_excerpt, restore_from_state
from trainer.inference import sample
from trainer.runs import run_overrides
from trainer.utils.errors import ConfigError


@pytest.mark.parametrize(("width", "num_rows"), [(2, 1000), (784, EXCERPT_BYTES // (4 * 784)), (1 << 20, 1)])
def test_excerpt_is_limited_by_rows_and_bytes(width: int, num_rows: int) -> None:
    split = TensorSplit({"x": torch.zeros(1, width).expand(1200, width)})
    found = make_excerpt(split, EXCERPT_ROWS["train"])
    assert found is not None
    assert found.full_batch.inputs["x"].shape == (num_rows, width)
    assert found.full_batch.inputs["x"].untyped_storage().nbytes() == 4 * num_rows * width


def test_a_graph_is_never_split() -> None:
    excerpt = make_excerpt(FullBatchSplit({"x": torch.zeros(5, 2)}, torch.zeros(5)), 8)
    assert excerpt is not None
    assert not excerpt.is_divisible
    assert len(excerpt.full_batch.inputs["x"]) == 5


@pytest.mark.slow
def test_interpolation_between_rows_outside_the_excerpt_reads_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = ["model=binary_vae", "data=digits", "data.size=8", "model.hidden=[8]", "model.latent=2", "max_steps=1"]
    run = trainer.run(trainer.compose([*overrides, "task.classifier=null", "task.samples=20", "draw=false"]))
    saved, _ = run_overrides.load_from_args("sample", [run.run_dir])
    assert list(sample.sample_run(saved, {"count": 3}))
    assert list(sample.sample_run(saved, {"count": 3, "start": EXCERPT_ROWS["test"], "end": 100}))


def test_stored_data_of_a_later_version_is_refused() -> None:
    state = {"version": 3, "fitted": None, "dataset_info": {}, "excerpts": {}}
    with pytest.raises(ConfigError, match="has version 3; this version of train reads 1 to 2"):
        restore_from_state(Dataset, state, {})
