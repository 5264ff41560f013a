"""Graphs that are drawn: as dense as the one that was seen, linked both ways or not at all, in blocks if it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import Lab, lab
from trainer.config import compose
from trainer.core.artifacts import GraphPlot, Table
from trainer.core.batch import Batch, ScoreAccumulator
from trainer.models.graph.link_prediction import GraphVAE
from trainer.runs import sample, saved_run, train
from trainer.tasks import graph_generation
from trainer.tasks.graph_generation import GraphGeneration, calibrate_link_probs, compute_densities
from trainer.utils.errors import ConfigError
from trainer.viz import artifact_writer

SMALL = ("data=sbm_pairs", "data.nodes=300", "data.p_within=0.07", "data.p_across=0.007", "batch_size=4096")


def task(beta: float = 1.0) -> GraphGeneration:
    return GraphGeneration(GraphVAE(3, "gcn", [5], 4, 0.0), beta)


def batch() -> Batch:
    inputs = {
        "x": torch.randn(6, 3),
        "edge_index": torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]),
        "pairs": torch.tensor([[0, 1], [2, 3], [4, 5], [0, 5]]),
    }
    return Batch(inputs, torch.tensor([1, 1, 0, 0]), torch.arange(4))


def drawn(run: Lab, seed: int = 0) -> tuple[Tensor, Tensor]:
    """What was seen and what is drawn, links (L, 2) each."""
    built = run.task.eval()
    assert isinstance(built, GraphGeneration)
    edges = built.graph_inputs["edge_index"].t()
    return edges[edges[:, 0] < edges[:, 1]], built.draw(seed)


@pytest.fixture(scope="module")
def trained() -> Lab:
    run = lab("model=graph_generator", *SMALL, "epochs=80", "optimizer.lr=1e-2")
    run.test()
    return run


def test_the_loss_is_the_likelihood_of_pairs_and_the_divergence() -> None:
    built, seen = task(beta=3.0).eval(), batch()
    mean, kl = built.model.encode(seen.inputs["x"], seen.inputs["edge_index"])  # type: ignore[operator]
    odds = built.model.decode(mean, seen.inputs["pairs"])[:, 0]  # type: ignore[operator]
    nll = -torch.distributions.Bernoulli(logits=odds).log_prob(seen.target.float()).mean()  # type: ignore[union-attr]
    torch.testing.assert_close(built.loss(seen, "model"), nll + 3 * kl.sum() / 36)
    totals = ScoreAccumulator()
    with torch.no_grad():
        totals.update(built.score(seen))
    scores = built.metrics(totals.compute_totals())
    assert scores["nll"] == pytest.approx(float(nll.detach()))
    assert scores["kl"] == pytest.approx(float(kl.mean().detach()))


def test_parts_of_a_batch_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.full_like(x, 0.3))
    built, seen = task().train(), batch()
    parts = [
        Batch(seen.inputs | {"pairs": seen.inputs["pairs"][rows]}, seen.target[rows], seen.index[rows])  # type: ignore[index]
        for rows in (slice(0, 1), slice(1, 4))
    ]
    total = sum(built.loss(part, "model") * built.num_loss_terms(part) for part in parts) / built.num_loss_terms(seen)
    torch.testing.assert_close(total, built.loss(seen, "model"))


def test_a_posterior_is_drawn_anew_while_training_and_its_mean_is_scored() -> None:
    built, seen = task(), batch()
    assert built.train().loss(seen, "model") != built.loss(seen, "model")
    assert built.eval().loss(seen, "model") == built.loss(seen, "model")


@pytest.mark.parametrize("targets", [None, torch.tensor([0, 2]), torch.tensor([0.0, 1.0])])
def test_other_targets_are_refused(targets: Tensor | None) -> None:
    with pytest.raises(ConfigError, match="target 0 or 1 for every pair; the val split has other values"):
        task().validate_targets(targets, "val")


def test_chances_are_shifted_by_one_number_to_the_links_expected() -> None:
    odds = torch.randn(1000) * 5
    chance = calibrate_link_probs(37.0, odds)
    assert float(chance.sum()) == pytest.approx(37, rel=1e-3)
    shift = chance.double().logit() - odds
    assert float(shift.std()) < 1e-2


@pytest.mark.slow
def test_drawn_graphs_are_as_dense_and_in_the_same_blocks(trained: Lab) -> None:
    seen, links = drawn(trained)
    classes = trained.data.info.graph.node_classes
    assert classes is not None
    assert len(links) == pytest.approx(len(seen), abs=4 * len(seen) ** 0.5)
    assert bool((links[:, 0] < links[:, 1]).all())  # no loop, and both orders are one link
    assert len(links.unique(dim=0)) == len(links)
    within, across = compute_densities(links, classes)
    assert within > 3 * across
    assert not torch.equal(links[:50], drawn(trained, seed=1)[1][:50])
    assert torch.equal(links, drawn(trained)[1])


def test_a_decoder_that_adds_up_draws_no_blocks() -> None:
    run = lab("model=graph_generator", *SMALL, "epochs=40", "model.decoder=linear")
    run.test()
    classes = run.data.info.graph.node_classes
    assert classes is not None
    within, across = compute_densities(drawn(run)[1], classes)
    assert within < 1.5 * across


def test_densities_by_counting() -> None:
    links = torch.tensor([[0, 1], [0, 2], [2, 3], [1, 4]])
    assert compute_densities(links, torch.tensor([0, 0, 1, 1, 1])) == (2 / 4, 2 / 6)


def test_the_source_draws_loops_and_links_of_one_direction() -> None:
    """Every order of a pair by itself, a node with itself among them."""
    nodes, every = torch.randn(60, 16), torch.cartesian_prod(torch.arange(60), torch.arange(60))
    with torch.no_grad():
        chance = nn.Linear(32, 1)(nodes[every].flatten(1)).sigmoid().view(60, 60)
    adjacency = torch.bernoulli(chance)
    assert float((adjacency != adjacency.t()).double().mean()) > 0.2
    assert float(adjacency.diagonal().mean()) > 0.2


@pytest.mark.slow
def test_samples_are_saved_as_a_table_and_a_figure(trained: Lab, tmp_path: Path) -> None:
    seen, links = drawn(trained, seed=4)
    items = list(trained.task.sample(count=2, seed=4))  # type: ignore[operator]
    assert [type(item) for item in items] == [Table, GraphPlot, Table, GraphPlot]
    table, picture = items[:2]
    assert table.rows == links.tolist()
    assert [torch.equal(found, wanted) for (_, found), wanted in zip(picture.graphs, (seen, links), strict=True)] == [
        True,
        True,
    ]
    captions = [caption for caption, _ in picture.graphs]
    assert captions[0].startswith(f"training: {len(seen)} links\n300 nodes, density {len(seen) / 44850:.4f} (")
    assert captions[1].startswith(f"sampled: {len(links)} links, ")
    (path,) = artifact_writer.write_artifacts([table], tmp_path)
    assert path.read_text().splitlines()[:2] == ["source,target", ",".join(map(str, links[0].tolist()))]


def test_a_graph_too_large_to_tell_its_nodes_apart_is_not_drawn(trained: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_generation, "MAX_DRAWN_NODES", 299)
    assert [type(item) for item in trained.task.sample()] == [Table]  # type: ignore[operator]
    monkeypatch.delattr(GraphGeneration, "sample")
    assert not list(trained.task.make_artifacts(()))


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.slow
def test_a_run_is_sampled_from_the_command(tmp_path: Path) -> None:
    run = train.run(compose.compose(["model=graph_vae", *SMALL, "data.nodes=60", "epochs=1", "threads=1"]))
    folder = next(path.parent for path in tmp_path.rglob("best.pt"))
    assert run.status == "finished"
    assert (folder / "graph.png").exists()
    told = "".join(sample.sample_run(saved_run.load(folder), {"seed": 3}))
    assert [Path(line).name for line in told.split()] == ["sampled-3.csv", "sampled-3.png"]
    assert all(Path(line).stat().st_size for line in told.split())
