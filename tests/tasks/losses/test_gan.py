"""GAN losses of critic and generator in closed form; penalties on a linear critic; weights kept in their bounds."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.tasks.losses import gan

W = torch.tensor([3.0, 4.0])


def critic(w: Tensor) -> gan.CriticFunction:
    return lambda x: x.flatten(1) @ w


REAL, FAKE = torch.tensor([0.5, -2.0, 1.0]), torch.tensor([-1.5, 0.25, 3.0])


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    return -np.log1p(np.exp(-x))


def mean(x: np.ndarray) -> float:
    return float(x.mean())


def by_hand(loss: str, target: float) -> tuple[float, float]:
    """What critic and generator minimise on REAL and FAKE, written out."""
    real, fake = REAL.double().numpy(), FAKE.double().numpy()
    on_real = target * log_sigmoid(real) + (1 - target) * log_sigmoid(-real)
    return {
        "bce": (-mean(on_real) - mean(log_sigmoid(-fake)), -mean(log_sigmoid(fake))),
        "lsgan": (mean((real - target) ** 2) / 2 + mean(fake**2) / 2, mean((fake - 1) ** 2) / 2),
        "hinge": (mean(np.maximum(0, 1 - real)) + mean(np.maximum(0, 1 + fake)), -mean(fake)),
        "wgan": (mean(fake) - mean(real), -mean(fake)),
        "wgan_gp": (mean(fake) - mean(real), -mean(fake)),
    }[loss]


@pytest.mark.parametrize("loss", gan.GAN_LOSSES)
def test_losses_are_those_of_the_papers(loss: str) -> None:
    game = gan.GAN_LOSSES[loss]
    for target in (1.0, 0.9):
        expected = by_hand(loss, target)
        found = game.critic(REAL, FAKE, target).item(), game.generator(FAKE).item()
        assert found == pytest.approx(expected)
        assert game.supports_smoothing == (by_hand(loss, 1.0) != by_hand(loss, 0.9))


@pytest.mark.parametrize("compiling", [False, True])
def test_penalties_of_a_linear_critic_in_closed_form(compiling: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    w = W.clone().requires_grad_()
    real, fake = torch.rand(7, 1, 2, 1), torch.rand(7, 1, 2, 1)
    penalty, r1 = gan.gradient_penalty(critic(w), real, fake), gan.r1_penalty(critic(w), real)
    assert (penalty.item(), r1.item()) == pytest.approx(((5 - 1) ** 2, 25 / 2))
    (pull,) = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(pull, 2 * (5 - 1) * W / 5)
    (pull,) = torch.autograd.grad(r1, w)
    torch.testing.assert_close(pull, W)


def test_the_penalty_looks_between_real_and_generated_rows_and_r1_at_real_ones() -> None:
    looked: list[Tensor] = []

    def judge(x: Tensor) -> Tensor:
        looked.append(x.detach())
        return x.square().sum(1)

    real, fake = torch.zeros(500, 2), torch.ones(500, 2)
    gan.gradient_penalty(judge, real, fake)
    gan.r1_penalty(judge, real)
    between, at = looked
    assert torch.equal(between[:, 0], between[:, 1])
    assert between[:, 0].unique().numel() > 400
    assert between[:, 0].mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(at, real)


def test_a_penalty_can_be_evaluated_without_gradients() -> None:
    with torch.no_grad():
        assert gan.r1_penalty(critic(W), torch.rand(3, 2)).item() == pytest.approx(12.5)


def bounded(limit: float = 0.1) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    gan.clip_weights(net, limit)
    return net


def outermost(net: nn.Module) -> float:
    return max(part.abs().max().item() for layer in (net[0], net[2]) for part in (layer.weight, layer.bias))  # type: ignore[index]


def test_clipped_weights_stay_inside_and_come_back_at_once() -> None:
    """Against the paper's own way, a clamp after each step: never more than a step of the optimizer apart."""
    net, twin = bounded(), nn.Linear(3, 1)
    line = nn.Linear(3, 1)
    line.load_state_dict(twin.state_dict())
    gan.clip_weights(line, 0.1)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.clamp_(-0.1, 0.1)
    ours, theirs = (torch.optim.SGD(part.parameters(), lr=0.03) for part in (line, twin))
    for step in range(80):
        # Pushed one way for long, so that every weight is at a bound, then the other way.
        x = (1.0 if step < 40 else -1.0) * torch.tensor([[1.0, -0.5, 0.8]])
        for optimizer, part in ((ours, line), (theirs, twin)):
            optimizer.zero_grad()
            part(x).sum().backward()
            optimizer.step()
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.clamp_(-0.1, 0.1)
        assert line.weight.abs().max() <= 0.1
        torch.testing.assert_close(line.weight, twin.weight, rtol=0, atol=0.0301)
    assert torch.equal(line.weight.sign(), torch.tensor([[1.0, -1.0, 1.0]]))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(9.0)
    assert outermost(net) == pytest.approx(0.1)


def test_a_plain_clamp_has_no_gradient_outside_its_range() -> None:
    """The twin that shows why: beyond the bound its gradient is zero both ways."""
    weight = torch.tensor([0.5], requires_grad=True)
    weight.clamp(-0.1, 0.1).sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()
    net = nn.Linear(1, 1, bias=False)
    gan.clip_weights(net, 0.1)
    raw = next(net.parameters())
    for push, kept in ((1.0, 1.0), (-1.0, 0.0)):
        with torch.no_grad():
            raw.fill_(0.5)
        raw.grad = None
        (push * net.weight).sum().backward()
        assert raw.grad is not None
        assert raw.grad.item() == kept


def test_clipped_weights_are_copied_and_stored() -> None:
    net = bounded()
    twin = copy.deepcopy(net)
    x = torch.randn(4, 3)
    torch.testing.assert_close(twin(x), net(x), rtol=0, atol=0)
    other = bounded()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.uniform_(-0.2, 0.2)
    twin.load_state_dict(other.state_dict())
    torch.testing.assert_close(twin(x), other(x), rtol=0, atol=0)
    assert not torch.equal(twin(x), net(x))
