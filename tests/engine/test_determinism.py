"""Key ``deterministic``: settings of cuBLAS, errors that name the operation, and losses without unordered kernels."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.golden import record
from tests.helpers.families import FAMILIES
from tests.helpers.simulated_cuda import CUDA, simulate_cuda
from trainer.config import compose
from trainer.core.ordered_sums import cumulative_sum
from trainer.engine import determinism
from trainer.models.layers.conv.adaptive_pool import AdaptiveAvgPool, AdaptiveMaxPool
from trainer.runs import train
from trainer.tasks.losses import masked_cross_entropy
from trainer.utils.errors import ConfigError

VARIABLE = determinism.WORKSPACE_VARIABLE


@pytest.fixture(autouse=True)
def _restore_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")  # so that the value of the process is restored
    monkeypatch.delenv(VARIABLE)


def test_workspace_is_set_before_cuda_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with determinism.deterministic_kernels(enabled=False):
        assert VARIABLE not in os.environ
        assert not torch.are_deterministic_algorithms_enabled()
    with determinism.deterministic_kernels(enabled=True):
        assert os.environ[VARIABLE] == ":4096:8"
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with determinism.deterministic_kernels(enabled=True):  # it was set in time
        pass
    monkeypatch.setenv(VARIABLE, ":0:0")
    with (
        pytest.raises(ConfigError, match="CUBLAS_WORKSPACE_CONFIG is ':0:0'; it must be :4096:8 or :16:8"),
        determinism.deterministic_kernels(enabled=True),
    ):
        pass
    monkeypatch.delenv(VARIABLE)
    with (
        pytest.raises(ConfigError, match="deterministic: this process uses CUDA already"),
        determinism.deterministic_kernels(enabled=True),
    ):
        pass
    assert not torch.are_deterministic_algorithms_enabled()


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="a bug"), determinism.deterministic_kernels(enabled=True):
        raise RuntimeError("a bug")
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("name", record.RUNS)
def test_golden_losses_are_the_same_on_the_cpu(name: str) -> None:
    expected = record.losses(name)
    with determinism.deterministic_kernels(enabled=True):
        assert record.losses(name) == expected


@pytest.mark.slow
@pytest.mark.parametrize("family", ["unet", "cnn with batch norm", "vq_vae", "gat"])
def test_losses_use_no_unordered_kernel(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, ":16:8")
    options = ("epochs=1", "device=cuda", "deterministic=true", "draw=false", f"hydra.run.dir={tmp_path}/run")
    with simulate_cuda():
        assert train.run(compose.compose([*FAMILIES[family], *options])).status == "finished"


def test_an_operation_without_a_deterministic_kernel_is_named_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, ":16:8")
    monkeypatch.setattr(AdaptiveMaxPool, "forward", nn.AdaptiveMaxPool2d.forward)
    options = ("device=cuda", "deterministic=true", f"hydra.run.dir={tmp_path}/run")
    config = compose.compose([*FAMILIES["cnn with batch norm"], *options])
    with simulate_cuda(), pytest.raises(ConfigError, match="deterministic: adaptive_max_pool2d_backward_cuda has no"):
        train.run(config)
    assert not (tmp_path / "run").exists()


def test_ordered_sums_equal_the_usual_ones() -> None:
    values = torch.rand(4, 300)
    logits, target = torch.randn(2, 5, 3, 4, dtype=torch.float64), torch.randint(5, (2, 3, 4))
    target[0, 0, 0] = -100
    image = torch.rand(2, 3, 7, 5)
    pools = AdaptiveAvgPool((3, 2)), AdaptiveMaxPool((3, 2))
    usual = (
        *(pool(image) for pool in pools),
        values.cumsum(1),
        masked_cross_entropy.cross_entropy(logits, target),
        values.double().cumsum(0),
    )
    with simulate_cuda(), determinism.deterministic_kernels(enabled=False):
        torch.use_deterministic_algorithms(True)
        try:
            with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
                values.to(CUDA).cumsum(1)
            ordered = (
                *(pool(image.to(CUDA)).cpu() for pool in pools),
                cumulative_sum(values.to(CUDA), 1).cpu(),
                masked_cross_entropy.cross_entropy(logits.to(CUDA), target.to(CUDA)).cpu(),
                cumulative_sum(values.double().to(CUDA), 0).cpu(),
            )
            assert not cumulative_sum(torch.zeros(3, device="cuda"), 0).cpu().any()
        finally:
            torch.use_deterministic_algorithms(False)
    for expected, found in zip(usual, ordered, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
        assert found.dtype == expected.dtype
