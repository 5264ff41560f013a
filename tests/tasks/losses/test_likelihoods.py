"""Likelihoods against torch distributions, and samples against their moments."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, distributions, nn

from trainer.tasks.losses.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood, make_likelihood
from trainer.utils.errors import ConfigError

D, LEVELS = 4, 5


def make_gaussian() -> Gaussian:
    likelihood = Gaussian()
    nn.init.constant_(likelihood.log_sigma, -0.7)
    return likelihood


LIKELIHOODS: dict[str, Likelihood] = {
    "gaussian": make_gaussian(),
    "bernoulli": Bernoulli(binarize=True),
    "categorical": Categorical(LEVELS),
}


def random_params(name: str, *rows: int) -> Tensor:
    return torch.randn(*rows, D * (LEVELS if name == "categorical" else 1))


def reference_distribution(name: str, params: Tensor) -> Any:
    if name == "categorical":
        return distributions.Categorical(logits=params.unflatten(-1, (D, LEVELS)))
    return {
        "gaussian": distributions.Normal(params, torch.tensor(-0.7).exp()),
        "bernoulli": distributions.Bernoulli(logits=params),
    }[name]


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_log_prob_matches_torch_distributions(name: str) -> None:
    likelihood, params = LIKELIHOODS[name], random_params(name, 3, 7)
    x = likelihood.discretize_input(torch.rand(7, D))
    value = (x * (LEVELS - 1)).round() if name == "categorical" else x
    torch.testing.assert_close(
        likelihood(params, x.expand(3, 7, D)), reference_distribution(name, params).log_prob(value).sum(-1)
    )


@pytest.mark.parametrize("name", LIKELIHOODS)
@torch.no_grad()
def test_samples_match_the_moments_of_the_likelihood(name: str) -> None:
    likelihood, params = LIKELIHOODS[name], random_params(name, 1)
    samples = likelihood.draw(params.expand(20000, -1))
    assert samples.shape == (20000, D)
    torch.testing.assert_close(samples.mean(0, keepdim=True), likelihood.compute_mean(params), atol=0.02, rtol=0)
    variances = {"gaussian": torch.tensor(-1.4).exp().expand(D), "bernoulli": (p := params.sigmoid()[0]) * (1 - p)}
    if name in variances:
        torch.testing.assert_close(samples.var(0), variances[name], atol=0.02, rtol=0)
    else:
        torch.testing.assert_close(likelihood.discretize_input(samples), samples)
        frequencies = (
            torch.stack([(samples * (LEVELS - 1)).round() == level for level in range(LEVELS)], -1).float().mean(0)
        )
        torch.testing.assert_close(frequencies, reference_distribution(name, params).probs[0], atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
def test_discrete_probabilities_sum_to_one(name: str) -> None:
    values = torch.linspace(0, 1, LEVELS if name == "categorical" else 2)
    likelihood, params = LIKELIHOODS[name], random_params(name, 1)
    observations = torch.tensor(list(itertools.product(values.tolist(), repeat=D)))
    assert likelihood.is_discrete
    assert float(likelihood(params.expand(len(observations), -1), observations).exp().sum()) == pytest.approx(
        1, abs=1e-4
    )


def test_binarization_is_resampled_and_keeps_mean() -> None:
    likelihood, x = Bernoulli(binarize=True), torch.linspace(0, 1, 5).expand(20000, 5)
    first, second = likelihood.discretize_input(x), likelihood.discretize_input(x)
    assert not torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(first.mean(0), x[0], atol=0.02, rtol=0)
    torch.manual_seed(1)
    first_draw = likelihood.discretize_input(x)
    torch.manual_seed(1)
    assert torch.equal(first_draw, likelihood.discretize_input(x))
    assert torch.equal(Bernoulli(binarize=False).discretize_input(x), x)


def test_categorical_input_is_rounded_to_nearest_level() -> None:
    levels = Categorical(5).discretize_input(torch.tensor([0.0, 0.12, 0.13, 0.5, 0.99, 1.0 + 1e-6]))
    assert levels.tolist() == [0, 0, 0.25, 0.5, 1, 1]


@pytest.mark.parametrize(
    ("name", "levels", "binarize", "message"),
    [
        ("gaussian", 1, True, "task.binarize: binarized data needs task.likelihood=bernoulli, not gaussian"),
        ("categorical", 1, False, "model.levels: 1 given; task.likelihood=categorical needs"),
        ("bernoulli", 4, False, "model.levels: 4 given; task.likelihood=bernoulli takes 1 output"),
    ],
)
def test_incompatible_likelihood_options_raise(name: Any, levels: int, binarize: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_likelihood(name, levels, binarize)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_transformed_noise_has_the_distribution_of_samples(name: str) -> None:
    torch.manual_seed(0)
    likelihood, params = LIKELIHOODS[name], random_params(name, 1).expand(20000, -1)
    with torch.no_grad():
        noise = likelihood.draw_noise(torch.empty(20000, D))
        transformed, drawn = likelihood.transform_noise(params, noise), likelihood.draw(params)
    assert transformed.shape == drawn.shape
    torch.testing.assert_close(transformed.mean(0), drawn.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(transformed.std(0), drawn.std(0), atol=0.02, rtol=0)
