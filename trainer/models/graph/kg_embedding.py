"""Knowledge graph embeddings for link prediction."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import PositiveFloat, PositiveInt, Probability
from trainer.models.layers.graph.message_passing import MessagePassingStack
from trainer.models.layers.graph.relational_graph_conv import RelationalGraph, RGCNConv


class BilinearDecoder(nn.Module):
    """Bilinear score ``(e_head * w_relation) . e_tail + b_tail`` of candidate tails, or of all entities.

    The query is one vector, and all tails are scored by one matrix product.

    Args:
        num_entities: number of entities N.
        num_relations: number of relations, including inverse ones.
        embed_size: dimension D of the embeddings.
        score: ``distmult`` multiplies elementwise and is symmetric; ``complex`` treats the halves of a vector as real
            and imaginary parts and conjugates the tail, so that relations can be asymmetric.
        init: standard deviation of the initial relation embeddings.
        dropout: dropout probability of the query.

    Raises:
        ValueError: an odd ``embed_size`` with ``complex``.

    References:
        Yang et al. 2015, Embedding Entities and Relations for Learning and Inference in Knowledge Bases.
        Trouillon et al. 2016, Complex Embeddings for Simple Link Prediction.
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


def make_embedding(count: int, size: int, std: float) -> nn.Embedding:
    """Create an embedding with weights from N(0, std^2).

    Args:
        count: number of embeddings.
        size: dimension of an embedding.
        std: standard deviation of the initial weights.
    """
    embedding = nn.Embedding(count, size)
    nn.init.normal_(embedding.weight, std=std)
    return embedding


class DistMult(nn.Module):
    """DistMult, or ComplEx with ``score: complex``; see ``BilinearDecoder``.

    Args:
        num_entities: number of entities N.
        num_relations: number of relations, including inverse ones.
        embed_size: entity and relation embedding size.
        score: ``distmult`` or ``complex`` (halves are real and imaginary parts).
        init_std: standard deviation of the initial embeddings.
        dropout: dropout probability of the head-relation product.

    References:
        Yang et al. 2015, Embedding Entities and Relations for Learning and Inference in Knowledge Bases.
        Trouillon et al. 2016, Complex Embeddings for Simple Link Prediction.
    """

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
    """R-GCN encoder over the training triples with a ``BilinearDecoder``.

    Learned entity embeddings pass through relational convolutions with ReLU between them. The triples of the graph are
    also training targets, so ``edge_dropout`` removes some of them in training.

    Args:
        num_entities: number of entities N.
        num_relations: number of relations, including inverse ones.
        embed_size: entity and relation embedding size.
        layers: number of message passing layers.
        bases: basis matrices shared by all relations; None: a full matrix per relation.
        score: ``distmult`` or ``complex`` (halves are real and imaginary parts).
        init_std: standard deviation of the initial embeddings.
        dropout: dropout probability before every layer and of the head-relation product.
        edge_dropout: probability of dropping a triple from the message passing graph during training.

    References:
        Schlichtkrull et al. 2018, Modeling Relational Data with Graph Convolutional Networks, section 4
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
        graph = self.body.cache(RelationalGraph, x.shape[0], edge_index, edge_type, self.num_relations, None, x.dtype)
        return self.decoder(self.body.forward_graph(x, graph), head, relation, candidates)
