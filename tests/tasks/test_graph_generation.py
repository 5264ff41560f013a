"""Graph generation: loss, density and blocks of drawn graphs, artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import Lab, lab
from trainer.config import compose
from trainer.core.artifacts import GraphPlot, Table
from trainer.core.batch import Batch, ScoreAccumulator
from trainer.inference import sample
from trainer.models.graph.link_prediction import GraphVAE
from trainer.runs import saved_run, train
from trainer.tasks import graph_generation
from trainer.tasks.graph_generation import GraphGeneration, calibrate_link_probs, compute_densities
from trainer.utils.errors import ConfigError
from trainer.viz import artifact_writer

SMALL = ("data=sbm_pairs", "data.nodes=300", "data.p_within=0.07", "data.p_across=0.007", "batch_size=4096")


def make_task(beta: float = 1.0) -> GraphGeneration:
    return GraphGeneration(GraphVAE(3, "gcn", [5], 4, 0.0), beta)


def make_batch() -> Batch:
    inputs = {
        "x": torch.randn(6, 3),
        "edge_index": torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]),
        "pairs": torch.tensor([[0, 1], [2, 3], [4, 5], [0, 5]]),
    }
    return Batch(inputs, torch.tensor([1, 1, 0, 0]), torch.arange(4))


def draw_links(run: Lab, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the training links and the drawn links, (L, 2) each."""
    task = run.task.eval()
    assert isinstance(task, GraphGeneration)
    edges = task.graph_inputs["edge_index"].t()
    return edges[edges[:, 0] < edges[:, 1]], task.draw(seed)


@pytest.fixture(scope="module")
def trained() -> Lab:
    run = lab("model=graph_generator", *SMALL, "epochs=80", "optimizer.lr=1e-2")
    run.test()
    return run


def test_loss_is_nll_of_pairs_plus_kl() -> None:
    task, batch = make_task(beta=3.0).eval(), make_batch()
    mean, kl = task.model.encode(batch.inputs["x"], batch.inputs["edge_index"])  # type: ignore[operator]
    logits = task.model.decode(mean, batch.inputs["pairs"])[:, 0]  # type: ignore[operator]
    nll = -torch.distributions.Bernoulli(logits=logits).log_prob(batch.target.float()).mean()  # type: ignore[union-attr]
    torch.testing.assert_close(task.loss(batch, "model"), nll + 3 * kl.sum() / 36)
    totals = ScoreAccumulator()
    with torch.no_grad():
        totals.update(task.score(batch))
    scores = task.metrics(totals.compute_totals())
    assert scores["nll"] == pytest.approx(float(nll.detach()))
    assert scores["kl"] == pytest.approx(float(kl.mean().detach()))


def test_loss_of_parts_sums_to_loss_of_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.full_like(x, 0.3))
    task, batch = make_task().train(), make_batch()
    parts = [
        Batch(batch.inputs | {"pairs": batch.inputs["pairs"][rows]}, batch.target[rows], batch.index[rows])  # type: ignore[index]
        for rows in (slice(0, 1), slice(1, 4))
    ]
    total = sum(task.loss(part, "model") * task.num_loss_terms(part) for part in parts) / task.num_loss_terms(batch)
    torch.testing.assert_close(total, task.loss(batch, "model"))


def test_posterior_is_sampled_in_training_and_mean_in_evaluation() -> None:
    task, batch = make_task(), make_batch()
    assert task.train().loss(batch, "model") != task.loss(batch, "model")
    assert task.eval().loss(batch, "model") == task.loss(batch, "model")


@pytest.mark.parametrize("targets", [None, torch.tensor([0, 2]), torch.tensor([0.0, 1.0])])
def test_invalid_targets_raise(targets: Tensor | None) -> None:
    with pytest.raises(ConfigError, match="target 0 or 1 for every pair; the val split has other values"):
        make_task().validate_targets(targets, "val")


def test_calibrate_link_probs_shifts_logits_to_expected_count() -> None:
    logits = torch.randn(1000) * 5
    probs = calibrate_link_probs(37.0, logits)
    assert float(probs.sum()) == pytest.approx(37, rel=1e-3)
    shift = probs.double().logit() - logits
    assert float(shift.std()) < 1e-2


