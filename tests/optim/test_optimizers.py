"""Adam, AdamW, SGD and RMSprop: updates against torch, resuming, and non-finite gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.optimizer_steps import CASES, LR, build_optimizer, make_network, run_steps
from trainer.optim.flat_params import FlatParameters
from trainer.optim.optimizers import Optimizer


def run_optimizer(name: str, **options: Any) -> list[Tensor]:
    model, optimizer = build_optimizer(name, **options)
    run_steps(model, optimizer.params.zero_grad, lambda _: optimizer.step(LR))
    return list(model.parameters())


def run_torch_optimizer(name: str, weight_decay: float = 0.0, everything: bool = True) -> list[Tensor]:
    _, _, kind, options = CASES[name]
    model = make_network()
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices},
        {"params": vectors, "weight_decay": weight_decay if everything else 0.0},
    ]
    optimizer = kind(groups, lr=LR, weight_decay=weight_decay, **options)  # type: ignore[call-arg]
    run_steps(model, optimizer.zero_grad, lambda _: optimizer.step())
    return list(model.parameters())


@pytest.mark.parametrize(("weight_decay", "everything"), [(0.0, True), (0.1, True), (0.1, False)])
@pytest.mark.parametrize("name", CASES)
def test_updates_match_torch(name: str, weight_decay: float, everything: bool) -> None:
    actual = run_optimizer(name, weight_decay=weight_decay, everything=everything)
    expected = run_torch_optimizer(name, weight_decay=weight_decay, everything=everything)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("weight_decay", "everything"), [(0.0, True), (0.1, True), (0.1, False)])
@pytest.mark.parametrize("name", [name for name in CASES if "rmsprop" not in name])
def test_the_kernel_is_bit_exact_in_the_same_memory_layout(name: str, weight_decay: float, everything: bool) -> None:
    _, _, kind, options = CASES[name]
    twin, optimizer = build_optimizer(name, weight_decay, everything)
    run_steps(twin, optimizer.params.zero_grad, lambda _: optimizer.step(LR))

    model = make_network()
    flat = FlatParameters(model.parameters())
    parts = (slice(0, None),) if everything else (slice(0, flat.num_decayed), slice(flat.num_decayed, None))
    groups: list[dict[str, Any]] = [
        {"params": [nn.Parameter(flat.data[part])], "weight_decay": decay}
        for part, decay in zip(parts, (weight_decay, 0.0), strict=False)
    ]
    for group, part in zip(groups, parts, strict=True):
        group["params"][0].grad = flat.grad[part]
    reference = kind(groups, lr=LR, **options)  # type: ignore[call-arg]
    run_steps(model, flat.zero_grad, lambda _: reference.step())
    assert torch.equal(optimizer.params.data, flat.data)


@pytest.mark.parametrize("name", CASES)
def test_weight_decay_of_everything_changes_the_biases(name: str) -> None:
    everything, matrices = (
        run_optimizer(name, weight_decay=0.1),
        run_optimizer(name, weight_decay=0.1, everything=False),
    )
    biases = [not torch.equal(a, b) for a, b in zip(everything, matrices, strict=True) if a.ndim < 2]
    assert all(biases)


def list_state(optimizer: Optimizer) -> list[Tensor]:
    return [optimizer.params.data, optimizer.steps, *optimizer.averages.values()]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", CASES)
def test_a_nonfinite_gradient_changes_nothing(name: str, bad: float) -> None:
    model, optimizer = build_optimizer(name, weight_decay=0.1, everything=False)
    run_steps(model, optimizer.params.zero_grad, lambda _: optimizer.step(LR, found_inf=torch.zeros(())))
    before = [value.clone() for value in list_state(optimizer)]
    optimizer.params.grad[2] = bad
    optimizer.step(LR, found_inf=torch.ones(()))
    assert all(torch.equal(a, b) for a, b in zip(before, list_state(optimizer), strict=True))
    optimizer.params.grad.fill_(0.1)
    optimizer.step(LR, found_inf=torch.zeros(()))
    assert not torch.equal(before[0], optimizer.params.data)
    assert optimizer.params.data.isfinite().all()


@pytest.mark.parametrize("name", CASES)
def test_zero_found_inf_is_bit_exact(name: str) -> None:
    plain, flagged = build_optimizer(name, weight_decay=0.1), build_optimizer(name, weight_decay=0.1)
    run_steps(plain[0], plain[1].params.zero_grad, lambda _: plain[1].step(LR))
    run_steps(flagged[0], flagged[1].params.zero_grad, lambda _: flagged[1].step(LR, found_inf=torch.zeros(())))
    assert all(torch.equal(a, b) for a, b in zip(list_state(plain[1]), list_state(flagged[1]), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_a_state_resumes_bit_exactly(name: str) -> None:
    model, optimizer = build_optimizer(name, weight_decay=0.1)
    saved: dict[str, Any] = {}

    def step(number: int) -> None:
        optimizer.step(LR)
        if number == 8:
            saved.update(copy.deepcopy({"model": model.state_dict(), "optimizer": optimizer.state_dict()}))

    run_steps(model, optimizer.params.zero_grad, step)
    resumed_model, resumed = build_optimizer(name, weight_decay=0.1)
    resumed_model.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    run_steps(resumed_model, resumed.params.zero_grad, lambda _: resumed.step(LR), start=9)
    assert torch.equal(optimizer.params.data, resumed.params.data)

    if optimizer.averages and name != "sgd":
        stateless_model, stateless = build_optimizer(name, weight_decay=0.1)
        stateless_model.load_state_dict(saved["model"])
        run_steps(stateless_model, stateless.params.zero_grad, lambda _: stateless.step(LR), start=9)
        assert not torch.equal(optimizer.params.data, stateless.params.data)


@pytest.mark.parametrize(("name", "other"), [("momentum", {"momentum": 0.5}), ("adam", {"betas": (0.5, 0.99)})])
def test_momentum_of_a_step_replaces_the_configured_one(name: str, other: dict[str, Any]) -> None:
    model, optimizer = build_optimizer(name)
    run_steps(model, optimizer.params.zero_grad, lambda _: optimizer.step(LR, momentum=0.5))
    twin = make_network()
    reference = CASES[name][2](twin.parameters(), lr=LR, **CASES[name][3] | other)  # type: ignore[call-arg]
    run_steps(twin, reference.zero_grad, lambda _: reference.step())
    default = run_optimizer(name)
    for actual, expected, unchanged in zip(model.parameters(), twin.parameters(), default, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)
        assert not torch.allclose(actual, unchanged, rtol=1e-3, atol=1e-3)


def test_state_dict_has_only_the_averages_of_the_optimizer() -> None:
    for name, averages in {
        "adam": {"mean", "square"},
        "momentum": {"velocity"},
        "rmsprop": {"square", "velocity"},
    }.items():
        state_dict = build_optimizer(name)[1].state_dict()
        assert set(state_dict["averages"]) == averages
