"""The global keys of data parallel training have an effect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.in_process import run
from tests.helpers.tiny import defaults
from trainer.utils.errors import SystemFault

pytestmark = pytest.mark.usefixtures("in_tmp")


def test_devices_and_process_timeout_start_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.runs import process_groups

    calls = []

    def start(*arguments: object) -> None:
        calls.append(arguments)
        raise SystemFault("enough")

    monkeypatch.setattr(process_groups, "start_worker", start)
    with pytest.raises(SystemFault, match="enough"):
        run("devices=2", "process_timeout=7")
    rank, size, _, timeout = calls[0]
    assert (rank, size, timeout) == (1, 2, 7)


def test_shard_optimizer_divides_the_state_among_processes() -> None:
    from trainer.engine.strategy_factory import make_strategy
    from trainer.engine.torch_process_group import TorchProcessGroup

    group = object.__new__(TorchProcessGroup)  # not connected
    group.rank, group.size = 0, 2
    for exact in (True, False):
        strategies = [
            make_strategy(replace(defaults(), shard_optimizer=value, exact=exact), group) for value in (False, True)
        ]
        assert [each.optimizer_group for each in strategies] == [None, group]


def test_exact_selects_the_strategy() -> None:
    from trainer.engine.process_group import SingleProcess
    from trainer.engine.strategy_factory import make_strategy

    found = [
        type(make_strategy(replace(defaults(), **options), SingleProcess())).__name__
        for options in ({}, {"exact": False}, {"shards": 2}, {"shards": 2, "exact": False})
    ]
    assert found == ["SingleDevice", "SingleDevice", "DataParallel", "OverlappedDataParallel"]
