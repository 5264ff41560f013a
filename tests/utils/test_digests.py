"""Digests tell whatever can be stored apart, and are equal for what was stored and read."""

from __future__ import annotations

from pathlib import Path

import torch

from trainer.utils import digests

STORED = {"fitted": {"a": [1, 2.5, None], "b": torch.arange(3)}, "empty": {}, "none": None, "rows": (1, "x")}


def test_state_is_equal_after_saving_and_loading(tmp_path: Path) -> None:
    torch.save(STORED, tmp_path / "x.pt")
    again = torch.load(tmp_path / "x.pt", weights_only=True)
    assert digests.digest_parts(again) == digests.digest_parts(STORED)
    assert set(digests.digest_parts(STORED)) == {"fitted.a", "fitted.b", "empty", "none", "rows"}


def test_other_values_types_orders_and_nestings() -> None:
    values = [
        *(None, 0, 0.0, False, "0", "", [], {}, [0], [[0]], {0: 0}, {"0": 0}, ["ab"], ["a", "b"], ["b", "a"]),
        *(torch.zeros(2), torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64), torch.ones(2), torch.zeros(0)),
        torch.zeros(2, dtype=torch.bfloat16),
    ]
    found = [digests.digest_parts({"x": {"y": value}})["x.y"] for value in values]
    assert len(set(found)) == len(values)
