"""Expected calibration error against its definition and against scikit-learn's reliability curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.metrics.calibration import NUM_BINS, bin_confidences, expected_calibration_error


def make_rows(num_classes: int) -> tuple[Tensor, Tensor]:
    """Return probabilities of overconfident predictions, and classes."""
    generator = torch.Generator().manual_seed(num_classes)
    logits = 3 * torch.randn(400, num_classes, generator=generator, dtype=torch.float64)
    return logits.softmax(1), torch.randint(0, num_classes, (400,), generator=generator)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_ece_by_its_definition(num_classes: int) -> None:
    probabilities, target = make_rows(num_classes)
    confidence, predicted = probabilities.max(1)
    expected = 0.0
    for m in range(NUM_BINS):
        inside = (confidence > m / NUM_BINS) & (confidence <= (m + 1) / NUM_BINS)
        if inside.any():
            accuracy = (predicted == target)[inside].double().mean()
            expected += float(inside.double().mean() * (accuracy - confidence[inside].mean()).abs())
    assert expected > 0.1
    bins = bin_confidences(probabilities, target)
    assert expected_calibration_error(bins) == pytest.approx(expected)
    halves = bin_confidences(probabilities[:123], target[:123]) + bin_confidences(probabilities[123:], target[123:])
    assert expected_calibration_error(halves) == pytest.approx(expected), "the sums of batches add up"


def test_bins_are_those_of_the_reliability_curve_of_scikit_learn() -> None:
    from sklearn.calibration import calibration_curve

    probabilities, target = make_rows(3)
    count, correct, confidence = bin_confidences(probabilities, target)
    largest, predicted = probabilities.max(1)
    expected = calibration_curve(predicted == target, largest, n_bins=NUM_BINS)
    occupied = count > 0
    np.testing.assert_allclose((correct / count)[occupied], expected[0])
    np.testing.assert_allclose((confidence / count)[occupied], expected[1])


def test_ends_of_the_bins_and_perfect_calibration() -> None:
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert expected_calibration_error(bin_confidences(certain, torch.tensor([0, 1]))) == 0
    assert expected_calibration_error(bin_confidences(certain, torch.tensor([1, 0]))) == 1
    even = torch.full((4, 4), 0.25, dtype=torch.float64)
    assert expected_calibration_error(bin_confidences(even, torch.tensor([0, 1, 2, 3]))) == 0
    assert math.isclose(float(bin_confidences(even, torch.tensor([0, 1, 2, 3]))[2].sum()), 1.0)
