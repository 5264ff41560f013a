"""Which entity ends a fact: embeddings whose product with a relation's says how true it is."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import PositiveFloat, PositiveInt, Probability
from trainer.models.layers.graph.message_passing import MessagePassingStack
from trainer.models.layers.graph.relational_graph_conv import RelationalGraph, RGCNConv


class BilinearDecoder(nn.Module):
    """The score of every candidate, or else of every entity, as the tail: ``(e_head * w_relation) . e_tail + b_tail``.
    The query is one vector, and all tails are one product. ``distmult`` multiplies number by number, the same from
    both ends (Yang et al. 2015); ``complex`` takes the halves of a vector for real and imaginary parts and the tail's
    conjugate, so that a relation may have a direction (Trouillon et al. 2016). Queries are dropped out.

    Raises ValueError for an odd ``embed_size`` of complex numbers.
    """

    shapes = "entities (N, D), head (B), relation (B), candidates (C) -> (B, C)"

    def __init__(
        self,
        num_entities: int,
        num_relations: int,
        embed_size: int,
        score: Literal["distmult", "complex"],
        init: float,
        dropout: float,
    ):
        super().__init__()
        if score == "complex" and embed_size % 2:
            raise ValueError(f"embed_size: complex numbers have two parts, so it must be even; not {embed_size}")
        self.score = score
        self.relations = make_embedding(num_relations, embed_size, init)
        self.bias = nn.Parameter(torch.zeros(num_entities))
        self.dropout = nn.Dropout(dropout)

    def forward(self, entities: Tensor, head: Tensor, relation: Tensor, candidates: Tensor | None) -> Tensor:
        query = self.dropout(self.compute_query(F.embedding(head, entities), self.relations(relation)))
        if candidates is None:
            return torch.addmm(self.bias, query, entities.t())
        return torch.addmm(self.bias[candidates], query, F.embedding(candidates, entities).t())

    def compute_query(self, head: Tensor, relation: Tensor) -> Tensor:
        if self.score == "distmult":
            return head * relation
        (a, b), (c, d) = head.chunk(2, 1), relation.chunk(2, 1)
        return torch.cat((a * c - b * d, a * d + b * c), 1)


def make_embedding(count: int, size: int, spread: float) -> nn.Embedding:
    made = nn.Embedding(count, size)
    nn.init.normal_(made.weight, std=spread)
    return made


class DistMult(nn.Module):
    """Yang et al. 2015, or with ``score: complex`` ComplEx, Trouillon et al. 2016 (``BilinearDecoder``)."""

    shapes = "head (B), relation (B), candidates (C) -> (B, C)"

    def __init__(
        self,
        num_entities: PositiveInt,
        num_relations: PositiveInt,
        embed_size: PositiveInt = 128,
        score: Literal["distmult", "complex"] = "distmult",
        init_std: PositiveFloat = 0.01,
        dropout: Probability = 0.5,
    ):
        super().__init__()
        self.entities = make_embedding(num_entities, embed_size, init_std)
        self.decoder = BilinearDecoder(num_entities, num_relations, embed_size, score, init_std, dropout)

    def forward(self, head: Tensor, relation: Tensor, candidates: Tensor | None = None) -> Tensor:
        return self.decoder(self.entities.weight, head, relation, candidates)


class RGCNDistMult(nn.Module):
    """Schlichtkrull et al. 2018, section 4: what an entity is comes from an embedding of its own and, through
    relational convolutions with relu between them, from the facts beside the rows; ``BilinearDecoder`` then says which
    it ends. Those facts are also asked for, so while training some of them are left out (``edge_dropout``).
    """

    shapes = "head (B), relation (B), edge_index (2, E), edge_type (E), candidates (C) -> (B, C)"

    def __init__(
        self,
        num_entities: PositiveInt,
        num_relations: PositiveInt,
        embed_size: PositiveInt = 64,
        layers: PositiveInt = 1,
        bases: PositiveInt | None = 8,
        score: Literal["distmult", "complex"] = "distmult",
        init_std: PositiveFloat = 0.1,
        dropout: Probability = 0.2,
        edge_dropout: Probability = 0.5,
    ):
        super().__init__()
        self.num_relations = num_relations
        self.entities = make_embedding(num_entities, embed_size, init_std)
        convolutions = [RGCNConv(embed_size, embed_size, num_relations, bases, edge_dropout) for _ in range(layers)]
        self.body = MessagePassingStack(convolutions, dropout)
        self.decoder = BilinearDecoder(num_entities, num_relations, embed_size, score, init_std, dropout)

    def forward(
        self, head: Tensor, relation: Tensor, edge_index: Tensor, edge_type: Tensor, candidates: Tensor | None = None
    ) -> Tensor:
        x = self.entities.weight
        graph = self.body.cache(RelationalGraph, len(x), edge_index, edge_type, self.num_relations, None, x.dtype)
        return self.decoder(self.body.forward_graph(x, graph), head, relation, candidates)
