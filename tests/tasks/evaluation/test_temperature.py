"""Temperature scaling against a numerical minimization of the NLL."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trainer.tasks.evaluation.temperature import TEMPERATURE_BOUNDS, fit_temperature


@pytest.mark.parametrize(("num_classes", "sharpness"), [(2, 3.0), (5, 0.4)])
def test_temperature_minimizes_the_nll(num_classes: int, sharpness: float) -> None:
    from scipy.optimize import minimize_scalar

    generator = torch.Generator().manual_seed(num_classes)
    logits = 2 * torch.randn(3000, num_classes, generator=generator)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    scaled = (sharpness * logits).double()
    found = fit_temperature(scaled.float(), target)
    expected = minimize_scalar(
        lambda t: float(F.cross_entropy(scaled / t, target)),
        bounds=(0.1, 10),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert found == pytest.approx(expected.x, rel=1e-4)
    assert found == pytest.approx(sharpness, rel=0.1), "the logits of the labels themselves"


def test_temperature_is_bounded() -> None:
    logits = torch.tensor([[2.0, -1.0], [-1.0, 3.0]])
    assert fit_temperature(logits, torch.tensor([0, 1])) == pytest.approx(TEMPERATURE_BOUNDS[0])
    assert fit_temperature(logits, torch.tensor([1, 0])) == pytest.approx(TEMPERATURE_BOUNDS[1])
