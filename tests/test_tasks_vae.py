"""The bound is a bound: against the exact likelihood, at its analytic optimum, and whatever the size of the batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import Lab, lab
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from trainer.batch import Batch
from trainer.data.base import Data, Facts, TensorSplit
from trainer.data.linear_gaussian import LinearGaussian
from trainer.errors import ConfigError
from trainer.models.vae import VAE
from trainer.tasks.vae import VariationalInference

GATE = 0.6
SMALL = ("model=vae", "data=linear_gaussian", "data.rows=4000", "batch_size=64", "model.hidden=[64]")


class Exact(nn.Module):
    """The true posterior mean and the true decoder of a linear Gaussian whose weight has orthogonal columns."""

    def __init__(self, weight: Tensor, noise: float):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.precision = 1 + weight.square().sum(0) / noise**2
        self.noise = noise
        self.latent = weight.shape[1]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x @ self.weight / self.noise**2 / self.precision
        return mean, -self.precision.log().expand_as(mean)

    def decode(self, z: Tensor) -> Tensor:
        return z @ self.weight.T

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[0])


class Points(Data):
    """x (B, F) -> ()"""

    def __init__(self, x: Tensor) -> None:
        self.train = self.val = self.test = TensorSplit({"x": x})
        self.facts = Facts(sizes={})


def task(model: nn.Module | None = None, likelihood: str = "gaussian", beta: float = 1.0, warmup: float = 0.0):
    model = model or VAE(flat_features=6, hidden=[8], latent=2)
    return VariationalInference(model, likelihood, beta, warmup, eval_samples=4, samples=100, classifier=None)  # type: ignore[arg-type]


def batch(x: Tensor) -> Batch:
    return Batch({"x": x}, None, torch.arange(len(x)))


def scores(built: VariationalInference, x: Tensor) -> dict[str, float]:
    with torch.no_grad():
        return built.metrics(built.score(batch(x)))  # type: ignore[arg-type]


def test_the_loss_does_not_grow_with_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn", lambda shape, **_: torch.full(shape, 0.3))
    built, x = task(), torch.rand(16, 6)
    once, twice = built.loss(batch(x), "model"), built.loss(batch(torch.cat((x, x))), "model")
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_terms_equal_torch_distributions(likelihood: str) -> None:
    built, x = task(likelihood=likelihood), torch.rand(5, 6).round()
    torch.manual_seed(3)
    reconstruction, kl = built.terms(batch(x), 1)
    torch.manual_seed(3)
    mean, log_variance = built.model.encode(x)  # type: ignore[operator]
    posterior = Normal(mean, torch.exp(log_variance / 2))
    decoded = built.model.decode(mean + posterior.stddev * torch.randn(1, 5, 2)[0])  # type: ignore[operator]
    wanted = {"gaussian": Normal(decoded, 1.0), "bernoulli": torch.distributions.Bernoulli(logits=decoded)}
    torch.testing.assert_close(reconstruction, wanted[likelihood].log_prob(x).sum(-1))
    torch.testing.assert_close(kl, kl_divergence(posterior, Normal(0.0, 1.0)).sum(-1))


def test_beta_warms_up_with_progress() -> None:
    built = task(beta=2.0, warmup=0.5)
    seen = []
    for progress in (0.0, 0.25, 0.5, 0.9):
        built.progress.fill_(progress)
        seen.append(float(built.weight_of_kl()))
    assert seen == [0.0, 1.0, 2.0, 2.0]


def test_exact_likelihood_equals_torch_and_its_expectation() -> None:
    data = LinearGaussian(rows=5000, in_features=20, latent=4, noise=0.5, seed=1)
    x = data.test.inputs["x"].double()
    root = data.root
    reference = MultivariateNormal(torch.zeros(20, dtype=torch.float64), scale_tril=root)
    torch.testing.assert_close(data.log_likelihood(x), reference.log_prob(x))
    entropy = 10 * math.log(2 * math.pi * math.e) + np.log(root.diagonal().numpy()).sum()
    assert data.facts.best_possible["elbo"] == pytest.approx(-entropy, abs=0.3)


def test_the_true_posterior_closes_the_gap() -> None:
    torch.manual_seed(0)
    weight = torch.linalg.qr(torch.randn(6, 2))[0] * torch.tensor([2.0, 1.0])
    x = torch.randn(4000, 2) @ weight.T + 0.5 * torch.randn(4000, 6)
    exact = MultivariateNormal(torch.zeros(6), weight @ weight.T + 0.25 * torch.eye(6)).log_prob(x).mean()
    built = task(Exact(weight, 0.5))
    built.attach(Points(x))
    with torch.no_grad():
        built.likelihood.log_sigma.fill_(math.log(0.5))  # type: ignore[union-attr, operator]
    assert scores(built, x)["elbo"] == pytest.approx(float(exact), abs=0.02)
    with torch.no_grad():
        built.likelihood.log_sigma.fill_(math.log(0.6))  # type: ignore[union-attr, operator]
    assert scores(built, x)["elbo"] < float(exact) - 0.1


@pytest.fixture(scope="module")
def trained() -> tuple[Lab, dict[str, float]]:
    made = lab(*SMALL, "epochs=30", "optimizer.lr=3e-3")
    return made, made.test()


@pytest.mark.slow
def test_training_reaches_the_gate_and_stays_under_the_exact_likelihood(trained: tuple[Lab, dict[str, float]]) -> None:
    made, found = trained
    assert 0 <= found["gap"] < GATE
    assert found["elbo"] == pytest.approx(-found["reconstruction"] - found["kl"])
    assert found["elbo"] == pytest.approx(made.data.facts.best_possible["elbo"] - found["gap"], abs=1e-4)
    assert all(row["val_gap"] > -0.02 for row in made.trainer.history)
    sigma = float(made.task.get_parameter("likelihood.log_sigma").detach().exp())
    assert sigma == pytest.approx(0.5, abs=0.05)


def test_a_gaussian_for_each_feature_and_an_untrained_model_miss_the_gate() -> None:
    made = lab(*SMALL)
    untrained = made.trainer.evaluate(made.loaders["test"])
    assert untrained["gap"] > 10
    assert made.data.facts.baseline["gap"] > 10


def test_a_decoder_without_code_misses_the_gate() -> None:
    assert lab(*SMALL, "epochs=10", "task.beta=50").test()["gap"] > 5


def test_bernoulli_refuses_values_outside_0_and_1() -> None:
    x = torch.rand(8, 6)
    task(likelihood="bernoulli").attach(Points(x))
    x[3, 2] = 1.5
    with pytest.raises(ConfigError, match=r"bernoulli wants values in \[0, 1\]; row 3 of the train split"):
        task(likelihood="bernoulli").attach(Points(x))
    task().attach(Points(x))


def test_forward_rebuilds_the_shape_it_was_given() -> None:
    assert VAE(flat_features=12, hidden=[8], latent=2)(torch.rand(3, 1, 4, 3)).shape == (3, 1, 4, 3)


def test_every_hidden_layer_is_followed_by_a_relu() -> None:
    model = VAE(flat_features=6, hidden=[5, 4], latent=2)
    for part in (model.encoder, model.decoder):
        assert [type(layer) for layer in part] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
