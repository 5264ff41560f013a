"""The learning-rate range test: only rates that were run are suggested."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from trainer.analysis.lr_finder import MAX_LR, MIN_LR, GeometricRange, choose_rate, run_range_test, smooth
from trainer.config import compose
from trainer.utils.errors import ConfigError
from trainer.utils.signals import StopFlag


def test_rates_are_geometric_and_of_two_digits() -> None:
    schedule = GeometricRange(0.1, 50)
    rates = [schedule(step)[0] for step in range(50)]
    assert (rates[0], rates[-1]) == (MIN_LR, MAX_LR)
    assert all(rate == float(f"{rate:.1e}") for rate in rates)
    ratios = [later / rate for rate, later in pairwise(rates)]
    assert max(ratios) / min(ratios) < 1.2


def test_smoothing_starts_at_the_first_loss() -> None:
    assert smooth([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])
    assert smooth([0.0, 1.0])[1] == pytest.approx(0.1 / (1 - 0.81))


def test_the_steepest_fall_is_found() -> None:
    rates = [10 ** (-6 + step / 20) for step in range(140)]
    losses = [1 / (1 + math.exp(4 * (math.log10(rate) + 3))) for rate in rates]  # steepest at 1e-3
    chosen = choose_rate(rates, losses)
    assert chosen in rates
    assert chosen == pytest.approx(1e-3, rel=0.3)


@pytest.mark.parametrize("losses", [[1.0] * 60, [1.0 + step / 60 for step in range(60)], [1.0, 0.5]])
def test_no_rate_is_suggested_where_the_loss_does_not_fall(losses: list[float]) -> None:
    assert choose_rate([1e-6 * 1.2**step for step in range(len(losses))], losses) is None


@pytest.mark.slow
def test_a_suggested_rate_was_run_and_learns() -> None:
    config = compose.compose(["model=mlp", "data=moons", "data.rows=600", "optimizer=sgd", "threads=1"])
    test = run_range_test(config, StopFlag())
    rate = choose_rate(test.rates, test.smoothed)
    assert rate in test.rates
    assert 1e-3 < rate < 5.0  # SGD on two moons


@pytest.mark.parametrize("model", ["gan", "wgan_gp"])
def test_games_are_refused_with_the_reason(model: str) -> None:
    config = compose.compose([f"model={model}", "data=ring", "data.rows=100", "threads=1"])
    with pytest.raises(ConfigError, match="trains critic and generator in turn; the loss of each depends on the other"):
        run_range_test(config, StopFlag())
