"""Graphs as neural networks see them: edges checked and given self-loops, and the layers that send along them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.errors import ConfigError
from trainer.models.layers.sparse import Pattern, Sparse, dropout, product, row_softmax


def with_loops(edge_index: Tensor, edge_weight: Tensor | None, nodes: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Targets, sources and weights of the edges, with one loop on every node: those given keep their weight.

    ``edge_index`` (2, E) holds sources, then targets. Raises ConfigError for an edge that no graph of ``nodes`` nodes
    can have, and for a weight that is negative or not a number.
    """
    if edge_index.ndim != 2 or len(edge_index) != 2 or edge_index.dtype != torch.long:
        kind = str(edge_index.dtype).removeprefix("torch.")
        raise ConfigError(f"edge_index: expected whole numbers (2, E), found {kind} {tuple(edge_index.shape)}")
    outside = ((edge_index < 0) | (edge_index >= nodes)).any(0)
    if outside.any():
        at = int(outside.nonzero()[0])
        source, target = edge_index[:, at].tolist()
        raise ConfigError(f"edge_index: edge {at} is {source} -> {target}, but nodes are 0..{nodes - 1}")
    source, target = edge_index
    loop, every = source == target, torch.arange(nodes, device=edge_index.device)
    targets, sources = torch.cat((target[~loop], every)), torch.cat((source[~loop], every))
    if edge_weight is None:
        return targets, sources, None
    if edge_weight.shape != source.shape:
        raise ConfigError(f"edge_weight: {tuple(edge_weight.shape)} weights for {len(source)} edges")
    wrong = ~(edge_weight >= 0)
    if wrong.any():
        at = int(wrong.nonzero()[0])
        raise ConfigError(f"edge_weight: weights must be >= 0; edge {at} has {float(edge_weight[at]):g}")
    own = edge_weight.new_ones(nodes).index_put((source[loop],), edge_weight[loop])
    return targets, sources, torch.cat((edge_weight[~loop], own))


def normalised_adjacency(edge_index: Tensor, edge_weight: Tensor | None, nodes: int, dtype: torch.dtype) -> Sparse:
    """``D^-1/2 (A + I) D^-1/2`` (N, N), with D the sums of incoming weights (Kipf and Welling 2017, eq. 2).

    A node that nothing reaches, not even itself, has a row of zeros.
    """
    rows, cols, weight = with_loops(edge_index, edge_weight, nodes)
    weight = torch.ones(len(rows), dtype=dtype, device=rows.device) if weight is None else weight.to(dtype)
    degree = weight.new_zeros(nodes).index_add(0, rows, weight)
    scale = torch.where(degree > 0, degree, torch.inf).rsqrt()
    pattern, order = Pattern.of(rows, cols, (nodes, nodes))
    return Sparse(pattern, (scale[rows] * weight * scale[cols])[order])


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Whom each head of each node may attend to.

    Attention with H heads on a graph is attention with one head on H copies of it: row i * H + h is node i in copy h.
    ``pattern`` is (N H, N H) with an entry per edge, loop and head; ``log_weight`` is None where every edge counts 1.
    """

    pattern: Pattern
    log_weight: Tensor | None

    @classmethod
    def of(cls, edge_index: Tensor, edge_weight: Tensor | None, nodes: int, heads: int) -> Neighbours:
        """As ``with_loops`` has them."""
        targets, sources, weight = with_loops(edge_index, edge_weight, nodes)
        copy = torch.arange(heads, device=targets.device)
        rows, cols = ((index[:, None] * heads + copy).flatten() for index in (targets, sources))
        pattern, order = Pattern.of(rows, cols, (nodes * heads, nodes * heads))
        return cls(pattern, None if weight is None else weight.log().repeat_interleave(heads)[order])


class GraphConvolution(nn.Module):
    """x (N, F), adjacency (N, N) -> (N, C)

    Kipf and Welling 2017: ``A (X W) + b``; the bias does not pass through the adjacency.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(in_features, out_features)))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor | Sparse, adjacency: Sparse) -> Tensor:
        return adjacency @ (x @ self.weight) + self.bias


class GraphAttention(nn.Module):
    """x (N, F), neighbours -> (N, H C), or (N, C) without concat

    Velickovic et al. 2018: with ``h = W x``, node i weighs its neighbours j, itself among them, by
    ``softmax_j LeakyReLU(a_target . h_i + a_source . h_j)`` and sums their ``h_j``. Every head has a W and an a of its
    own; their sums are laid side by side, or averaged. An edge of weight w counts as w edges: its log is added to the
    score, so weight 0 is no edge.
    """

    def __init__(
        self, in_features: int, out_features: int, heads: int, concat: bool, dropout: float, negative_slope: float
    ):
        super().__init__()
        self.heads = heads
        self.concat = concat
        self.dropout = dropout
        self.negative_slope = negative_slope
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(in_features, heads * out_features)))
        self.source = nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, out_features)))
        self.target = nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, out_features)))
        self.bias = nn.Parameter(torch.zeros(heads * out_features if concat else out_features))

    def forward(self, x: Tensor | Sparse, neighbours: Neighbours) -> Tensor:
        h = self.project(x)
        share = dropout(self.attention(h, neighbours), self.dropout, self.training)
        out = product(neighbours.pattern, share, h.flatten(0, 1)).view_as(h)
        return (out.flatten(1) if self.concat else out.mean(1)) + self.bias

    def project(self, x: Tensor | Sparse) -> Tensor:
        """Every node as every head sees it, (N, H, C)."""
        return (x @ self.weight).view(-1, *self.source.shape)

    def attention(self, h: Tensor, neighbours: Neighbours) -> Tensor:
        """The share of each entry of the pattern, (K,), given projected nodes; those of a row add up to 1."""
        pattern = neighbours.pattern
        of_source = (h * self.source).sum(-1).flatten().index_select(0, pattern.cols)
        of_target = (h * self.target).sum(-1).flatten().index_select(0, pattern.rows)
        score = F.leaky_relu(of_source + of_target, self.negative_slope)
        return row_softmax(pattern, score if neighbours.log_weight is None else score + neighbours.log_weight)
