"""Forecasts of series that are linked."""

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


class GCNLSTM(nn.Module):
    """Seo et al. 2018, their first model: graph convolutions at every step, and an LSTM over time, both shared by all F
    nodes. ``h_t = LSTM([x_t, relu(conv(.. relu(conv(x_t))))])`` at each node and ``y = W h_T + b``, the whole horizon.
    Its own value reaches the LSTM also beside the convolutions, which mix it with that of its neighbours.
    ``normalize`` takes the level out of every window and node and puts it back into the forecast.
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
        self.convolutions = nn.ModuleList(CONV_LAYERS[conv](*width) for width in pairwise((1, *conv_sizes)))
        features = 1 + (conv_sizes[-1] if conv_sizes else 0)
        self.rnn = RecurrentStack("lstm", features, hidden_size, num_layers, False, dropout, "default", None)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, horizon)
        self.normalize = normalize

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        rows, _, nodes = x.shape
        graph = self.cache(Graph, nodes, edge_index, edge_weight, None, x.dtype)
        level, spread = compute_loc_and_scale(x, self.normalize)
        x = (x - level) / spread
        read = self.dropout(self.convolve_steps(x, graph)).transpose(1, 2)  # (B, N, T, 1 + D)
        _, ends = self.rnn(torch.cat((x.transpose(1, 2)[..., None], read), -1).flatten(0, 1), None)
        y = self.head(self.dropout(ends)).view(rows, nodes, -1).transpose(1, 2)
        return y * spread + level

    def convolve_steps(self, x: Tensor, graph: Graph) -> Tensor:
        """What the convolutions make of each step of each row: (B, T, N) -> (B, T, N, D)."""
        every = RepeatedGraph(graph, x.shape[0] * x.shape[1])
        h = x.reshape(-1, 1)
        for convolution in self.convolutions:
            h = F.relu(convolution(h, every))
        return h.view(*x.shape, -1) if len(self.convolutions) else x.new_empty(*x.shape, 0)
