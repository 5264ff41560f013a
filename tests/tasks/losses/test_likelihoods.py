"""Each likelihood against torch's distribution of its kind, draws against nats, and whose numbers are a code."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, distributions, nn

from trainer.tasks.losses.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood, make_likelihood
from trainer.utils.errors import ConfigError

D, LEVELS = 4, 5


def gaussian() -> Gaussian:
    made = Gaussian()
    nn.init.constant_(made.log_sigma, -0.7)
    return made


MADE: dict[str, Likelihood] = {
    "gaussian": gaussian(),
    "bernoulli": Bernoulli(binarize=True),
    "categorical": Categorical(LEVELS),
}


def decoded(name: str, *rows: int) -> Tensor:
    return torch.randn(*rows, D * (LEVELS if name == "categorical" else 1))


def reference(name: str, given: Tensor) -> Any:
    if name == "categorical":
        return distributions.Categorical(logits=given.unflatten(-1, (D, LEVELS)))
    return {
        "gaussian": distributions.Normal(given, torch.tensor(-0.7).exp()),
        "bernoulli": distributions.Bernoulli(logits=given),
    }[name]


@pytest.mark.parametrize("name", MADE)
def test_log_prob_matches_torch_distributions(name: str) -> None:
    made, given = MADE[name], decoded(name, 3, 7)
    x = made.discretize_input(torch.rand(7, D))
    value = (x * (LEVELS - 1)).round() if name == "categorical" else x
    torch.testing.assert_close(made(given, x.expand(3, 7, D)), reference(name, given).log_prob(value).sum(-1))


@pytest.mark.parametrize("name", MADE)
@torch.no_grad()
def test_samples_match_the_moments_of_the_likelihood(name: str) -> None:
    made, given = MADE[name], decoded(name, 1)
    drawn = made.draw(given.expand(20000, -1))
    assert drawn.shape == (20000, D)
    torch.testing.assert_close(drawn.mean(0, keepdim=True), made.compute_mean(given), atol=0.02, rtol=0)
    wanted = {"gaussian": torch.tensor(-1.4).exp().expand(D), "bernoulli": (p := given.sigmoid()[0]) * (1 - p)}
    if name in wanted:
        torch.testing.assert_close(drawn.var(0), wanted[name], atol=0.02, rtol=0)
    else:
        torch.testing.assert_close(made.discretize_input(drawn), drawn)
        shares = torch.stack([(drawn * (LEVELS - 1)).round() == level for level in range(LEVELS)], -1).float().mean(0)
        torch.testing.assert_close(shares, reference(name, given).probs[0], atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
def test_the_chances_of_all_that_can_be_observed_add_up_to_one(name: str) -> None:
    steps = torch.linspace(0, 1, LEVELS if name == "categorical" else 2)
    made, given = MADE[name], decoded(name, 1)
    every = torch.tensor(list(itertools.product(steps.tolist(), repeat=D)))
    assert made.is_discrete
    assert float(made(given.expand(len(every), -1), every).exp().sum()) == pytest.approx(1, abs=1e-4)


def test_what_is_binarized_is_drawn_anew_and_has_the_mean_it_had() -> None:
    made, x = Bernoulli(binarize=True), torch.linspace(0, 1, 5).expand(20000, 5)
    first, second = made.discretize_input(x), made.discretize_input(x)
    assert not torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(first.mean(0), x[0], atol=0.02, rtol=0)
    torch.manual_seed(1)
    once = made.discretize_input(x)
    torch.manual_seed(1)
    assert torch.equal(once, made.discretize_input(x))
    assert torch.equal(Bernoulli(binarize=False).discretize_input(x), x)


def test_shades_are_rounded_to_the_nearest_step() -> None:
    seen = Categorical(5).discretize_input(torch.tensor([0.0, 0.12, 0.13, 0.5, 0.99, 1.0 + 1e-6]))
    assert seen.tolist() == [0, 0, 0.25, 0.5, 1, 1]


@pytest.mark.parametrize(
    ("name", "levels", "binarize", "said"),
    [
        ("gaussian", 1, True, "task.binarize: binarized data needs task.likelihood=bernoulli, not gaussian"),
        ("categorical", 1, False, "model.levels: 1 given; task.likelihood=categorical needs"),
        ("bernoulli", 4, False, "model.levels: 4 given; task.likelihood=bernoulli takes 1 output"),
    ],
)
def test_a_model_that_does_not_fit_the_task_is_reported(name: Any, levels: int, binarize: bool, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_likelihood(name, levels, binarize)
