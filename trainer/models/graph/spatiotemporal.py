"""What a whole brain does, or anything else whose parts are linked and measured again and again."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import NonNegativeFloat, PositiveInt, Probability
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.graph_conv import GATConv, GCNConv
from trainer.models.layers.graph.repeated_graph import RepeatedGraph
from trainer.models.layers.graph.tensor_cache import TensorCache
from trainer.models.layers.padding import make_valid_mask
from trainer.models.layers.sequence.recurrent import RecurrentStack
from trainer.models.layers.sequence.sequence_pool import SequencePool


class SpatiotemporalGNN(nn.Module):
    """Graph convolution (Kipf and Welling 2017), graph attention (Velickovic et al. 2018), one vector of all nodes, and
    an LSTM (Hochreiter and Schmidhuber 1997): ``h_t = pool_n relu(GAT(relu(GCN(x_t))))``,
    ``y = W dropout(relu(V LSTM(h_1 .. h_T)))``. Edges are the same at every step of every row; their weights, 1 where
    none are given, weigh neighbours in both layers. Steps behind a row's length are not even computed.

    Raises ValueError for a negative weight: a signed correlation is no graph.
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
        self.convolution = GCNConv(in_features, conv_size)
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
        real = make_valid_mask(x, lengths)
        if real is None:
            real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        pooled = self.encode_steps(x[real], graph)
        steps = pooled.new_zeros(*real.shape, pooled.shape[1]).masked_scatter(real[..., None], pooled)
        _, ends = self.rnn(steps, lengths)
        return self.head(ends)

    def encode_steps(self, x: Tensor, graph: Graph) -> Tensor:
        """Each of R moments (R, N, F) by itself, as a vector of all its nodes (R, D)."""
        every = RepeatedGraph(graph, len(x))
        h = F.relu(self.convolution(x.flatten(0, 1), every))
        h = F.relu(self.attention(h, every)).view(*x.shape[:2], -1)
        return self.pool(h, h[:, 0], None)
