"""GAN losses in closed form, penalties of a linear critic, weight clipping."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.tasks.losses import gan

W = torch.tensor([3.0, 4.0])


def linear_critic(w: Tensor) -> gan.CriticFunction:
    return lambda x: x.flatten(1) @ w


REAL, FAKE = torch.tensor([0.5, -2.0, 1.0]), torch.tensor([-1.5, 0.25, 3.0])


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    return -np.log1p(np.exp(-x))


def mean(x: np.ndarray) -> float:
    return float(x.mean())


def reference_losses(loss: str, target: float) -> tuple[float, float]:
    """Return the losses of critic and generator on REAL and FAKE in numpy."""
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
def test_losses_match_papers(loss: str) -> None:
    gan_loss = gan.GAN_LOSSES[loss]
    for target in (1.0, 0.9):
        expected = reference_losses(loss, target)
        found = gan_loss.critic(REAL, FAKE, target).item(), gan_loss.generator(FAKE).item()
        assert found == pytest.approx(expected)
        assert gan_loss.supports_smoothing == (reference_losses(loss, 1.0) != reference_losses(loss, 0.9))


@pytest.mark.parametrize("compiling", [False, True])
def test_penalties_of_a_linear_critic_in_closed_form(compiling: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    w = W.clone().requires_grad_()
    real, fake = torch.rand(7, 1, 2, 1), torch.rand(7, 1, 2, 1)
    penalty, r1 = gan.gradient_penalty(linear_critic(w), real, fake), gan.r1_penalty(linear_critic(w), real)
    assert (penalty.item(), r1.item()) == pytest.approx(((5 - 1) ** 2, 25 / 2))
    (grad,) = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(grad, 2 * (5 - 1) * W / 5)
    (grad,) = torch.autograd.grad(r1, w)
    torch.testing.assert_close(grad, W)


def test_gradient_penalty_uses_interpolates_and_r1_real_rows() -> None:
    inputs: list[Tensor] = []

    def recording_critic(x: Tensor) -> Tensor:
        inputs.append(x.detach())
        return x.square().sum(1)

    real, fake = torch.zeros(500, 2), torch.ones(500, 2)
    gan.gradient_penalty(recording_critic, real, fake)
    gan.r1_penalty(recording_critic, real)
    interpolates, at_real = inputs
    assert torch.equal(interpolates[:, 0], interpolates[:, 1])
    assert interpolates[:, 0].unique().numel() > 400
    assert interpolates[:, 0].mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(at_real, real)


def test_a_penalty_can_be_evaluated_without_gradients() -> None:
    with torch.no_grad():
        assert gan.r1_penalty(linear_critic(W), torch.rand(3, 2)).item() == pytest.approx(12.5)


def make_clipped_net(limit: float = 0.1) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    gan.clip_weights(net, limit)
    return net


def max_abs_weight(net: nn.Module) -> float:
    return max(part.abs().max().item() for layer in (net[0], net[2]) for part in (layer.weight, layer.bias))  # type: ignore[index]


def test_clipped_weights_follow_clamp_after_each_step() -> None:
    """Reference: the paper's clamp after each step, at most one optimizer step apart."""
    net, clamped = make_clipped_net(), nn.Linear(3, 1)
    clipped = nn.Linear(3, 1)
    clipped.load_state_dict(clamped.state_dict())
    gan.clip_weights(clipped, 0.1)
    with torch.no_grad():
        for parameter in clamped.parameters():
            parameter.clamp_(-0.1, 0.1)
    clipped_optimizer, clamped_optimizer = (torch.optim.SGD(part.parameters(), lr=0.03) for part in (clipped, clamped))
    for step in range(80):
        # One direction until every weight is at a bound, then the opposite direction.
        x = (1.0 if step < 40 else -1.0) * torch.tensor([[1.0, -0.5, 0.8]])
        for optimizer, part in ((clipped_optimizer, clipped), (clamped_optimizer, clamped)):
            optimizer.zero_grad()
            part(x).sum().backward()
            optimizer.step()
        with torch.no_grad():
            for parameter in clamped.parameters():
                parameter.clamp_(-0.1, 0.1)
        assert clipped.weight.abs().max() <= 0.1
        torch.testing.assert_close(clipped.weight, clamped.weight, rtol=0, atol=0.0301)
    assert torch.equal(clipped.weight.sign(), torch.tensor([[1.0, -1.0, 1.0]]))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(9.0)
    assert max_abs_weight(net) == pytest.approx(0.1)


def test_clipping_has_inward_gradient_outside_range_unlike_clamp() -> None:
    """Beyond the bound, the gradient of a plain clamp is zero in both directions."""
    weight = torch.tensor([0.5], requires_grad=True)
    weight.clamp(-0.1, 0.1).sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()
    net = nn.Linear(1, 1, bias=False)
    gan.clip_weights(net, 0.1)
    raw = next(net.parameters())
    for direction, expected in ((1.0, 1.0), (-1.0, 0.0)):
        with torch.no_grad():
            raw.fill_(0.5)
        raw.grad = None
        (direction * net.weight).sum().backward()
        assert raw.grad is not None
        assert raw.grad.item() == expected


def test_clipped_weights_survive_deepcopy_and_state_dict() -> None:
    net = make_clipped_net()
    clone = copy.deepcopy(net)
    x = torch.randn(4, 3)
    torch.testing.assert_close(clone(x), net(x), rtol=0, atol=0)
    other = make_clipped_net()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.uniform_(-0.2, 0.2)
    clone.load_state_dict(other.state_dict())
    torch.testing.assert_close(clone(x), other(x), rtol=0, atol=0)
    assert not torch.equal(clone(x), net(x))
