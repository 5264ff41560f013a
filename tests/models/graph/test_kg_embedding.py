"""Knowledge graph embeddings against complex products in numpy, with controls without relations."""

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


def make_distmult(score: Kind = "distmult", dropout: float = 0.0) -> DistMult:
    model = DistMult(7, 3, embed_size=6, score=score, init_std=1.0, dropout=dropout)
    torch.nn.init.normal_(model.decoder.bias)
    return model


def reference_scores(score: Kind, entities: Tensor, relations: Tensor) -> np.ndarray:
    e, r = entities.detach().double().numpy(), relations.detach().double().numpy()
    if score == "complex":
        e, r = (value[:, :3] + 1j * value[:, 3:] for value in (e, r))
    pairs = zip(HEAD.tolist(), RELATION.tolist(), strict=True)
    return np.array([[np.sum(e[h] * r[k] * tail.conj()).real for tail in e] for h, k in pairs])


@pytest.mark.parametrize("score", ["distmult", "complex"])
def test_scores_match_the_formula(score: Kind) -> None:
    model = make_distmult(score)
    expected = reference_scores(score, model.entities.weight, model.decoder.relations.weight)
    out = model(HEAD, RELATION) - model.decoder.bias
    torch.testing.assert_close(out, torch.from_numpy(expected).float(), atol=1e-5, rtol=1e-5)


def test_distmult_is_symmetric_and_complex_is_not() -> None:
    head, relation = torch.arange(7), torch.ones(7, dtype=torch.long)
    scores = [
        model(head, relation) - model.decoder.bias for model in (make_distmult("distmult"), make_distmult("complex"))
    ]
    torch.testing.assert_close(scores[0], scores[0].t())
    assert (scores[1] - scores[1].t()).abs().max() > 1


def test_candidate_scores_are_columns_of_all_scores() -> None:
    candidates = torch.tensor([5, 0, 0, 2])
    model = make_distmult()
    torch.testing.assert_close(model(HEAD, RELATION, candidates), model(HEAD, RELATION)[:, candidates])
    rgcn = RGCNDistMult(7, 3, 6, 2, None, "complex", 1.0, 0.5, 0.5).eval()
    all_scores = rgcn(HEAD, RELATION, EDGES, KINDS)
    torch.testing.assert_close(rgcn(HEAD, RELATION, EDGES, KINDS, candidates), all_scores[:, candidates])


def test_complex_with_odd_embed_size_raises() -> None:
    with pytest.raises(ValueError, match="complex numbers have two parts, so it must be even; not 5"):
        DistMult(7, 3, embed_size=5, score="complex", init_std=1.0, dropout=0.0)


def test_entity_scores_depend_on_neighbors() -> None:
    model = RGCNDistMult(7, 3, 6, 1, 2, "distmult", 1.0, 0.0, 0.0).eval()
    before = model(HEAD, RELATION, EDGES, KINDS)
    model.entities.weight.data[1] += 1  # 1 -> 2 by relation 1: of the tails, these two change
    changed = (model(HEAD[1:], RELATION[1:], EDGES, KINDS) - before[1:]).abs().amax(0) > 1e-5
    assert changed.nonzero().flatten().tolist() == [1, 2]


def test_sampled_loss_approximates_full_loss() -> None:
    """The mean of exp(loss) over many draws approximates exp(loss) over all candidates."""
    model, target = make_distmult(), torch.tensor([4])
    full, sampled = (Ranking(model, 7, 0.0, candidates) for candidates in (None, 3))
    batch = Batch({"head": HEAD[:1], "relation": RELATION[:1]}, target, torch.arange(1))
    with torch.no_grad():
        mean_exp_loss = torch.stack([sampled.loss(batch, "model") for _ in range(1500)]).exp().mean()
        assert float(mean_exp_loss) == pytest.approx(float(full.loss(batch, "model").exp()), rel=0.08)


def make_clock_run(directory: Path, *overrides: str) -> Lab:
    path = clock.write(directory)
    defaults = ("model.embed_size=32", "batch_size=64", "epochs=20")
    return lab("data=triples", f"data.path={path}", *defaults, *overrides)


def remove_relations(run: Lab, control: str) -> Lab:
    """Set the relations of all rows to 0, or permute them."""
    for loader in run.loaders.values():
        assert isinstance(loader.split, SplitWithSharedInputs)
        assert isinstance(loader.split.rows, TripleQuerySplit)
        inputs = loader.split.rows.rows.inputs
        order = torch.randperm(len(inputs["relation"]), generator=torch.Generator().manual_seed(0))
        inputs["relation"] = torch.zeros_like(order) if control == "ignored" else inputs["relation"][order]
    return run


@pytest.mark.parametrize("candidates", ["null", "8"])
def test_complex_learns_clock_relations(tmp_path: Path, candidates: str) -> None:
    scores = make_clock_run(tmp_path, "model=distmult", "model.score=complex", f"task.candidates={candidates}").test()
    assert scores["mrr"] > 0.97  # 1 is the optimum: every query has one answer, which follows from the training triples


def test_distmult_cannot_represent_direction(tmp_path: Path) -> None:
    scores = make_clock_run(tmp_path, "model=distmult").test()
    assert 0.5 < scores["mrr"] < 0.8  # the hours at the same distance on both sides get the same score
    assert scores["hits_at_3"] > 0.8


@pytest.mark.parametrize("control", ["ignored", "shuffled"])
def test_clock_is_not_learned_without_relations(tmp_path: Path, control: str) -> None:
    run = remove_relations(make_clock_run(tmp_path, "model=distmult", "model.score=complex"), control)
    assert run.test()["mrr"] < 0.4


def make_nations_run(*overrides: str) -> Lab:
    return lab("data=nations", f"data_dir={FOLDER}", *overrides)


needs_data = needs("kg_small")


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("model", ["distmult", "rgcn_distmult"])
def test_nations_are_learned(model: str) -> None:
    run = make_nations_run(f"model={model}")
    scores = run.test()
    assert scores["mrr"] > 0.75
    assert scores["mrr"] > run.data.info.baseline["mrr"] + 0.2


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("control", ["ignored", "shuffled"])
def test_nations_are_not_learned_without_relations(control: str) -> None:
    assert remove_relations(make_nations_run("model=distmult"), control).test()["mrr"] < 0.65
