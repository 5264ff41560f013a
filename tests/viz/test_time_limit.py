"""Pictures are drawn within a time, and what is not drawn is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from trainer.core.artifacts import Artifact, LazyArtifact, Table
from trainer.utils.errors import Interrupted
from trainer.viz import time_limit
from trainer.viz.time_limit import TimeLimit, draw_with_time_limit


class Slow(nn.Module):
    """A second for each call of its one layer, by a clock of its own."""

    def __init__(self, now: list[float]):
        super().__init__()
        self.layer, self.now = nn.Linear(1, 1), now

    def encode(self) -> None:
        self.layer(torch.zeros(1))
        self.now[0] += 1


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [0.0]
    monkeypatch.setattr(time_limit.time, "monotonic", lambda: time[0])
    return time


def of_calls(model: Slow, name: str, calls: int) -> LazyArtifact:
    def make() -> Artifact:
        for _ in range(calls):
            model.encode()
        return Table(name, ("a",), [])

    return LazyArtifact(name, make)


def test_late_figures_are_reported_and_finished_ones_are_kept(now: list[float], tmp_path: Path) -> None:
    model, said = Slow(now), []
    items = [
        of_calls(model, "a", 2),
        of_calls(model, "b", 100),
        of_calls(model, "c", 1),
        LazyArtifact("d", lambda: None),
    ]
    drawn, missed = draw_with_time_limit(items, model, tmp_path, TimeLimit(5, lambda: said.append(1), lambda: None))
    assert [path.name for path in drawn] == ["a.csv"]
    assert missed == ["b", "c", "d"]
    assert said == [1], "announced once"
    assert now[0] < 7
    assert not model.layer._forward_pre_hooks


def test_what_is_quick_is_not_announced_and_nothing_is_left_of_what_shows_nothing(
    now: list[float], tmp_path: Path
) -> None:
    model, said = Slow(now), []
    items = [of_calls(model, "a", 1), LazyArtifact("none", lambda: None)]
    drawn, missed = draw_with_time_limit(items, model, tmp_path, TimeLimit(5, lambda: said.append(1), lambda: None))
    assert ([path.name for path in drawn], missed, said) == (["a.csv"], [], [])


def test_items_that_are_made_at_once_are_bounded_too(now: list[float], tmp_path: Path) -> None:
    model = Slow(now)

    def items() -> Iterator[Artifact]:
        for number in range(100):
            model.encode()
            yield Table(f"{number}", ("a",), [])

    drawn, missed = draw_with_time_limit(items(), model, tmp_path, TimeLimit(3, lambda: None, lambda: None))
    assert len(drawn) == 4
    assert missed == ["others"]


def test_a_signal_need_not_wait(now: list[float], tmp_path: Path) -> None:
    def stop() -> None:
        raise Interrupted("stopped", 2)

    model = Slow(now)
    with pytest.raises(Interrupted):
        draw_with_time_limit([of_calls(model, "a", 1)], model, tmp_path, TimeLimit(9, lambda: None, stop))
    assert not model.layer._forward_pre_hooks
