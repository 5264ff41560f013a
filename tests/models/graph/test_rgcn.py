"""RGCN models, with controls without relations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.graphs import random_graph
from tests.helpers.lab import lab
from trainer.core.split import FullBatchSplit
from trainer.models.graph.rgcn import RGCN

SMALL = ("data=relation_sign", "data.nodes=800", "data.labeled_nodes=500", "data.val_nodes=100", "epochs=80")


def make_model(bases: int | None) -> RGCN:
    return RGCN(5, 3, 4, hidden=[4], bases=bases, dropout=0.5, edge_dropout=0.5).eval()


@pytest.mark.parametrize("bases", [None, 2])
def test_outputs_are_node_equivariant_and_gradients_are_exact(bases: int | None) -> None:
    x, edge_index, _ = random_graph()
    edge_type = torch.randint(4, edge_index.shape[1:])
    model = make_model(bases).double()
    x = x.double()
    order = torch.randperm(9)
    new_index, shuffled = order.argsort(), torch.randperm(edge_index.shape[1])
    out = model(x[order], new_index[edge_index][:, shuffled], edge_type[shuffled])
    torch.testing.assert_close(out, model(x, edge_index, edge_type)[order])

    names, values = zip(*model.named_parameters(), strict=True)

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x, edge_index, edge_type))

    assert torch.autograd.gradcheck(call, [v.detach().clone().requires_grad_() for v in (x, *values)])


def test_graph_is_cached_until_it_changes() -> None:
    x, edge_index, _ = random_graph()
    edge_type = torch.randint(4, edge_index.shape[1:])
    model, cached = make_model(None), []
    for _ in range(2):
        model(x, edge_index, edge_type)
        cached.append([entry[1] for entry in model.body.cache._entries.values()])
    assert cached[0] == cached[1] != []
    before = model(x, edge_index, edge_type)
    edge_type[0] = (edge_type[0] + 1) % 4
    assert not torch.equal(model(x, edge_index, edge_type), before)


def test_relation_sign_is_learned() -> None:
    assert lab("model=rgcn", *SMALL).test()["accuracy"] > 0.88


@pytest.mark.parametrize("control", ["shuffled", "ignored"])
def test_relation_sign_is_not_learned_without_relations(control: str) -> None:
    run = lab("model=rgcn", *SMALL)
    for loader in run.loaders.values():
        assert isinstance(loader.split, FullBatchSplit)
        inputs = loader.split.full_batch.inputs
        edge_type = inputs["edge_type"]
        order = torch.randperm(len(edge_type), generator=torch.Generator().manual_seed(0))
        inputs["edge_type"] = edge_type[order] if control == "shuffled" else torch.zeros_like(edge_type)
    assert run.test()["accuracy"] < 0.65
