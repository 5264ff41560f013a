"""Correction of Holm."""

from __future__ import annotations

import pytest

from tests.helpers.simulated_scores import measure_sweep_claims
from trainer.stats.holm import adjust_p_values


def test_adjusted_p_values_by_hand() -> None:
    """0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 * 1, which is not below the one before."""
    assert adjust_p_values([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_p_values([0.6, 0.9]) == [1.0, 1.0]
    assert adjust_p_values([0.2]) == [0.2]
    assert adjust_p_values([]) == []


def test_selected_comparisons_count_as_all_of_them() -> None:
    """Two of six: 0.005 * 6 and 0.01 * 5."""
    assert adjust_p_values([0.01, 0.005], 6) == pytest.approx([0.05, 0.03])
    assert adjust_p_values([0.01, 0.005], 1) == pytest.approx([0.01, 0.01]), "never fewer than there are"


@pytest.mark.slow
def test_a_sweep_over_equal_settings_rarely_claims_anything() -> None:
    assert measure_sweep_claims(10, 5, sweeps=150) <= 0.08
    assert measure_sweep_claims(10, 5, sweeps=150, corrected=False) > 0.15, "nine tests at once"
