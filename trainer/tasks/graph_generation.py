"""Graph generation from link probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core import rng
from trainer.core.artifacts import Artifact, GraphPlot, LazyArtifact, Table
from trainer.core.batch import Batch, RowValues, Score
from trainer.core.dataset import Dataset
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PluginMetric, PositiveInt
from trainer.metrics.classification import average_precision, roc_auc
from trainer.metrics.double_precision import to_double
from trainer.tasks.base.model_protocols import GraphAutoencoder
from trainer.tasks.base.scored_task import ScoredTask
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count

PAIR_CHUNK_SIZE = 1 << 20
"""Pairs decoded at once when a graph is sampled."""
MAX_DRAWN_NODES = 1500
"""Maximum number of nodes of a graph plot."""


class GraphGeneration(ScoredTask):
    """Training of (variational) graph autoencoders, with graph generation from the link probabilities.

    The loss is ``-mean over pairs (i, j) of log p(A_ij | z_i, z_j) + beta KL / N`` with the KL divergence ``KL(q(z_i |
    x, A) || p(z_i))`` averaged over the N nodes; deterministic models have none. With beta 1 and all pairs it is the
    negative evidence lower bound of the variational graph autoencoder, per pair.

    A sampled graph has one Bernoulli draw per unordered pair. Training uses a balanced sample of linked and unlinked
    pairs, which shifts all logits by a constant; sampling corrects the shift so that the expected number of links
    equals that of the training graph.

    Args:
        model: Model with node embeddings and link logits, see ``GraphAutoencoder``.
        beta: Weight of the KL term.
        scores: Reported metrics; the first one selects the best weights.

    References:
        King and Zeng, Logistic Regression in Rare Events Data, Political Analysis 2001 (logit correction).
        Kipf and Welling, Variational Graph Auto-Encoders, NeurIPS Bayesian Deep Learning Workshop 2016.
    """

    loss_floor = None
    shapes = "(P, C) -> (P)"

    optional_scores = ("auc", "average_precision", "nll", "kl")
    required_model_methods: ClassVar[tuple[str, ...]] = ("encode", "decode")

    def __init__(
        self,
        model: nn.Module,
        beta: NonNegativeFloat = 1.0,
        scores: Sequence[Literal["auc", "average_precision", "nll", "kl"] | PluginMetric] = optional_scores,
    ):
        super().__init__(model, scores)
        self.beta = beta
        self.graph_inputs: dict[str, Tensor] = {}
        self.node_classes: Tensor | None = None

    @property
    def _autoencoder(self) -> GraphAutoencoder:
        return cast(GraphAutoencoder, self.model)

    def setup(self, data: Dataset) -> None:
        self.graph_inputs = self.select_model_inputs(
            data.train.to_model_inputs(data.train.batch(torch.zeros(1, dtype=torch.long), 0))
        )
        del self.graph_inputs["pairs"]
        self.node_classes = data.info.graph.node_classes

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        if targets is None or targets.is_floating_point() or not ((targets == 0) | (targets == 1)).all():
            raise ConfigError(
                f"task: graph_generation needs target 0 or 1 for every pair; the {split} split has other values"
            )

    def decode_pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the link logits (P,) of the pairs of a batch and the KL terms (N,) of the nodes."""
        inputs = self.select_model_inputs(batch)
        pairs = inputs.pop("pairs")
        nodes, kl = self._autoencoder.encode(**inputs)
        return self._autoencoder.decode(nodes, pairs).squeeze(1), kl.float()

    def loss(self, batch: Batch, group: str) -> Tensor:
        logits, kl = self.decode_pairs(batch)
        target = batch.require_target().to(logits)
        return F.binary_cross_entropy_with_logits(logits, target) + self.beta * kl.mean() / len(kl)

    def score(self, batch: Batch) -> Score:
        logits, kl = self.decode_pairs(batch)
        target = batch.require_target()
        logits = logits.float()
        return {
            "margin": RowValues(logits),
            "positive": RowValues(target == 1),
            "nll": to_double(F.binary_cross_entropy_with_logits(logits, target.to(logits), reduction="sum")),
            "kl": to_double(kl).mean() * len(batch),
            **self.collect_rows(logits, target),
        }

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        margin, positive = totals["margin"], totals["positive"]
        scores = {
            "auc": roc_auc(margin, positive),
            "average_precision": average_precision(margin, positive),
            "nll": float(totals["nll"]) / len(margin),
            "kl": float(totals["kl"]) / len(margin),
        }
        return self.select_scores(scores, totals)

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        if not scores.keys() >= {"nll", "kl"}:
            return None
        return scores["nll"] + self.beta * scores["kl"] / len(self.graph_inputs["x"])

    @torch.no_grad()
    def draw(self, seed: int) -> Tensor:
        """Sample a graph over the training nodes.

        All pairs are decoded; ten thousand nodes need 2 GB.

        Args:
            seed: Seed of the Bernoulli draws.

        Returns:
            Links (L, 2), the smaller node first, on the CPU.
        """
        device = self.progress.device
        nodes, _ = self._autoencoder.encode(**{k: v.to(device) for k, v in self.graph_inputs.items()})
        pairs = torch.combinations(torch.arange(len(nodes)))
        parts = pairs.split(PAIR_CHUNK_SIZE)
        logits = torch.cat([self._autoencoder.decode(nodes, part.to(device)).squeeze(1) for part in parts])
        probs = calibrate_link_probs(self.graph_inputs["edge_index"].shape[1] / 2, logits.float().cpu())
        return pairs[torch.rand(len(pairs), generator=rng.make_generator(seed)) < probs]

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        if len(self.graph_inputs["x"]) <= MAX_DRAWN_NODES:
            yield LazyArtifact("graph", lambda: self._plot_graph("graph", self.draw(0)))

    def sample(self, count: PositiveInt = 1, seed: NonNegativeInt = 0) -> Iterator[str | Artifact]:
        """Yield tables of the links of sampled graphs and, for small graphs, plots next to the training graph.

        Args:
            count: Number of graphs.
            seed: Seed of the first graph; the next ones have the following seeds.
        """
        for sample_seed in range(seed, seed + count):
            links = self.draw(sample_seed)
            yield Table(f"sampled-{sample_seed}", ("source", "target"), links.tolist())
            if len(self.graph_inputs["x"]) <= MAX_DRAWN_NODES:
                yield self._plot_graph(f"sampled-{sample_seed}", links)

    def _plot_graph(self, name: str, links: Tensor) -> GraphPlot:
        edges, nodes = self.graph_inputs["edge_index"].cpu().t(), len(self.graph_inputs["x"])
        training = edges[edges[:, 0] < edges[:, 1]]
        pair_to_id = torch.tensor([nodes, 1])
        overlap = torch.isin(links @ pair_to_id, training @ pair_to_id).double().mean()
        sampled = f"sampled: {format_count(len(links), 'link')}, {float(overlap):.0%} in the training graph"
        captions = (f"training: {format_count(len(training), 'link')}", sampled)
        graphs = [
            (f"{caption}\n{describe_density(edges, nodes, self.node_classes)}", edges)
            for caption, edges in zip(captions, (training, links), strict=True)
        ]
        return GraphPlot(name, nodes, graphs, self.node_classes)