@pytest.mark.slow
def test_drawn_graphs_match_density_and_blocks(trained: Lab) -> None:
    training_links, links = draw_links(trained)
    classes = trained.data.info.graph.node_classes
    assert classes is not None
    assert len(links) == pytest.approx(len(training_links), abs=4 * len(training_links) ** 0.5)
    assert bool((links[:, 0] < links[:, 1]).all())  # no loop, and both orders are one link
    assert len(links.unique(dim=0)) == len(links)
    within, across = compute_densities(links, classes)
    assert within > 3 * across
    assert not torch.equal(links[:50], draw_links(trained, seed=1)[1][:50])
    assert torch.equal(links, draw_links(trained)[1])


@pytest.mark.slow
def test_linear_decoder_draws_no_blocks() -> None:
    run = lab("model=graph_generator", *SMALL, "epochs=40", "model.decoder=linear")
    run.test()
    classes = run.data.info.graph.node_classes
    assert classes is not None
    within, across = compute_densities(draw_links(run)[1], classes)
    assert within < 1.5 * across


def test_compute_densities() -> None:
    links = torch.tensor([[0, 1], [0, 2], [2, 3], [1, 4]])
    assert compute_densities(links, torch.tensor([0, 0, 1, 1, 1])) == (2 / 4, 2 / 6)


def test_independent_ordered_pairs_give_loops_and_directed_links() -> None:
    """Drawing every ordered pair independently, self-pairs included, is not a valid reference."""
    nodes, pairs = torch.randn(60, 16), torch.cartesian_prod(torch.arange(60), torch.arange(60))
    with torch.no_grad():
        probs = nn.Linear(32, 1)(nodes[pairs].flatten(1)).sigmoid().view(60, 60)
    adjacency = torch.bernoulli(probs)
    assert float((adjacency != adjacency.t()).double().mean()) > 0.2
    assert float(adjacency.diagonal().mean()) > 0.2


@pytest.mark.slow
def test_samples_are_saved_as_a_table_and_a_figure(trained: Lab, tmp_path: Path) -> None:
    training_links, links = draw_links(trained, seed=4)
    artifacts = list(trained.task.sample(count=2, seed=4))  # type: ignore[operator]
    assert [type(item) for item in artifacts] == [Table, GraphPlot, Table, GraphPlot]
    table, plot = artifacts[:2]
    assert table.rows == links.tolist()
    assert [
        torch.equal(found, expected) for (_, found), expected in zip(plot.graphs, (training_links, links), strict=True)
    ] == [
        True,
        True,
    ]
    captions = [caption for caption, _ in plot.graphs]
    assert captions[0].startswith(
        f"training: {len(training_links)} links\n300 nodes, density {len(training_links) / 44850:.4f} ("
    )
    assert captions[1].startswith(f"sampled: {len(links)} links, ")
    (path,) = artifact_writer.write_artifacts([table], tmp_path)
    assert path.read_text().splitlines()[:2] == ["source,target", ",".join(map(str, links[0].tolist()))]


@pytest.mark.slow
def test_large_graph_is_not_plotted(trained: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_generation, "MAX_DRAWN_NODES", 299)
    assert [type(item) for item in trained.task.sample()] == [Table]  # type: ignore[operator]
    monkeypatch.delattr(GraphGeneration, "sample")
    assert not list(trained.task.make_artifacts(()))


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.slow
def test_sample_run_writes_table_and_figure(tmp_path: Path) -> None:
    run = train.run(compose.compose(["model=graph_vae", *SMALL, "data.nodes=60", "epochs=1", "threads=1"]))
    run_dir = next(path.parent for path in tmp_path.rglob("best.pt"))
    assert run.status == "finished"
    assert (run_dir / "graph.png").exists()
    output = "".join(sample.sample_run(saved_run.load(run_dir), {"seed": 3}))
    assert [Path(line).name for line in output.split()] == ["sampled-3.csv", "sampled-3.png"]
    assert all(Path(line).stat().st_size for line in output.split())
