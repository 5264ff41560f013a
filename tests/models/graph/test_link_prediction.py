"""Who is linked, whichever way it is asked; and that a decoder that adds up is what the source had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.models.graph.link_prediction import GraphVAE, LinkPredictor
from trainer.models.layers.graph.link_decoders import DECODERS

EDGES = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
EVERY = torch.cartesian_prod(torch.arange(6), torch.arange(6))


def predictor(**changed: Any) -> LinkPredictor:
    options = {"in_features": 3, "encoder": "gcn", "hidden": [5], "width": 4, "decoder": "dot", "dropout": 0.0}
    return LinkPredictor(**{**options, **changed}).eval()


def vae() -> GraphVAE:
    return GraphVAE(in_features=3, encoder="gcn", hidden=[5], latent=4, dropout=0.0).eval()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "vae": vae,
    "features alone": lambda: predictor(encoder="linear"),
    **{f"gcn {kind}": lambda kind=kind: predictor(decoder=kind) for kind in DECODERS},  # type: ignore[misc]
    **{kind: lambda kind=kind: predictor(encoder=kind) for kind in ("sage", "gin")},  # type: ignore[misc]
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


@every_model
def test_both_orders_of_a_pair_score_the_same(make: Callable[[], nn.Module]) -> None:
    scores = make()(torch.randn(6, 3), EDGES, EVERY).view(6, 6)
    torch.testing.assert_close(scores, scores.t())
    assert scores.std() > 1e-3


@every_model
def test_scores_follow_the_order_of_nodes(make: Callable[[], nn.Module]) -> None:
    model, x, order = make(), torch.randn(6, 3), torch.randperm(6)
    place = order.argsort()
    torch.testing.assert_close(model(x[order], place[EDGES], place[EVERY]), model(x, EDGES, EVERY))


@every_model
def test_nodes_that_are_not_there_are_refused(make: Callable[[], nn.Module]) -> None:
    for wrong in ([0, 6], [-1, 2]):
        with pytest.raises(ValueError, match=rf"pair 1 is \[{wrong[0]}, {wrong[1]}\], but nodes are 0\.\.5"):
            make()(torch.randn(6, 3), EDGES, torch.tensor([[1, 2], wrong]))


def source(x: Tensor, model: LinkPredictor) -> np.ndarray:
    """Every pair by itself, in loops: ``sigmoid(Linear([n_i, n_j]))`` of ``n = Linear(x)``, not symmetric."""
    weight, bias = (p.detach().double().numpy() for p in model.encoder.layers[0].parameters())  # type: ignore[union-attr]
    out, shift = (p.detach().double().numpy() for p in model.decoder.out.parameters())
    nodes = x.double().numpy() @ weight.T + bias
    every = [[float(out[0] @ np.concatenate((a, b)) + shift[0]) for b in nodes] for a in nodes]
    return np.array(every)


def test_a_linear_decoder_matches_its_input_in_both_orders() -> None:
    model = predictor(in_features=8, encoder="linear", hidden=[], width=16, decoder="linear")
    assert sum(p.numel() for p in model.parameters()) == 177
    x = torch.randn(6, 8)
    theirs = source(x, model)
    assert np.abs(theirs - theirs.T).max() > 0.1
    ours = model(x, EDGES, EVERY).view(6, 6).detach().numpy()
    np.testing.assert_allclose(ours, (theirs + theirs.T) / 2, atol=1e-5)
    # What it cannot say: the scores of four nodes in two pairs tell those of the other two pairings.
    np.testing.assert_allclose(ours[0, 1] + ours[2, 3], ours[0, 3] + ours[2, 1], atol=1e-5)
    dot = predictor(in_features=8)(x, EDGES, EVERY).view(6, 6)
    assert abs(dot[0, 1] + dot[2, 3] - dot[0, 3] - dot[2, 1]) > 1e-3


def test_links_change_what_a_graph_encoder_says_and_nothing_for_features_alone() -> None:
    x = torch.randn(6, 3)
    for kind, same in (("gcn", False), ("linear", True)):
        model = predictor(encoder=kind)
        assert torch.equal(model(x, EDGES, EVERY), model(x, EDGES[:, :2], EVERY)) is same


def test_sparse_features_are_dense_features() -> None:
    x = torch.eye(40)
    for kind in ("linear", "gcn"):
        model = predictor(in_features=40, encoder=kind)
        dense = x.clone().requires_grad_()  # kept as it is
        torch.testing.assert_close(model(x, EDGES, EVERY), model(dense, EDGES, EVERY))


def test_the_divergence_matches_torch_and_samples_have_its_standard_deviation() -> None:
    model, x = vae(), torch.randn(6, 3)
    mean, kl = model.encode(x, EDGES)
    _, log_variance = model.encoder(x, EDGES).chunk(2, dim=1)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl, expected)
    model.train()
    draws = torch.stack([model.encode(x, EDGES)[0] for _ in range(500)])
    torch.testing.assert_close(draws.mean(0), mean, atol=0.25, rtol=0)
    torch.testing.assert_close(draws.std(0), posterior.stddev, atol=0.25, rtol=0)


def test_a_thousand_nodes_are_compared_in_one_batch() -> None:
    pairs = torch.combinations(torch.arange(1000))
    scores = predictor(decoder="linear")(torch.randn(1000, 3), EDGES, pairs)
    assert scores.shape == (499500, 1)
