"""Graphs like the one that was seen: which pairs of nodes are linked, and new graphs drawn from that."""

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
"""Pairs that are looked at together when a graph is drawn."""
MAX_DRAWN_NODES = 1500
"""Nodes of a graph of which there is a picture: more cannot be told apart."""


class GraphGeneration(ScoredTask):
    """``mean over pairs of -log p(link or not | z) + beta KL / N``: the logistic loss of decoded pairs, and what the
    model says its N nodes z cost, each ``KL(q(z_i | x, A) || p(z_i))``, averaged over nodes; a model that draws nothing
    has none. With beta 1 and as many pairs as there are, that is the bound of Kipf and Welling 2016, per pair. A graph
    is drawn link by link, once, for both orders of a pair. Training sees a choice of pairs of which half are links,
    which adds the same to all log-odds (King and Zeng 2001); it is taken off so that as many links are expected as were
    seen.
    """

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
        self.node_classes = data.info.node_classes

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        if targets is None or targets.is_floating_point() or not ((targets == 0) | (targets == 1)).all():
            raise ConfigError(f"task: graph_generation needs a 0 or a 1 for every pair; the {split} split has others")

    def decode_pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-odds of a link (P,), and what the nodes cost (N,)."""
        inputs = self.select_model_inputs(batch)
        pairs = inputs.pop("pairs")
        nodes, kl = self._autoencoder.encode(**inputs)
        return self._autoencoder.decode(nodes, pairs).squeeze(1), kl.float()

    def loss(self, batch: Batch, player: str) -> Tensor:
        odds, kl = self.decode_pairs(batch)
        target = batch.require_target().to(odds)
        return F.binary_cross_entropy_with_logits(odds, target) + self.beta * kl.mean() / len(kl)

    def score(self, batch: Batch) -> Score:
        odds, kl = self.decode_pairs(batch)
        target = batch.require_target()
        odds = odds.float()
        return {
            "margin": RowValues(odds),
            "positive": RowValues(target == 1),
            "nll": to_double(F.binary_cross_entropy_with_logits(odds, target.to(odds), reduction="sum")),
            "kl": to_double(kl).mean() * len(batch),
            **self.collect_rows(odds, target),
        }

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        margin, positive = totals["margin"], totals["positive"]
        known = {
            "auc": roc_auc(margin, positive),
            "average_precision": average_precision(margin, positive),
            "nll": float(totals["nll"]) / len(margin),
            "kl": float(totals["kl"]) / len(margin),
        }
        return self.select_scores(known, totals)

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        if not scores.keys() >= {"nll", "kl"}:
            return None
        return scores["nll"] + self.beta * scores["kl"] / len(self.graph_inputs["x"])

    @torch.no_grad()
    def draw(self, seed: int) -> Tensor:
        """A graph over the nodes that were learned from: its links (L, 2), the smaller node first.

        Every pair is looked at, so ten thousand nodes want 2 GB.
        """
        device = self.progress.device
        nodes, _ = self._autoencoder.encode(**{k: v.to(device) for k, v in self.graph_inputs.items()})
        pairs = torch.combinations(torch.arange(len(nodes)))
        parts = pairs.split(PAIR_CHUNK_SIZE)
        odds = torch.cat([self._autoencoder.decode(nodes, part.to(device)).squeeze(1) for part in parts])
        chance = calibrate_link_probs(self.graph_inputs["edge_index"].shape[1] / 2, odds.float().cpu())
        return pairs[torch.rand(len(pairs), generator=rng.make_generator(seed)) < chance]

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        if len(self.graph_inputs["x"]) <= MAX_DRAWN_NODES:
            yield LazyArtifact("graph", lambda: self._plot_graph("graph", self.draw(0)))

    def sample(self, count: PositiveInt = 1, seed: NonNegativeInt = 0) -> Iterator[str | Artifact]:
        """Graphs over the nodes that were learned from: tables of links, and pictures beside the real one if small."""
        for number in range(seed, seed + count):
            links = self.draw(number)
            yield Table(f"sampled-{number}", ("source", "target"), links.tolist())
            if len(self.graph_inputs["x"]) <= MAX_DRAWN_NODES:
                yield self._plot_graph(f"sampled-{number}", links)

    def _plot_graph(self, name: str, links: Tensor) -> GraphPlot:
        edges, nodes = self.graph_inputs["edge_index"].cpu().t(), len(self.graph_inputs["x"])
        seen = edges[edges[:, 0] < edges[:, 1]]
        again = torch.isin(*(ends @ torch.tensor([nodes, 1]) for ends in (links, seen))).double().mean()
        drawn = f"drawn: {format_count(len(links), 'link')}, {float(again):.0%} of them seen"
        captions = (f"seen: {format_count(len(seen), 'link')}", drawn)
        graphs = [
            (f"{caption}\n{describe_density(shown, nodes, self.node_classes)}", shown)
            for caption, shown in zip(captions, (seen, links), strict=True)
        ]
        return GraphPlot(name, nodes, graphs, self.node_classes)


def describe_density(links: Tensor, nodes: int, classes: Tensor | None) -> str:
    """How dense a graph is, and if the classes of its nodes are known, within one and across two."""
    density = f"{nodes} nodes, density {2 * len(links) / (nodes * (nodes - 1)):.4f}"
    if classes is None:
        return density
    within, across = compute_densities(links, classes)
    return f"{density} ({within:.4f} within a class, {across:.4f} across)"


def compute_densities(links: Tensor, classes: Tensor) -> tuple[float, float]:
    """The share of pairs of nodes that are linked, of those within a class and of those across two."""
    size = classes.bincount()
    within, every = float((size * (size - 1)).sum()) / 2, len(classes) * (len(classes) - 1) / 2
    same = int((classes[links[:, 0]] == classes[links[:, 1]]).sum())
    return same / max(within, 1), (len(links) - same) / max(every - within, 1)


def calibrate_link_probs(links: float, odds: Tensor) -> Tensor:
    """The chances (P,) of pairs whose log-odds (P,) are right but for a number that they share, found by bisection."""
    low, high = -100.0, 100.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if float((odds + middle).sigmoid().double().sum()) > links else (middle, high)
    return (odds + low).sigmoid()
