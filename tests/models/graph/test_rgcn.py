"""The relational network: whole models, and what becomes of them without the relations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.graphs import random_graph
from tests.helpers.lab import lab
from trainer.core.dataset import FullBatchSplit
from trainer.models.graph.rgcn import RGCN

SMALL = ("data=relation_sign", "data.nodes=800", "data.labeled_nodes=500", "data.val_nodes=100", "epochs=80")


def model_of(bases: int | None) -> RGCN:
    return RGCN(5, 3, 4, hidden=[4], bases=bases, dropout=0.5, edge_dropout=0.5).eval()


@pytest.mark.parametrize("bases", [None, 2])
def test_outputs_follow_the_order_of_nodes_and_gradients_are_right(bases: int | None) -> None:
    x, edge_index, _ = random_graph()
    kinds = torch.randint(4, edge_index.shape[1:])
    model = model_of(bases).double()
    x = x.double()
    order = torch.randperm(9)
    place, shuffled = order.argsort(), torch.randperm(edge_index.shape[1])
    out = model(x[order], place[edge_index][:, shuffled], kinds[shuffled])
    torch.testing.assert_close(out, model(x, edge_index, kinds)[order])

    names, values = zip(*model.named_parameters(), strict=True)

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x, edge_index, kinds))

    assert torch.autograd.gradcheck(call, [v.detach().clone().requires_grad_() for v in (x, *values)])


def test_a_graph_is_prepared_once() -> None:
    x, edge_index, _ = random_graph()
    kinds = torch.randint(4, edge_index.shape[1:])
    model, made = model_of(None), []
    for _ in range(2):
        model(x, edge_index, kinds)
        made.append([entry[1] for entry in model.body.cache._entries.values()])
    assert made[0] == made[1] != []
    before = model(x, edge_index, kinds)
    kinds[0] = (kinds[0] + 1) % 4
    assert not torch.equal(model(x, edge_index, kinds), before)


def test_it_learns_what_the_relations_say() -> None:
    assert lab("model=rgcn", *SMALL).test()["accuracy"] > 0.88


@pytest.mark.parametrize("twin", ["shuffled", "ignored"])
def test_without_the_relations_it_does_not(twin: str) -> None:
    run = lab("model=rgcn", *SMALL)
    for loader in run.loaders.values():
        assert isinstance(loader.split, FullBatchSplit)
        inputs = loader.split.full_batch.inputs
        kinds = inputs["edge_type"]
        order = torch.randperm(len(kinds), generator=torch.Generator().manual_seed(0))
        inputs["edge_type"] = kinds[order] if twin == "shuffled" else torch.zeros_like(kinds)
    assert run.test()["accuracy"] < 0.65
