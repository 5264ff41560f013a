"""A small network, its batches and the optimizers that are compared with those of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from trainer.optim.flat_params import FlatParameters
from trainer.optim.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop

STEPS = 20
LR = 1e-2
ADAM = {"betas": (0.9, 0.99), "eps": 1e-8}
# ours and its options, torch's and its options
CASES: dict[str, tuple[type[Optimizer], dict[str, Any], type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (Adam, ADAM, torch.optim.Adam, ADAM | {"fused": True}),
    "adamw": (AdamW, ADAM, torch.optim.AdamW, ADAM | {"fused": True}),
    "sgd": (SGD, {"momentum": 0.0, "nesterov": False}, torch.optim.SGD, {"fused": True}),
    "momentum": (SGD, {"momentum": 0.9, "nesterov": False}, torch.optim.SGD, {"momentum": 0.9, "fused": True}),
    "nesterov": (
        SGD,
        {"momentum": 0.9, "nesterov": True},
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True, "fused": True},
    ),
    "rmsprop": (RMSprop, {"alpha": 0.9, "momentum": 0.0, "eps": 1e-8}, torch.optim.RMSprop, {"alpha": 0.9}),
    "rmsprop momentum": (
        RMSprop,
        {"alpha": 0.9, "momentum": 0.8, "eps": 1e-8},
        torch.optim.RMSprop,
        {"alpha": 0.9, "momentum": 0.8},
    ),
}


def make_network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Tanh(), nn.Linear(7, 3))


def iter_batches() -> Iterator[tuple[Tensor, Tensor]]:
    torch.manual_seed(4)
    for _ in range(STEPS):
        yield torch.randn(6, 5), torch.randn(6, 3)


def run_steps(model: nn.Module, zero: Callable[[], Any], step: Callable[[int], Any], start: int = 0) -> None:
    for number, (x, y) in enumerate(iter_batches()):
        if number >= start:
            zero()
            nn.functional.mse_loss(model(x), y).backward()
            step(number)


def build_optimizer(name: str, weight_decay: float = 0.0, everything: bool = True) -> tuple[nn.Module, Optimizer]:
    kind, options, *_ = CASES[name]
    model = make_network()
    flat = FlatParameters(model.parameters())
    return model, kind(flat, lr=LR, weight_decay=weight_decay, decay_norm_and_bias=everything, **options)
