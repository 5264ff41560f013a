"""Spatiotemporal graph network for node signals over time, such as brain regions."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import NonNegativeFloat, PositiveInt, Probability
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.graph_attention import GATConv
from trainer.models.layers.graph.graph_conv import GCNConv
from trainer.models.layers.graph.repeated_graph import RepeatedGraph
from trainer.models.layers.graph.tensor_cache import TensorCache
from trainer.models.layers.padding import make_valid_mask
from trainer.models.layers.sequence.recurrent import RecurrentStack
from trainer.models.layers.sequence.sequence_pool import SequencePool


class SpatiotemporalGNN(nn.Module):
    """Spatiotemporal GNN: graph convolution, graph attention, node pooling and an LSTM.

    ``h_t = pool_n relu(GAT(relu(GCN(x_t))))``, ``y = W dropout(relu(V LSTM(h_1 .. h_T)))``. All samples and steps share
    the edges; edge weights apply in both graph layers and default to 1. Padded steps are not computed.

    Args:
        in_features: number of input features F.
        out_features: number of outputs C.
        conv_size: output size of the graph convolution.
        attention_size: output size of each graph attention head.
        heads: number of graph attention heads, concatenated.
        attention_dropout: dropout probability of the attention weights.
        negative_slope: negative slope of the LeakyReLU in the attention.
        pool: graph pooling: mean, max or attention.
        hidden_size: hidden state size.
        num_layers: number of recurrent layers.
        head_size: hidden layer size of the head.
        dropout: dropout probability between LSTM layers and before the head.

    Raises:
        ValueError: negative edge weights, such as signed correlations.

    References:
        Hochreiter and Schmidhuber 1997, Long Short-Term Memory.
        Kipf and Welling 2017, Semi-Supervised Classification with Graph Convolutional Networks.
        Velickovic et al. 2018, Graph Attention Networks.
    """

    shapes = "x (B, T, N, F), edge_index (2, E), edge_weight (E), lengths (B) -> (B, C)"

    def __init__(
        self,
        in_features: PositiveInt,
        out_features: PositiveInt,
        conv_size: PositiveInt = 16,
        attention_size: PositiveInt = 16,
        heads: PositiveInt = 1,
        attention_dropout: Probability = 0.0,
        negative_slope: NonNegativeFloat = 0.2,
        pool: Literal["mean", "max", "attention"] = "mean",
        hidden_size: PositiveInt = 32,
        num_layers: PositiveInt = 2,
        head_size: PositiveInt = 32,
        dropout: Probability = 0.5,
    ):
        super().__init__()
        self.cache = TensorCache()
        self.conv = GCNConv(in_features, conv_size)
        self.attention = GATConv(conv_size, attention_size, heads, True, attention_dropout, negative_slope)
        self.pool = SequencePool(pool, attention_size * heads, None)
        self.rnn = RecurrentStack(
            "lstm", attention_size * heads, hidden_size, num_layers, False, dropout, "default", None
        )
        self.head = nn.Sequential(
            nn.Linear(hidden_size, head_size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(head_size, out_features)
        )

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        graph = self.cache(Graph, x.shape[2], edge_index, edge_weight, None, x.dtype)
        valid = make_valid_mask(x, lengths)
        if valid is None:
            valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if torch.compiler.is_exporting():  # encode padded steps too, because their number depends on the data
            steps = self.encode_steps(x.flatten(0, 1), graph).unflatten(0, x.shape[:2])
            return self.head(self.rnn(steps, lengths)[1])
        pooled = self.encode_steps(x[valid], graph)
        steps = pooled.new_zeros(*valid.shape, pooled.shape[1]).masked_scatter(valid[..., None], pooled)
        _, ends = self.rnn(steps, lengths)
        return self.head(ends)

    def encode_steps(self, x: Tensor, graph: Graph) -> Tensor:
        """Encode R graph signals (R, N, F) independently to vectors (R, D).

        Args:
            x: graph signals (R, N, F).
            graph: graph of the N nodes.
        """
        repeated = RepeatedGraph(graph, x.shape[0])
        h = F.relu(self.conv(x.flatten(0, 1), repeated))
        h = F.relu(self.attention(h, repeated)).view(*x.shape[:2], -1)
        return self.pool(h, h[:, 0], None)
