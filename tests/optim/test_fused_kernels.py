"""Optimizers without fused kernels use torch's public ones, with the same results."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.optimizer_steps import LR, build_optimizer, run_steps
from trainer.optim import fused_kernels

NAMES = ["adam", "adamw", "sgd", "momentum", "nesterov"]


@pytest.mark.parametrize("found_inf", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_public_optimizers_match_fused_kernels(name: str, found_inf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = torch.zeros(()) if found_inf else None
    model, fused = build_optimizer(name, weight_decay=0.1, everything=False)
    for key in fused_kernels.FUSED_KERNELS:
        assert fused_kernels.FUSED_KERNELS[key] is not None, "this torch has no fused kernel to compare with"
        monkeypatch.setitem(fused_kernels.FUSED_KERNELS, key, None)
    twin, public = build_optimizer(name, weight_decay=0.1, everything=False)
    run_steps(model, fused.params.zero_grad, lambda _: fused.step(LR, found_inf=flag))
    run_steps(twin, public.params.zero_grad, lambda _: public.step(LR, found_inf=flag))
    torch.testing.assert_close(fused.params.data, public.params.data, rtol=1e-6, atol=1e-7)
    for key, average in fused.averages.items():
        torch.testing.assert_close(average, public.averages[key], rtol=1e-5, atol=1e-7)
    before = public.params.data.clone()
    public.step(LR, found_inf=torch.ones(()))
    assert torch.equal(public.params.data, before)
    public.step(LR, momentum=0.1)
    fused.step(LR, momentum=0.1)
    torch.testing.assert_close(fused.params.data, public.params.data, rtol=1e-6, atol=1e-7)
    assert public.steps == fused.steps == 21


def test_fused_kernels_are_those_of_the_installed_torch() -> None:
    assert all(kernel is getattr(torch, f"_fused_{key}_", None) for key, kernel in fused_kernels.FUSED_KERNELS.items())
