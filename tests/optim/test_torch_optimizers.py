"""Optimizers of torch on the flat vector: updates against torch on separate parameters, and resuming."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.optimizer_steps import LR, make_network, run_steps
from trainer.config import torch_classes
from trainer.optim.flat_params import FlatParameters
from trainer.optim.muon import Muon, as_matrix
from trainer.optim.torch_optimizers import ELEMENTWISE, TorchOptimizer

DECAYS = {"weight_decay": 0.1}
OPTIONS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "nesterov": True, **DECAYS},
    "RMSprop": {"momentum": 0.5, "centered": True, **DECAYS},
    "Adam": {"amsgrad": True, **DECAYS},
    "Rprop": {},
    "ASGD": {"t0": 5.0, **DECAYS},
    "NAdam": {"decoupled_weight_decay": True, **DECAYS},
    "Adafactor": {"weight_decay": 0.1},
}
NAMES = [name for name in torch_classes.list_classes("optimizer") if name not in {*torch_classes.UNSUPPORTED, "Muon"}]


def find_class(name: str) -> Any:
    return getattr(torch.optim, name)


def build_optimizer(name: str, grouped: bool = False) -> tuple[nn.Module, TorchOptimizer]:
    model = make_network()
    options = {model[3].weight: {"lr_scale": 0.3}, model[0].bias: {"weight_decay": 0.5}} if grouped else {}  # type: ignore[index]
    params = FlatParameters(model.parameters(), names={p: n for n, p in model.named_parameters()}, options=options)
    return model, TorchOptimizer(params, find_class(name), {"lr": LR, **OPTIONS.get(name, DECAYS)})


def run_torch_optimizer(name: str, grouped: bool = False) -> list[Tensor]:
    model = make_network()
    options = OPTIONS.get(name, DECAYS)
    own = {"3.weight": {"lr": 0.3 * LR}, "0.bias": {"weight_decay": 0.5} if "weight_decay" in options else {}}
    groups = [{"params": [p], **(own.get(n, {}) if grouped else {})} for n, p in model.named_parameters()]
    optimizer = find_class(name)(groups, lr=LR, **options)
    run_steps(model, optimizer.zero_grad, lambda _: optimizer.step())
    return list(model.parameters())


def test_every_optimizer_of_torch_is_tested() -> None:
    assert set(NAMES) - {"Adafactor"} == ELEMENTWISE


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_updates_match_torch_over_separate_parameters(name: str, grouped: bool) -> None:
    model, optimizer = build_optimizer(name, grouped)
    run_steps(model, optimizer.params.zero_grad, lambda _: optimizer.step(LR))
    for actual, expected in zip(model.parameters(), run_torch_optimizer(name, grouped), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-7)
    if grouped:
        pairs = zip(model.parameters(), run_torch_optimizer(name), strict=True)
        assert any(not torch.allclose(actual, plain, rtol=1e-3, atol=1e-5) for actual, plain in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_padding_stays_zero(name: str) -> None:
    model, optimizer = build_optimizer(name)
    run_steps(model, optimizer.params.zero_grad, lambda _: optimizer.step(LR))
    params = optimizer.params
    views = params.split_by_name(params.data.clone())
    assert sum(float(view.detach().square().sum()) for view in views.values()) == pytest.approx(
        float(params.data.square().sum()), rel=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_state_resumes_bit_exactly_and_is_saved_by_name(name: str) -> None:
    model, optimizer = build_optimizer(name)
    saved: dict[str, Any] = {}

    def step(number: int) -> None:
        optimizer.step(LR)
        if number == 8:
            saved.update(copy.deepcopy({"model": model.state_dict(), "optimizer": optimizer.state_dict()}))

    run_steps(model, optimizer.params.zero_grad, step)
    resumed_model, resumed = build_optimizer(name)
    resumed_model.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    run_steps(resumed_model, resumed.params.zero_grad, lambda _: resumed.step(LR), start=9)
    assert torch.equal(optimizer.params.data, resumed.params.data)
    parts = {**saved["optimizer"]["averages"], **saved["optimizer"]["others"]}
    assert parts or name == "SGD"
    for by_name in parts.values():
        assert set(by_name) <= {n for n, _ in model.named_parameters()}
    stateless_model, stateless = build_optimizer(name)
    stateless_model.load_state_dict(saved["model"])
    run_steps(stateless_model, stateless.params.zero_grad, lambda _: stateless.step(LR), start=9)
    assert not torch.equal(optimizer.params.data, stateless.params.data)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_state_has_the_structure_of_a_real_one(name: str) -> None:
    model, optimizer = build_optimizer(name)
    before, state = optimizer.params.data.clone(), copy.deepcopy(optimizer.state_dict())
    example = optimizer.example_state_dict(has_stepped=True)
    assert torch.equal(before, optimizer.params.data)
    assert str(optimizer.state_dict()) == str(state)
    run_steps(model, optimizer.params.zero_grad, lambda _: optimizer.step(LR))
    for part in ("averages", "others"):
        values_by_key = optimizer.state_dict()[part]
        assert {key: list(values) for key, values in values_by_key.items()} == {
            k: list(v) for k, v in example[part].items()
        }
        for key, values in values_by_key.items():
            assert [v.shape for v in values.values()] == [v.shape for v in example[part][key].values()]
    assert not torch.equal(before, optimizer.params.data)


@pytest.mark.parametrize("name", NAMES)
def test_a_nonfinite_gradient_changes_nothing(name: str) -> None:
    model, optimizer = build_optimizer(name)
    start = optimizer.params.data.clone()
    optimizer.params.grad.fill_(float("nan"))
    optimizer.step(LR, found_inf=torch.ones(()))
    assert torch.equal(start, optimizer.params.data)
    assert optimizer.steps == 0
    run_steps(model, optimizer.params.zero_grad, lambda _: optimizer.step(LR, found_inf=torch.zeros(())))
    before = copy.deepcopy([optimizer.params.data, optimizer.state_dict()])
    optimizer.params.grad[2] = float("nan")
    optimizer.step(LR, found_inf=torch.ones(()))
    assert str(before) == str([optimizer.params.data, optimizer.state_dict()])
    plain, other = build_optimizer(name)
    run_steps(plain, other.params.zero_grad, lambda _: other.step(LR))
    assert torch.equal(optimizer.params.data, other.params.data)


@pytest.mark.parametrize(("name", "key"), [("NAdam", "betas"), ("RMSprop", "momentum")])
def test_momentum_of_a_step_replaces_the_configured_one(name: str, key: str) -> None:
    _, optimizer = build_optimizer(name)
    assert optimizer.has_momentum
    optimizer.params.grad.fill_(0.1)
    optimizer.step(LR, momentum=0.25)
    value = optimizer.optimizers[0].param_groups[0][key]
    assert (value[0] if key == "betas" else value) == 0.25
    assert not build_optimizer("Adagrad")[1].has_momentum


def make_convolutions(channels_last: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 5), nn.Linear(5, 2)
    )
    return model.to(memory_format=torch.channels_last) if channels_last else model  # type: ignore[call-overload, no-any-return]


def train_convolutions(model: nn.Module, zero: Any, step: Any) -> None:
    torch.manual_seed(1)
    for _ in range(6):
        zero()
        model(torch.randn(4, 3, 5, 5)).square().sum().backward()
        step()


MUON: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "ns_steps": 5, "adjust_lr_fn": "match_rms_adamw"}


@pytest.mark.parametrize("channels_last", [False, True])
def test_muon_updates_matrices_and_kernels_and_adamw_the_rest(channels_last: bool) -> None:
    model, other = make_convolutions(channels_last), make_convolutions()
    params = FlatParameters(model.parameters(), names={p: n for n, p in model.named_parameters()})
    options = {"weight_decay": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "adamw": ["4.*"], **MUON}
    optimizer = Muon(params, lr=LR, **options)
    train_convolutions(model, params.zero_grad, lambda: optimizer.step(LR))

    kernel = nn.Parameter(other[0].weight.detach().flatten(1))
    muon = torch.optim.Muon([kernel, other[3].weight], lr=LR, weight_decay=0.1, **MUON)
    rest = [p for n, p in other.named_parameters() if n not in ("0.weight", "3.weight")]
    adamw = torch.optim.AdamW(rest, lr=LR, weight_decay=0.1, betas=(0.9, 0.99))

    def step() -> None:
        kernel.grad = other[0].weight.grad.flatten(1)
        muon.step()
        adamw.step()

    train_convolutions(other, other.zero_grad, step)
    # The iteration runs in bfloat16; in another order of the columns it rounds in another way.
    tolerance = 2e-3 if channels_last else 1e-6
    for (name, actual), expected in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance, msg=name)
    state = optimizer.state_dict()
    assert set(state["averages"]["momentum_buffer"]) == {"0.weight", "3.weight"}
    assert set(state["averages"]["exp_avg"]) == {n for n, _ in model.named_parameters()} - {"0.weight", "3.weight"}


def test_matrix_of_a_kernel_shares_its_memory() -> None:
    model = make_convolutions(channels_last=True)
    FlatParameters(model.parameters())
    matrix = as_matrix(model[0].weight)
    assert matrix.shape == (4, 27)
    assert matrix.data_ptr() == model[0].weight.data_ptr()
    with torch.no_grad():
        matrix.zero_()
    assert not model[0].weight.any()


def test_muon_with_other_parameters_than_matrices_raises() -> None:
    params = FlatParameters(make_network().parameters())
    with pytest.raises(ValueError, match=r"matrices only; 4 of 6 parameters are not matrices .*optimizer=muon"):
        TorchOptimizer(params, torch.optim.Muon, {})
    with pytest.raises(ValueError, match="there are none to train"):
        Muon(
            FlatParameters([nn.Parameter(torch.ones(3))]),
            LR,
            weight_decay=0,
            betas=(0.9, 0.9),
            eps=1e-8,
            adamw=[],
            **MUON,
        )
