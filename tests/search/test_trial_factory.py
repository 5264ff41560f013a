"""Trials: numbers, refused points, directories of earlier runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.config import compose, migrations
from trainer.config.run_config import Config
from trainer.config.search_points import PointComposer
from trainer.config.search_space import parse_space
from trainer.search import planning, search_run, trial_factory
from trainer.search.options import make_options
from trainer.search.rungs import RunLength
from trainer.search.samplers import Observation
from trainer.search.trial import Trial
from trainer.search.trial_factory import TrialFactory
from trainer.utils.errors import IncompatibleError

pytestmark = pytest.mark.usefixtures("in_tmp")
WORDS = ("model=mlp", "data=moons", "optimizer.lr=interval(0.001,0.1)", "batch_size=16,32,64")


class FixedComposer(PointComposer):
    """Composes one configuration for all points, and refuses large batches; medium ones are those of small ones."""

    def __init__(self, config: Config):
        super().__init__(parse_space(WORDS))
        self.config = config

    def select_values(self, values: Mapping[str, str]) -> dict[str, str]:
        return {**values, "batch_size": "16"} if values["batch_size"] == "32" else dict(values)

    def compose_all(self, points: Sequence[Mapping[str, str]]) -> list[Config | IncompatibleError]:
        return [IncompatibleError("large") if point["batch_size"] == "64" else self.config for point in points]


@pytest.fixture(scope="module")
def config() -> Config:
    return compose.compose(["model=mlp", "data=moons"])


def make_factory(config: Config, method: str) -> TrialFactory:
    options = make_options(search=method, budget="40runs")
    composer = FixedComposer(config)
    return TrialFactory(composer, planning.make_sampler(options, composer.space), is_promoting=options.is_promoting)


@pytest.mark.parametrize("method", ["tpe", "sobol"])
def test_refused_points_are_replaced_and_numbers_are_distinct(
    method: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_factory, "measure_lengths", lambda configs, _: [RunLength(16, 1, 1)] * len(configs))
    factory = make_factory(config, method)
    assert len(factory.extend(10)) == 10
    assert factory.refused
    for _ in range(3):
        observed = [Observation(trial.point, 0.5) for trial in factory.trials]
        assert len(factory.extend(4, observed)) == 4
    numbers = [trial.number for trial in [*factory.trials, *factory.refused]]
    assert sorted(numbers) == list(range(len(numbers)))


def place_one(config: Config, root: Path, pauses: tuple[int, ...] = ()) -> tuple[TrialFactory, Trial]:
    factory = make_factory(config, "sobol")
    trial = Trial(0, {}, {"batch_size": "16"}, config, Path(), RunLength(16, 1, 1), pauses)
    factory.trials = [trial]
    factory.place(root, may_reuse=False)
    return factory, trial


def write_results(path: Path, config: Config, **changes: object) -> None:
    path.mkdir(parents=True)
    results = {"status": "finished", "identity": config.config_hash, "format_version": migrations.FORMAT_VERSION}
    (path / "results.json").write_text(json.dumps(results | changes))


def test_run_of_other_data_in_the_directory_of_a_trial_is_not_used(config: Config, tmp_path: Path) -> None:
    _, first = place_one(config, tmp_path / "search")
    assert first.path.parent == tmp_path / "search"
    write_results(first.path, config)
    assert place_one(config, tmp_path / "search")[1].path == first.path
    (first.path / "results.json").unlink()
    first.path.rmdir()
    write_results(first.path, config, identity="that of other data")
    assert place_one(config, tmp_path / "search")[1].path.name == f"{first.path.name}-2"


def test_finished_run_without_its_history_is_not_used_for_rungs(config: Config, tmp_path: Path) -> None:
    _, trial = place_one(config, tmp_path)
    write_results(trial.path, config)
    assert place_one(config, tmp_path)[1].path == trial.path
    assert place_one(config, tmp_path, pauses=(1, 4))[1].path != trial.path
    (trial.path / "metrics.csv").write_text("step,val_nll\n1,0.5\n")
    assert place_one(config, tmp_path, pauses=(1, 4))[1].path == trial.path


def find_root(config: Config, *others: Config, resume: str | None = None) -> Path:
    factory = make_factory(config, "sobol")
    configs = [replace(item, settings=replace(item.settings, resume=resume)) for item in (config, *others)]
    return search_run._find_root(make_options(budget="3runs"), factory, configs)


def test_search_without_resume_is_found_by_the_command_with_it(config: Config) -> None:
    first, second = find_root(config), find_root(config)
    assert first != second
    assert find_root(config, resume="auto") == second
    assert find_root(config, config, resume="auto") not in (first, second)


def test_changed_data_of_any_trial_begin_another_search(config: Config) -> None:
    rows = ["x,y\n", *(f"{index},{index % 2}\n" for index in range(20))]
    Path("table.csv").write_text("".join(rows))
    other = compose.compose(["model=mlp", "data=csv", "data.path=table.csv", "data.target=y"])
    root = find_root(config, other, resume="auto")
    assert find_root(config, other, resume="auto") == root
    Path("table.csv").write_text("".join(rows).replace("19,1", "19,0"))
    assert find_root(config, other, resume="auto") != root


@pytest.mark.parametrize(("values", "is_same"), [("data.rows=300,400", False), ("batch_size=16,32", True)])
def test_trials_with_other_validation_rows_are_noticed(values: str, is_same: bool) -> None:
    composer = PointComposer(parse_space(["model=mlp", "data=moons", values]))
    factory = TrialFactory(composer, planning.make_sampler(make_options(), composer.space), is_promoting=False)
    assert factory.has_same_rows
    assert len(factory.extend(2)) == 2
    assert factory.has_same_rows is is_same
