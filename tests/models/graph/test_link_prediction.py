"""Link predictors: symmetry, equivariance, decoders, variational encoder."""

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


def make_predictor(**overrides: Any) -> LinkPredictor:
    options = {"in_features": 3, "encoder": "gcn", "hidden": [5], "width": 4, "decoder": "dot", "dropout": 0.0}
    return LinkPredictor(**{**options, **overrides}).eval()


def make_vae() -> GraphVAE:
    return GraphVAE(in_features=3, encoder="gcn", hidden=[5], latent=4, dropout=0.0).eval()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "vae": make_vae,
    "features alone": lambda: make_predictor(encoder="linear"),
    **{f"gcn {kind}": lambda kind=kind: make_predictor(decoder=kind) for kind in DECODERS},  # type: ignore[misc]
    **{kind: lambda kind=kind: make_predictor(encoder=kind) for kind in ("sage", "gin")},  # type: ignore[misc]
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


@every_model
def test_scores_are_symmetric(make: Callable[[], nn.Module]) -> None:
    scores = make()(torch.randn(6, 3), EDGES, EVERY).view(6, 6)
    torch.testing.assert_close(scores, scores.t())
    assert scores.std() > 1e-3


@every_model
def test_scores_are_equivariant_to_node_order(make: Callable[[], nn.Module]) -> None:
    model, x, order = make(), torch.randn(6, 3), torch.randperm(6)
    new_index = order.argsort()
    torch.testing.assert_close(model(x[order], new_index[EDGES], new_index[EVERY]), model(x, EDGES, EVERY))


@every_model
def test_pair_with_unknown_node_raises(make: Callable[[], nn.Module]) -> None:
    for invalid_pair in ([0, 6], [-1, 2]):
        with pytest.raises(
            ValueError, match=rf"pair 1 is \[{invalid_pair[0]}, {invalid_pair[1]}\], but nodes are 0\.\.5"
        ):
            make()(torch.randn(6, 3), EDGES, torch.tensor([[1, 2], invalid_pair]))


def reference_scores(x: Tensor, model: LinkPredictor) -> np.ndarray:
    """Score ordered pairs in loops: ``sigmoid(Linear([n_i, n_j]))`` of ``n = Linear(x)``, not symmetric."""
    weight, bias = (p.detach().double().numpy() for p in model.encoder.layers[0].parameters())  # type: ignore[union-attr]
    out, shift = (p.detach().double().numpy() for p in model.decoder.out.parameters())
    nodes = x.double().numpy() @ weight.T + bias
    every = [[float(out[0] @ np.concatenate((a, b)) + shift[0]) for b in nodes] for a in nodes]
    return np.array(every)


def test_linear_decoder_is_mean_of_both_orders() -> None:
    model = make_predictor(in_features=8, encoder="linear", hidden=[], width=16, decoder="linear")
    assert sum(p.numel() for p in model.parameters()) == 177
    x = torch.randn(6, 8)
    expected = reference_scores(x, model)
    assert np.abs(expected - expected.T).max() > 0.1
    scores = model(x, EDGES, EVERY).view(6, 6).detach().numpy()
    np.testing.assert_allclose(scores, (expected + expected.T) / 2, atol=1e-5)
    # It is additive: the scores of two pairs of four nodes determine those of another pairing.
    np.testing.assert_allclose(scores[0, 1] + scores[2, 3], scores[0, 3] + scores[2, 1], atol=1e-5)
    dot = make_predictor(in_features=8)(x, EDGES, EVERY).view(6, 6)
    assert abs(dot[0, 1] + dot[2, 3] - dot[0, 3] - dot[2, 1]) > 1e-3


def test_edges_change_scores_of_graph_encoder_only() -> None:
    x = torch.randn(6, 3)
    for kind, same in (("gcn", False), ("linear", True)):
        model = make_predictor(encoder=kind)
        assert torch.equal(model(x, EDGES, EVERY), model(x, EDGES[:, :2], EVERY)) is same


def test_sparse_features_match_dense_features() -> None:
    x = torch.eye(40)
    for kind in ("linear", "gcn"):
        model = make_predictor(in_features=40, encoder=kind)
        dense = x.clone().requires_grad_()  # not converted to sparse
        torch.testing.assert_close(model(x, EDGES, EVERY), model(dense, EDGES, EVERY))


def test_kl_matches_torch_and_samples_match_posterior() -> None:
    model, x = make_vae(), torch.randn(6, 3)
    mean, kl = model.encode(x, EDGES)
    _, log_variance = model.encoder(x, EDGES).chunk(2, dim=1)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl, expected)
    model.train()
    draws = torch.stack([model.encode(x, EDGES)[0] for _ in range(500)])
    torch.testing.assert_close(draws.mean(0), mean, atol=0.25, rtol=0)
    torch.testing.assert_close(draws.std(0), posterior.stddev, atol=0.25, rtol=0)


def test_all_pairs_of_thousand_nodes_score_in_one_batch() -> None:
    pairs = torch.combinations(torch.arange(1000))
    scores = make_predictor(decoder="linear")(torch.randn(1000, 3), EDGES, pairs)
    assert scores.shape == (499500, 1)
