"""Time limit of drawing, and names of artifacts that are not drawn."""

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
    """A model that advances a clock by a second for each call of its layer."""

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


def make_lazy_table(model: Slow, name: str, calls: int) -> LazyArtifact:
    def make() -> Artifact:
        for _ in range(calls):
            model.encode()
        return Table(name, ("a",), [])

    return LazyArtifact(name, make)


def test_late_figures_are_reported_and_finished_ones_are_kept(now: list[float], tmp_path: Path) -> None:
    model, announcements = Slow(now), []
    items = [
        make_lazy_table(model, "a", 2),
        make_lazy_table(model, "b", 100),
        make_lazy_table(model, "c", 1),
        LazyArtifact("d", lambda: None),
    ]
    paths, missing = draw_with_time_limit(
        items, model, tmp_path, TimeLimit(5, lambda: announcements.append(1), lambda: None)
    )
    assert [path.name for path in paths] == ["a.csv"]
    assert missing == ["b", "c", "d"]
    assert announcements == [1], "announced once"
    assert now[0] < 7
    assert not model.layer._forward_pre_hooks


def test_quick_artifacts_are_not_announced(now: list[float], tmp_path: Path) -> None:
    model, announcements = Slow(now), []
    items = [make_lazy_table(model, "a", 1), LazyArtifact("none", lambda: None)]
    paths, missing = draw_with_time_limit(
        items, model, tmp_path, TimeLimit(5, lambda: announcements.append(1), lambda: None)
    )
    assert ([path.name for path in paths], missing, announcements) == (["a.csv"], [], [])


def test_time_limit_applies_to_eager_artifacts(now: list[float], tmp_path: Path) -> None:
    model = Slow(now)

    def make_items() -> Iterator[Artifact]:
        for number in range(100):
            model.encode()
            yield Table(f"{number}", ("a",), [])

    paths, missing = draw_with_time_limit(make_items(), model, tmp_path, TimeLimit(3, lambda: None, lambda: None))
    assert len(paths) == 4
    assert missing == ["others"]


def test_interrupt_stops_drawing(now: list[float], tmp_path: Path) -> None:
    def stop() -> None:
        raise Interrupted("stopped", 2)

    model = Slow(now)
    with pytest.raises(Interrupted):
        draw_with_time_limit([make_lazy_table(model, "a", 1)], model, tmp_path, TimeLimit(9, lambda: None, stop))
    assert not model.layer._forward_pre_hooks
