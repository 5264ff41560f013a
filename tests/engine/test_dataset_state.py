"""What a checkpoint keeps of the data: few rows, and what is asked of others is read from the files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import trainer
from trainer.core.dataset import Dataset, FullBatchSplit, TensorSplit
from trainer.engine.dataset_state import EXCERPT_BYTES, EXCERPT_ROWS, make_excerpt, restore_from_state
from trainer.runs import sample, saved_run
from trainer.utils.errors import ConfigError


@pytest.mark.parametrize(("width", "kept"), [(2, 1000), (784, EXCERPT_BYTES // (4 * 784)), (1 << 20, 1)])
def test_rows_are_kept_as_far_as_there_is_room(width: int, kept: int) -> None:
    split = TensorSplit({"x": torch.zeros(1, width).expand(1200, width)})
    found = make_excerpt(split, EXCERPT_ROWS["train"])
    assert found is not None
    assert found.full_batch.inputs["x"].shape == (kept, width)
    assert found.full_batch.inputs["x"].untyped_storage().nbytes() == 4 * kept * width


def test_a_graph_is_never_split() -> None:
    found = make_excerpt(FullBatchSplit({"x": torch.zeros(5, 2)}, torch.zeros(5)), 8)
    assert found is not None
    assert not found.is_divisible
    assert len(found.full_batch.inputs["x"]) == 5


def test_a_way_between_rows_that_are_not_kept_is_read_from_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["model=binary_vae", "data=digits", "data.size=8", "model.hidden=[8]", "model.latent=2", "max_steps=1"]
    run = trainer.run(trainer.compose([*words, "task.classifier=null", "task.samples=20", "draw=false"]))
    kept, _ = saved_run.load_from_args("sample", [run.folder])
    assert list(sample.sample_run(kept, {"count": 3}))
    assert list(sample.sample_run(kept, {"count": 3, "start": EXCERPT_ROWS["test"], "end": 100}))


def test_stored_data_of_a_later_version_is_refused() -> None:
    state = {"version": 3, "fitted": None, "dataset_info": {}, "excerpts": {}}
    with pytest.raises(ConfigError, match="has version 3; this version of train reads 1 to 2"):
        restore_from_state(Dataset, state, {})
