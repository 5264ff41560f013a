"""Products of embeddings against complex numbers in numpy, what they can tell, and what is left without relations."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers import clock
from tests.helpers.lab import Lab, lab
from tests.helpers.real_data import FOLDER, needs
from trainer.core.batch import Batch
from trainer.data.splits.graph_batches import SplitWithSharedInputs
from trainer.data.splits.triple_queries import TripleQuerySplit
from trainer.models.graph.kg_embedding import DistMult, RGCNDistMult
from trainer.tasks.ranking import Ranking

Kind = Literal["distmult", "complex"]
HEAD, RELATION = torch.tensor([0, 3, 6, 3]), torch.tensor([1, 0, 2, 2])
EDGES, KINDS = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 4, 4]]), torch.tensor([0, 1, 2, 0, 1])


def distmult(score: Kind = "distmult", dropout: float = 0.0) -> DistMult:
    model = DistMult(7, 3, embed_size=6, score=score, init_std=1.0, dropout=dropout)
    torch.nn.init.normal_(model.decoder.bias)
    return model


def formula(score: Kind, entities: Tensor, relations: Tensor) -> np.ndarray:
    e, r = entities.detach().double().numpy(), relations.detach().double().numpy()
    if score == "complex":
        e, r = (value[:, :3] + 1j * value[:, 3:] for value in (e, r))
    pairs = zip(HEAD.tolist(), RELATION.tolist(), strict=True)
    return np.array([[np.sum(e[h] * r[k] * tail.conj()).real for tail in e] for h, k in pairs])


@pytest.mark.parametrize("score", ["distmult", "complex"])
def test_scores_match_the_formula(score: Kind) -> None:
    model = distmult(score)
    expected = formula(score, model.entities.weight, model.decoder.relations.weight)
    out = model(HEAD, RELATION) - model.decoder.bias
    torch.testing.assert_close(out, torch.from_numpy(expected).float(), atol=1e-5, rtol=1e-5)


def test_a_product_has_no_direction_and_a_complex_one_has() -> None:
    head, relation = torch.arange(7), torch.ones(7, dtype=torch.long)
    both_ways = [model(head, relation) - model.decoder.bias for model in (distmult("distmult"), distmult("complex"))]
    torch.testing.assert_close(both_ways[0], both_ways[0].t())
    assert (both_ways[1] - both_ways[1].t()).abs().max() > 1


def test_candidates_are_columns_of_all() -> None:
    some = torch.tensor([5, 0, 0, 2])
    model = distmult()
    torch.testing.assert_close(model(HEAD, RELATION, some), model(HEAD, RELATION)[:, some])
    graph = RGCNDistMult(7, 3, 6, 2, None, "complex", 1.0, 0.5, 0.5).eval()
    whole = graph(HEAD, RELATION, EDGES, KINDS)
    torch.testing.assert_close(graph(HEAD, RELATION, EDGES, KINDS, some), whole[:, some])


def test_an_odd_number_is_no_complex_one() -> None:
    with pytest.raises(ValueError, match="complex numbers have two parts, so it must be even; not 5"):
        DistMult(7, 3, embed_size=5, score="complex", init_std=1.0, dropout=0.0)


def test_an_entity_receives_messages_from_its_neighbors_during_queries() -> None:
    model = RGCNDistMult(7, 3, 6, 1, 2, "distmult", 1.0, 0.0, 0.0).eval()
    before = model(HEAD, RELATION, EDGES, KINDS)
    model.entities.weight.data[1] += 1  # 1 -> 2 by relation 1: of the tails, these two change
    changed = (model(HEAD[1:], RELATION[1:], EDGES, KINDS) - before[1:]).abs().amax(0) > 1e-5
    assert changed.nonzero().flatten().tolist() == [1, 2]


def test_sampled_candidates_approximate_all() -> None:
    """The mean of e^loss over many draws is that of the loss over all, where one candidate is drawn at a time."""
    model, target = distmult(), torch.tensor([4])
    all_of_them, few = (Ranking(model, 7, 0.0, candidates) for candidates in (None, 3))
    batch = Batch({"head": HEAD[:1], "relation": RELATION[:1]}, target, torch.arange(1))
    with torch.no_grad():
        drawn = torch.stack([few.loss(batch, "model") for _ in range(1500)]).exp().mean()
        assert float(drawn) == pytest.approx(float(all_of_them.loss(batch, "model").exp()), rel=0.08)


def on_the_clock(folder: Path, *more: str) -> Lab:
    path = clock.write(folder)
    words = ("model.embed_size=32", "batch_size=64", "epochs=20")
    return lab("data=triples", f"data.path={path}", *words, *more)


def without_relations(run: Lab, twin: str) -> Lab:
    """The same run, on rows whose relations are all one, or anybody's."""
    for loader in run.loaders.values():
        assert isinstance(loader.split, SplitWithSharedInputs)
        assert isinstance(loader.split.rows, TripleQuerySplit)
        inputs = loader.split.rows.rows.inputs
        order = torch.randperm(len(inputs["relation"]), generator=torch.Generator().manual_seed(0))
        inputs["relation"] = torch.zeros_like(order) if twin == "ignored" else inputs["relation"][order]
    return run


@pytest.mark.parametrize("candidates", ["null", "8"])
def test_complex_embeddings_learn_the_clock(tmp_path: Path, candidates: str) -> None:
    scores = on_the_clock(tmp_path, "model=distmult", "model.score=complex", f"task.candidates={candidates}").test()
    assert scores["mrr"] > 0.97  # 1 is the optimum: every question has one answer, which follows from the others


def test_distmult_cannot_represent_direction(tmp_path: Path) -> None:
    scores = on_the_clock(tmp_path, "model=distmult").test()
    assert 0.5 < scores["mrr"] < 0.8  # of two hours as far away on either side
    assert scores["hits_at_3"] > 0.8


@pytest.mark.parametrize("twin", ["ignored", "shuffled"])
def test_without_relations_nothing_tells_the_time(tmp_path: Path, twin: str) -> None:
    run = without_relations(on_the_clock(tmp_path, "model=distmult", "model.score=complex"), twin)
    assert run.test()["mrr"] < 0.4


def nations(*more: str) -> Lab:
    return lab("data=nations", f"data_dir={FOLDER}", *more)


real = needs("kg_small")


@real
@pytest.mark.slow
@pytest.mark.parametrize("model", ["distmult", "rgcn_distmult"])
def test_rgcn_learns_nations_from_relations(model: str) -> None:
    run = nations(f"model={model}")
    scores = run.test()
    assert scores["mrr"] > 0.75
    assert scores["mrr"] > run.data.info.baseline["mrr"] + 0.2


@real
@pytest.mark.slow
@pytest.mark.parametrize("twin", ["ignored", "shuffled"])
def test_without_relations_nations_are_not_learned(twin: str) -> None:
    assert without_relations(nations("model=distmult"), twin).test()["mrr"] < 0.65
