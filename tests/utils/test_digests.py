"""Digests: equal after saving and loading, and different for different values."""

from __future__ import annotations

from pathlib import Path

import torch

from trainer.utils import digests

STORED = {"fitted": {"a": [1, 2.5, None], "b": torch.arange(3)}, "empty": {}, "none": None, "rows": (1, "x")}


def test_digest_is_unchanged_by_saving_and_loading(tmp_path: Path) -> None:
    torch.save(STORED, tmp_path / "x.pt")
    loaded = torch.load(tmp_path / "x.pt", weights_only=True)
    assert digests.digest_parts(loaded) == digests.digest_parts(STORED)
    assert set(digests.digest_parts(STORED)) == {"fitted.a", "fitted.b", "empty", "none", "rows"}


def test_digests_differ_by_value_type_order_and_nesting() -> None:
    values = [
        *(None, 0, 0.0, False, "0", "", [], {}, [0], [[0]], {0: 0}, {"0": 0}, ["ab"], ["a", "b"], ["b", "a"]),
        *(torch.zeros(2), torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64), torch.ones(2), torch.zeros(0)),
        torch.zeros(2, dtype=torch.bfloat16),
    ]
    results = [digests.digest_parts({"x": {"y": value}})["x.y"] for value in values]
    assert len(set(results)) == len(values)
