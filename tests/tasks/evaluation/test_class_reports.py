"""The table of the classes is that of scikit-learn, and the reliability diagram shows how far confidences are right."""

from __future__ import annotations

import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_fscore_support

from trainer.metrics.calibration import bin_confidences
from trainer.metrics.classification import confusion_matrix
from trainer.tasks.evaluation.class_reports import plot_reliability, tabulate_classes


def test_classes_have_the_scores_of_sklearn() -> None:
    generator = torch.Generator().manual_seed(0)
    true, predicted = (torch.randint(0, 3, (200,), generator=generator) for _ in range(2))
    table = tabulate_classes(confusion_matrix(predicted, true, 4), ["a", "b", "c", "unused"])
    assert table is not None
    expected = precision_recall_fscore_support(true, predicted)
    assert [row[0] for row in table.rows] == ["a", "b", "c"]
    for index, row in enumerate(table.rows):
        assert row[1] == expected[3][index]
        assert [float(str(cell)) for cell in row[3:]] == pytest.approx([part[index] for part in expected[:3]], abs=1e-4)


def test_a_class_that_is_never_predicted_has_scores_of_zero() -> None:
    table = tabulate_classes(torch.tensor([[3, 0], [2, 0]]), ["a", "b"])
    assert table is not None
    assert table.rows[1] == ("b", 2, 0, "0.0000", "0.0000", "0.0000")
    assert tabulate_classes(torch.zeros(2, 2, dtype=torch.long), ["a", "b"]) is None


def test_the_diagram_is_the_calibration_curve_of_sklearn() -> None:
    generator = torch.Generator().manual_seed(1)
    confidence = 0.5 + 0.5 * torch.rand(3000, generator=generator, dtype=torch.double)
    is_right = torch.rand(3000, generator=generator) < confidence**2  # confident beyond its accuracy
    bins = bin_confidences(torch.stack((confidence, 1 - confidence), 1), (~is_right).long())
    chart = plot_reliability(bins)
    assert chart is not None
    reliability, histogram = chart.panels
    ((_, mean_confidence, accuracy),) = reliability.points
    expected_accuracy, expected_confidence = calibration_curve(is_right, confidence, n_bins=15)
    assert accuracy.tolist() == pytest.approx(expected_accuracy.tolist())
    assert mean_confidence.tolist() == pytest.approx(expected_confidence.tolist())
    error = float(((accuracy - mean_confidence).abs() * bins[0][bins[0] > 0]).sum() / 3000)
    assert f"ECE {error:.4f}" in reliability.title
    assert error > 0.05
    ((_, edges, counts),) = histogram.lines
    assert len(edges) == len(counts) == 30
    assert counts[::2].sum() == 3000


def test_without_rows_there_is_no_diagram() -> None:
    assert plot_reliability(torch.zeros(3, 15)) is None
