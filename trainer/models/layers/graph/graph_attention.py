"""Graph attention layers: x (N, F), graph -> (N, H C)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.weight_matrices import HasWeightMatrices, MatricesByName
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.graph_conv import make_weight
from trainer.models.layers.graph.sparse import SparseMatrix, SparsePattern, row_softmax, sparse_dropout, sparse_matmul


class _BaseGATConv(HasWeightMatrices):
    """Multi-head attention over the neighbors of a node and the node itself.

    Heads are concatenated or averaged. An edge of weight w counts as w edges: log w is added to its score, so weight 0
    removes the edge. A node without any edge, not even a self-loop, outputs the bias.
    """

    def __init__(
        self, in_features: int, out_features: int, heads: int, concat: bool, dropout: float, negative_slope: float
    ):
        super().__init__()
        self.heads = heads
        self.concat = concat
        self.dropout = dropout
        self.negative_slope = negative_slope
        self.weight = make_weight(in_features, heads * out_features)
        self.bias = nn.Parameter(torch.zeros(heads * out_features if concat else out_features))

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        h = self.project_heads(x, self.weight)
        attention = sparse_dropout(self.compute_attention(x, h, graph), self.dropout, self.training)
        out = sparse_matmul(graph.get_neighbors(self.heads).pattern, attention, h.flatten(0, 1)).view_as(h)
        return (out.flatten(1) if self.concat else out.mean(1)) + self.bias

    def project_heads(self, x: Tensor | SparseMatrix, weight: Tensor) -> Tensor:
        """Project the nodes for each head, (N, H, C)."""
        return (x @ weight).view(-1, self.heads, weight.shape[1] // self.heads)

    def compute_attention(self, x: Tensor | SparseMatrix, h: Tensor, graph: Graph) -> Tensor:
        """Compute the attention coefficient of each pattern entry, (K,).

        Args:
            x: node features.
            h: projected node features (N, H, C).
            graph: edges whose ends attend to each other.
        """
        neighbors = graph.get_neighbors(self.heads)
        score = self.score_edges(x, h, neighbors.pattern)
        return row_softmax(neighbors.pattern, score if neighbors.log_weight is None else score + neighbors.log_weight)

    @abstractmethod
    def score_edges(self, x: Tensor | SparseMatrix, h: Tensor, pattern: SparsePattern) -> Tensor:
        """Compute the unnormalized attention score of each pattern entry, (K,)."""

    def weight_matrices(self) -> MatricesByName:
        """Return projections transposed to (out, in) and the per-head vectors (H, C) as maps from C to H."""
        transposed = ("weight", "target_weight")
        matrices = {name: p.data for name, p in self.named_parameters(recurse=False) if p.dim() == 2}
        return {name: [value.t() if name in transposed else value] for name, value in matrices.items()}


class GATConv(_BaseGATConv):
    """Graph attention layer with scores ``softmax_j LeakyReLU(a_target . h_i + a_source . h_j)``, where ``h = W x``.

    Each head has its own W and a. The attention is static: the term of i shifts all scores of its row, so that all
    nodes rank their neighbors alike.

    Args:
        in_features: number of input features F.
        out_features: number of output features per head C.
        heads: number of heads H.
        concat: concatenate the heads instead of averaging them.
        dropout: dropout probability of the attention coefficients.
        negative_slope: negative slope of the leaky ReLU of the scores.

    Shape:
        x: (N, F)
        output: (N, H C), or (N, C) without concat

    References:
        Velickovic et al. 2018, Graph Attention Networks
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        heads: int = 1,
        concat: bool = True,
        dropout: float = 0.0,
        negative_slope: float = 0.2,
    ):
        super().__init__(in_features, out_features, heads, concat, dropout, negative_slope)
        self.att_src = make_weight(heads, out_features)
        self.att_dst = make_weight(heads, out_features)

    def score_edges(self, x: Tensor | SparseMatrix, h: Tensor, pattern: SparsePattern) -> Tensor:
        source_score = (h * self.att_src).sum(-1).flatten().index_select(0, pattern.cols)
        target_score = (h * self.att_dst).sum(-1).flatten().index_select(0, pattern.rows)
        return F.leaky_relu(source_score + target_score, self.negative_slope)


class GATv2Conv(_BaseGATConv):
    """Graph attention layer with dynamic attention ``softmax_j a . LeakyReLU(W_target x_i + W x_j)``.

    The ranking of neighbors depends on the target node. Memory is C numbers per edge and head, where ``GATConv`` needs
    one.

    Args:
        in_features: number of input features F.
        out_features: number of output features per head C.
        heads: number of heads H.
        concat: concatenate the heads instead of averaging them.
        dropout: dropout probability of the attention coefficients.
        negative_slope: negative slope of the leaky ReLU of the scores.

    Shape:
        x: (N, F)
        output: (N, H C), or (N, C) without concat

    References:
        Brody et al. 2022, How Attentive are Graph Attention Networks?, eq. 7
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        heads: int = 1,
        concat: bool = True,
        dropout: float = 0.0,
        negative_slope: float = 0.2,
    ):
        super().__init__(in_features, out_features, heads, concat, dropout, negative_slope)
        self.target_weight = make_weight(in_features, heads * out_features)
        self.att = make_weight(heads, out_features)

    def score_edges(self, x: Tensor | SparseMatrix, h: Tensor, pattern: SparsePattern) -> Tensor:
        source_score = h.flatten(0, 1).index_select(0, pattern.cols)
        target_score = self.project_heads(x, self.target_weight).flatten(0, 1).index_select(0, pattern.rows)
        hidden = F.leaky_relu(source_score + target_score, self.negative_slope)
        return (hidden * self.att.index_select(0, pattern.rows % self.heads)).sum(-1)


ATTENTION_CONVS: dict[Literal["v1", "v2"], type[_BaseGATConv]] = {"v1": GATConv, "v2": GATv2Conv}
"""Graph attention layers by version."""
