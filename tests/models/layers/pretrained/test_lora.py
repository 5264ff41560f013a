"""Low-rank adapters of saved models: what is trained, and the model after they are merged."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers import saved_model
from tests.helpers.marks import mark_slow_after
from trainer.core.adapters import merge_adapters
from trainer.models.language.pretrained import Pretrained
from trainer.models.layers.pretrained import lora
from trainer.utils.errors import ConfigError

KINDS = [*saved_model.IMAGE_MODELS, "bert"]


@cache
def save(kind: str) -> Path:
    folder = Path(mkdtemp())
    return saved_model.save(folder) if kind == "bert" else saved_model.save_images(folder, kind)


def make(kind: str, **options: Any) -> Pretrained:
    inputs = {"vocab_size": 12} if kind == "bert" else {"pixel_bounds": [[0.0], [1.0]]}
    return Pretrained(str(save(kind)), 3, **inputs | {"dropout": 0.0} | options).eval()


def draw_inputs(kind: str) -> Tensor:
    return torch.randint(4, 12, (5, 9)) if kind == "bert" else torch.rand(5, 1, 24, 24)


def train_adapters(model: nn.Module) -> None:
    """Give the adapters weights as after training; at first their product is zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.normal_(0, 0.1)


@pytest.mark.parametrize("kind", mark_slow_after(1, KINDS))
def test_merged_model_equals_the_model_with_adapters(kind: str) -> None:
    model, x = make(kind, lora_rank=4), draw_inputs(kind)
    before = model(x)
    torch.testing.assert_close(before, make_plain(kind, model)(x), rtol=0, atol=0)
    train_adapters(model)
    adapted = model(x)
    assert (adapted - before).abs().max() > 1e-3
    merge_adapters(model)
    merged = model(x)
    assert (merged - adapted).abs().max() <= 1e-5 * adapted.abs().max()
    assert not [name for name in model.state_dict() if "lora" in name or "base_layer" in name]
    torch.testing.assert_close(make_plain(kind, model)(x), merged, rtol=0, atol=0)
    merge_adapters(model)
    assert torch.equal(model(x), merged)


def make_plain(kind: str, model: Pretrained) -> Pretrained:
    """Return a model without adapters that has the same other weights."""
    plain = make(kind)
    weights = {name.replace(".base_layer", ""): value for name, value in model.state_dict().items()}
    plain.load_state_dict({name: value for name, value in weights.items() if "lora" not in name})
    return plain


@pytest.mark.parametrize("kind", mark_slow_after(1, KINDS))
def test_only_adapters_and_head_are_trained(kind: str) -> None:
    model = make(kind, lora_rank=2)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    adapters = {name for name in trained if ".lora_A." in name or ".lora_B." in name}
    assert trained - adapters == {"head.weight", "head.bias"}
    assert adapters
    model(draw_inputs(kind)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert gradients.keys() == trained


def test_targets_select_layers() -> None:
    model = make("vit", lora_rank=2, lora_targets=["*.fc1", "*.projection"])
    adapted = {name.partition(".lora_A")[0] for name, _ in model.body.named_parameters() if ".lora_A" in name}
    assert {name.rpartition(".")[2] for name in adapted} == {"fc1", "projection"}


def test_unknown_targets_raise() -> None:
    with pytest.raises(
        ValueError, match=r"lora_targets: '\*\.fc9' matches no linear .* did you mean \*\.fc\d\? there are"
    ):
        make("vit", lora_rank=2, lora_targets=["*.fc9"])


def test_model_without_layers_for_adapters_raises() -> None:
    with pytest.raises(ValueError, match="lora_rank: the model has no linear layer and no convolution for adapters"):
        lora.add_adapters(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.ReLU()), 2, 16.0, None)


def test_alpha_scales_the_adapters() -> None:
    outputs = []
    for alpha in (0.001, 1.0, 2.0):
        model = make("resnet", lora_rank=2, lora_alpha=alpha, lora_targets=["encoder.stages.1.layers.0.layer.1.*"])
        torch.manual_seed(0)  # the first model writes its files, which draws numbers
        train_adapters(model)
        module = model.body.encoder.stages[1].layers[0].layer[1].convolution
        outputs.append(module(torch.ones(1, 6, 4, 4)))
    ratio = (outputs[2] - outputs[0]) / (outputs[1] - outputs[0])
    torch.testing.assert_close(ratio, torch.full_like(ratio, 1.999 / 0.999), rtol=1e-3, atol=1e-3)


def test_missing_package_error_names_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"model\.lora_rank needs the package peft: pip install 'train-zoo\[lora\]'"):
        make("vit", lora_rank=2)
