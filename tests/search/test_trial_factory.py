"""Trials: numbers, refused points, directories of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from trainer.config import compose
from trainer.config.run_config import Config
from trainer.config.search_points import PointComposer
from trainer.config.search_space import parse_space
from trainer.search import planning, trial_factory
from trainer.search.options import make_options
from trainer.search.rungs import RunLength
from trainer.search.samplers import Observation
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
    monkeypatch.setattr(trial_factory, "measure_lengths", lambda configs: [RunLength(16, 1, 1)] * len(configs))
    factory = make_factory(config, method)
    assert len(factory.extend(10)) == 10
    assert factory.refused
    for _ in range(3):
        observed = [Observation(trial.point, 0.5) for trial in factory.trials]
        assert len(factory.extend(4, observed)) == 4
    numbers = [trial.number for trial in [*factory.trials, *factory.refused]]
    assert sorted(numbers) == list(range(len(numbers)))