def describe_density(links: Tensor, nodes: int, classes: Tensor | None) -> str:
    """Return a caption with the density of a graph, and that within and across classes if they are known.

    Args:
        links: Links (L, 2).
        nodes: Number of nodes N.
        classes: Classes (N,) of the nodes.
    """
    density = f"{nodes} nodes, density {2 * len(links) / (nodes * (nodes - 1)):.4f}"
    if classes is None:
        return density
    intra_density, inter_density = compute_densities(links, classes)
    return f"{density} ({intra_density:.4f} within a class, {inter_density:.4f} across)"


def compute_densities(links: Tensor, classes: Tensor) -> tuple[float, float]:
    """Return the fraction of linked pairs within classes and across classes.

    Args:
        links: Links (L, 2), each pair once.
        classes: Classes (N,) of the nodes.
    """
    size = classes.bincount()
    num_intra_pairs, total = float((size * (size - 1)).sum()) / 2, len(classes) * (len(classes) - 1) / 2
    num_intra_links = int((classes[links[:, 0]] == classes[links[:, 1]]).sum())
    num_inter_links = len(links) - num_intra_links
    return num_intra_links / max(num_intra_pairs, 1), num_inter_links / max(total - num_intra_pairs, 1)


def calibrate_link_probs(links: float, logits: Tensor) -> Tensor:
    """Return link probabilities after shifting all logits so that the expected number of links is ``links``.

    The shift is found by bisection.

    Args:
        links: Expected number of links.
        logits: Logits (P,) of all pairs.

    Returns:
        Probabilities (P,).
    """
    low, high = -100.0, 100.0
    while high - low > 1e-4:
        shift = (low + high) / 2
        expected_links = float((logits + shift).sigmoid().double().sum())
        if expected_links > links:
            high = shift
        else:
            low = shift
    return (logits + low).sigmoid()
