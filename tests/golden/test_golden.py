"""Five steps of some networks give the numbers they always gave: to the bit where torch and the processor are the same.

A change meant to leave the arithmetic alone fails here if it does not. One that is meant to change it records anew:
``python -m tests.golden.record``.
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
    assert len(expected) == 5 + 2 * (name == "cgan") + 2  # a loss a turn, and the validations of two epochs
    if golden["machine"] == record.machine():
        assert [value.hex() for value in found] == golden["runs"][name]
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", record.RUNS)
def test_golden_losses_are_reproducible(name: str) -> None:
    assert record.losses(name) == record.losses(name)
