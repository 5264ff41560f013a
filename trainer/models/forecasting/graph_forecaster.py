"""Graph convolutional LSTM for related time series."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.message_passing import CONV_LAYERS
from trainer.models.layers.graph.repeated_graph import RepeatedGraph
from trainer.models.layers.graph.tensor_cache import TensorCache
from trainer.models.layers.sequence.instance_norm import compute_loc_and_scale
from trainer.models.layers.sequence.recurrent import RecurrentStack
from trainer.utils.choices import get_choice


class GCNLSTM(nn.Module):
    """Graph convolutions at every step and an LSTM over time, shared by all F nodes.

    ``h_t = LSTM([x_t, relu(conv(.. relu(conv(x_t))))])`` per node and ``y = W h_T + b`` for the full horizon. The raw
    value is concatenated, since convolutions mix it with that of the neighbors.

    Args:
        horizon: number of predicted steps P.
        conv: graph convolution, see ``GNN``.
        conv_sizes: output sizes of the convolutions.
        hidden_size: hidden state size.
        num_layers: number of recurrent layers.
        dropout: dropout probability after the convolutions, between LSTM layers and before the head.
        normalize: removes the level of each window and node and adds it back to the forecast.

    References:
        Seo et al. 2018, Structured Sequence Modeling with Graph Convolutional Recurrent Networks, model 1
    """

    shapes = "x (B, T, F), edge_index (2, E), edge_weight (E) -> (B, P, F)"

    def __init__(
        self,
        horizon: PositiveInt,
        conv: Literal["sum", "mean", "gcn", "sage", "gin"] = "gcn",
        conv_sizes: Sequence[PositiveInt] = (16,),
        hidden_size: PositiveInt = 32,
        num_layers: PositiveInt = 1,
        dropout: Probability = 0.2,
        normalize: Literal["none", "last", "standard"] = "none",
    ):
        super().__init__()
        self.cache = TensorCache()
        make_conv = get_choice("conv", conv, CONV_LAYERS)
        self.convs = nn.ModuleList(make_conv(*width) for width in pairwise((1, *conv_sizes)))
        features = 1 + (conv_sizes[-1] if conv_sizes else 0)
        self.rnn = RecurrentStack("lstm", features, hidden_size, num_layers, False, dropout, "default", None)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, horizon)
        self.normalize = normalize

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        rows, _, nodes = x.shape
        graph = self.cache(Graph, nodes, edge_index, edge_weight, None, x.dtype)
        loc, scale = compute_loc_and_scale(x, self.normalize)
        x = (x - loc) / scale
        features = self.dropout(self.convolve_steps(x, graph)).transpose(1, 2)  # (B, N, T, 1 + D)
        _, ends = self.rnn(torch.cat((x.transpose(1, 2)[..., None], features), -1).flatten(0, 1), None)
        y = self.head(self.dropout(ends)).view(rows, nodes, -1).transpose(1, 2)
        return y * scale + loc

    def convolve_steps(self, x: Tensor, graph: Graph) -> Tensor:
        """Apply the convolutions to every step of every sample: (B, T, N) -> (B, T, N, D).

        Args:
            x: windows (B, T, N).
            graph: graph of the N nodes.
        """
        repeated = RepeatedGraph(graph, x.shape[0] * x.shape[1])
        h = x.reshape(-1, 1)
        for convolution in self.convs:
            h = F.relu(convolution(h, repeated))
        return h.view(*x.shape, -1) if len(self.convs) else x.new_empty(*x.shape, 0)
