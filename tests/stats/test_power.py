"""Power of the t test, against scipy and published tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trainer.stats import power
from trainer.stats.power import compute_power, count_needed_seeds


@pytest.mark.parametrize("effect", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("seeds", [2, 5, 20])
def test_power_is_that_of_the_noncentral_t_distribution(effect: float, seeds: int) -> None:
    bound = stats.t.ppf(0.975, seeds - 1)
    shift = effect * np.sqrt(seeds)
    expected = stats.nct.sf(bound, seeds - 1, shift) + stats.nct.cdf(-bound, seeds - 1, shift)
    assert compute_power(effect, seeds, 0.05, is_paired=True) == pytest.approx(expected, abs=1e-6)


def test_numbers_of_seeds_are_those_of_published_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cohen 1988, table 2.4.1 at a power of 0.80 and 0.05, two-sided: d 0.5, 0.8, 1.0 need 64, 26, 17 in each group."""
    monkeypatch.setattr(power, "MAX_SEEDS", 100)
    needed = [count_needed_seeds(effect, 0.05, is_paired=False) for effect in (0.5, 0.8, 1.0)]
    assert needed == [64, 26, 17]


def test_power_increases_with_seeds_and_effect() -> None:
    for alpha in (0.04, 0.0004):
        grid = np.array(
            [
                [compute_power(effect, seeds, alpha, is_paired=True) for seeds in range(2, 31)]
                for effect in (0.1, 0.5, 1.0, 2.0, 2.7, 4.0, 8.0, 20.0, 100.0)
            ]
        )
        assert np.isfinite(grid).all()
        assert (np.diff(grid, axis=0) > -1e-9).all()
        assert (np.diff(grid, axis=1) > -1e-9).all()


def test_tiny_and_huge_effects() -> None:
    assert count_needed_seeds(0.0, 0.05, is_paired=True) is None
    assert count_needed_seeds(1e-9, 0.05, is_paired=True) is None
    assert count_needed_seeds(1e6, 0.05, is_paired=True) == 2
    assert compute_power(1e6, 3, 1e-4, is_paired=False) == 1.0


def test_the_smallest_number_is_found() -> None:
    for effect in (0.8, 1.1, 2.7):
        needed = count_needed_seeds(effect, 0.01, is_paired=True)
        assert needed is not None
        assert compute_power(effect, needed, 0.01, is_paired=True) >= 0.8
        assert compute_power(effect, needed - 1, 0.01, is_paired=True) < 0.8
