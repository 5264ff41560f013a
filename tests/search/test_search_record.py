"""Record of a search: written after every batch, also when it is stopped, and never with fewer trials than before."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from trainer.config.search_points import PointComposer
from trainer.config.search_space import parse_space
from trainer.search import planning
from trainer.search.clock import Clock
from trainer.search.options import make_options
from trainer.search.search_run import Search
from trainer.search.trial_factory import TrialFactory
from trainer.utils.errors import SystemFault

pytestmark = pytest.mark.usefixtures("in_tmp")
OPTIONS = make_options(budget="100s")


def make_search(root: Path, written: list[Path]) -> Search:
    space = parse_space(["model=mlp", "data=moons", "batch_size=16,32"])
    factory = TrialFactory(PointComposer(space), planning.make_sampler(OPTIONS, space), is_promoting=False)
    return Search(OPTIONS, factory, None, root, written.append)  # type: ignore[arg-type]


def test_command_that_is_stopped_early_keeps_the_number_of_trials(tmp_path: Path) -> None:
    (tmp_path / "search.json").write_text(json.dumps({"seconds": 5.0, "trials": [{}] * 9, "num_trials": 12}))
    written: list[Path] = []
    for _ in range(2):
        search = make_search(tmp_path, written)
        assert search.num_earlier == 12
        search.write()
    assert written == [tmp_path, tmp_path]
    record = json.loads((tmp_path / "search.json").read_text())
    assert (record["trials"], record["num_trials"]) == ([], 12)


def test_time_is_recorded_whatever_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Search) -> None:
        raise SystemFault("the disk is gone")

    monkeypatch.setattr(planning, "run_first_rung", fail)
    monkeypatch.setattr("trainer.search.search_console.print_start", lambda _: None)
    with pytest.raises(SystemFault, match="the disk"):
        make_search(tmp_path, []).run()
    assert json.loads((tmp_path / "search.json").read_text())["seconds"] >= 0


@pytest.mark.parametrize("method", ["sobol", "random", "tpe"])
def test_every_batch_is_recorded(method: str) -> None:
    events: list[str] = []
    batches = [[], [], []]
    factory = SimpleNamespace(
        trials=[SimpleNamespace(number=0)], refused=[], sampler=None, extend=lambda *_: batches and [batches.pop()]
    )
    halving = SimpleNamespace(is_over=False, observe=list, run_first=lambda _: events.append("run"))
    search = SimpleNamespace(
        options=make_options(search=method, budget="100s"),
        factory=factory,
        halving=halving,
        write=lambda: events.append("write"),
    )
    planning.run_first_rung(search)  # type: ignore[arg-type]
    assert events == ["run", "write"] * 4


def test_time_is_recorded_while_a_rung_is_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a search that is killed in its first rung has used its time; the page is not written as often."""
    monkeypatch.setattr("trainer.search.search_console.print_progress", lambda *_: None)
    written: list[Path] = []
    search = make_search(tmp_path, written)
    search.clock = Clock(7.0, 100.0)
    search.halving.report_runs([], 1)  # type: ignore[misc]
    assert json.loads((tmp_path / "search.json").read_text())["seconds"] >= 7.0
    assert make_search(tmp_path, written).clock.seconds >= 7.0
    assert written == []
