"""Graph convolutions: x (N, F), graph -> (N, C).

Each layer multiplies by its weights before it aggregates, so that sparse features cost only their non-zeros and
messages are as narrow as the output.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.weight_matrices import HasWeightMatrices, MatricesByName
from trainer.models.layers.graph.graph import AdjacencyNorm, Graph
from trainer.models.layers.graph.sparse import SparseMatrix


def make_weight(rows: int, cols: int) -> nn.Parameter:
    """Create a Xavier-initialized weight matrix.

    Args:
        rows: number of rows.
        cols: number of columns.
    """
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, cols)))


class _TransposedWeights(HasWeightMatrices):
    """Layer with (in, out) weight matrices that multiply from the right, the transpose of torch's layout."""

    def weight_matrices(self) -> MatricesByName:
        parameters = {name: value.data for name, value in self.named_parameters(recurse=False)}
        return {name: [value.t()] for name, value in parameters.items() if value.dim() == 2}


class NodeLinear(nn.Linear):
    """Linear layer on each node that ignores the edges, a baseline for graph convolutions.

    Shape:
        x: (N, F)
        output: (N, C)
    """

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:  # type: ignore[override]
        return x @ self.weight.t() + self.bias


class GCNConv(_TransposedWeights):
    """Graph convolution ``A (X W) + b`` over the adjacency matrix A with self-loops.

    Args:
        in_features: number of input features F.
        out_features: number of output features C.
        norm: ``symmetric`` is the GCN of Kipf and Welling, ``sum`` sums over the neighbors, ``mean`` averages them. The
            bias is added after aggregation.

    Shape:
        x: (N, F)
        output: (N, C)

    References:
        Kipf and Welling 2017, Semi-Supervised Classification with Graph Convolutional Networks
    """

    def __init__(self, in_features: int, out_features: int, norm: AdjacencyNorm = "symmetric"):
        super().__init__()
        self.norm = norm
        self.weight = make_weight(in_features, out_features)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        return graph.get_adjacency(self.norm, loops=True) @ (x @ self.weight) + self.bias


class SAGEConv(_TransposedWeights):
    """GraphSAGE convolution with mean aggregator, ``x_i W + mean_j x_j W_near + b`` over the neighbors j of i.

    The mean of a node without neighbors is zero.

    Args:
        in_features: number of input features F.
        out_features: number of output features C.

    Shape:
        x: (N, F)
        output: (N, C)

    References:
        Hamilton et al. 2017, Inductive Representation Learning on Large Graphs
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = make_weight(in_features, out_features)
        self.neighbor_weight = make_weight(in_features, out_features)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        return x @ self.weight + graph.get_adjacency("mean", loops=False) @ (x @ self.neighbor_weight) + self.bias


class GINConv(_TransposedWeights):
    """Graph isomorphism layer ``MLP((1 + eps) x_i + sum_j x_j)`` over the neighbors j of i.

    ``eps`` is learned from 0; the MLP has one hidden layer with batch norm over the nodes. Its first matrix is applied
    before the sum, which is equivalent.

    Args:
        in_features: number of input features F.
        out_features: number of output features C.

    Shape:
        x: (N, F)
        output: (N, C)

    References:
        Xu et al. 2019, How Powerful are Graph Neural Networks?, eq. 4.1
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = make_weight(in_features, out_features)
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.eps = nn.Parameter(torch.zeros(()))
        self.norm = nn.BatchNorm1d(out_features)
        self.out = nn.Linear(out_features, out_features)

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        h = x @ self.weight
        h = (1 + self.eps) * h + graph.get_adjacency("sum", loops=False) @ h + self.bias
        return self.out(F.relu(self.norm(h)))


class EdgeMessageConv(_TransposedWeights):
    """Message passing with edge features, ``x_i + mean_j ReLU(W [x_i, x_j, e_ji] + b)`` over the edges j -> i.

    The residual ``x_i``, projected if the widths differ, preserves the features of nodes without incoming edges.

    Args:
        in_features: number of input features F.
        out_features: number of output features C.
        edge_features: number of features per edge D.

    Shape:
        x: (N, F)
        graph.edge_attr: (E, D)
        output: (N, C)

    References:
        Gilmer et al. 2017, Neural Message Passing for Quantum Chemistry, eq. 1
    """

    def __init__(self, in_features: int, out_features: int, edge_features: int):
        super().__init__()
        self.in_features = in_features
        self.message = nn.Linear(2 * in_features + edge_features, out_features)
        self.weight = None if in_features == out_features else make_weight(in_features, out_features)

    def forward(self, x: Tensor | SparseMatrix, graph: Graph) -> Tensor:
        assert graph.edge_attr is not None, "messages over edges need edge_attr"
        source, target = graph.edge_index
        width = self.in_features
        target_weight, source_weight, edge_weight = self.message.weight.split(
            (width, width, graph.edge_attr.shape[1]), 1
        )
        # Per node, since there are fewer nodes than edges.
        at_target, at_source = x @ target_weight.t(), x @ source_weight.t()
        edge = F.linear(graph.edge_attr.to(at_target.dtype), edge_weight, self.message.bias)
        message = F.relu(at_target.index_select(0, target) + at_source.index_select(0, source) + edge)
        total = message.new_zeros(graph.num_nodes, message.shape[1]).index_add(0, target, message)
        count = target.new_zeros(graph.num_nodes).index_add(0, target, torch.ones_like(target)).clamp(min=1)
        return self._project_self(x) + total / count[:, None]

    def _project_self(self, x: Tensor | SparseMatrix) -> Tensor:
        if self.weight is not None:
            return x @ self.weight
        return x if isinstance(x, Tensor) else x @ torch.eye(self.in_features).to(x.values)
