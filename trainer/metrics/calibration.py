"""Calibration of predicted probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

NUM_BINS = 15
"""Number of bins of the expected calibration error, as in Guo et al. 2017."""


def bin_confidences(probabilities: Tensor, target: Tensor) -> Tensor:
    """Return what ``expected_calibration_error`` sums over rows, by bins of the confidence with equal widths.

    The confidence of a row is its largest probability, whose class is its prediction.

    Args:
        probabilities: Probabilities ``(N, C)``.
        target: True classes ``(N,)``.

    Returns:
        Number of rows, number of correct predictions and sum of confidences of each bin, ``(3, NUM_BINS)``.
    """
    confidence, predicted = probabilities.max(1)
    # A bin contains its upper bound: (0, 1/15], (1/15, 2/15], ...
    bins = (confidence * NUM_BINS).ceil().long().clamp(1, NUM_BINS) - 1
    values = torch.stack((torch.ones_like(confidence), (predicted == target).to(confidence.dtype), confidence))
    return confidence.new_zeros(3, NUM_BINS).index_add_(1, bins, values)


def expected_calibration_error(bins: Tensor) -> float:
    """Return the expected calibration error: the mean over rows of ``|accuracy - mean confidence|`` of their bin.

    Args:
        bins: Sums over all rows from ``bin_confidences``, ``(3, NUM_BINS)``.

    References:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    count, correct, confidence = bins
    return float((correct - confidence).abs().sum() / count.sum())
