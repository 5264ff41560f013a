"""Losses of five steps equal the recorded ones, to the bit with the same torch and processor.

They change if the arithmetic does. After an intended change, ``python -m tests.golden.record`` records them again.
"""

from __future__ import annotations

import json

import pytest

from tests.golden import record


@pytest.mark.parametrize("name", record.RUNS)
def test_losses_match_the_golden_file(name: str) -> None:
    golden = json.loads(record.FILE.read_text(encoding="utf-8"))
    expected = [float.fromhex(value) for value in golden["runs"][name]]
    found = record.losses(name)
    assert len(expected) == 5 + 2 * (name == "cgan") + 2  # a loss per update, and the validations of two epochs
    if golden["machine"] == record.machine():
        assert [value.hex() for value in found] == golden["runs"][name]
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", record.RUNS)
def test_golden_losses_are_reproducible(name: str) -> None:
    assert record.losses(name) == record.losses(name)
