"""Bag-of-words document classifiers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.mlp import make_mlp
from trainer.models.layers.padding import find_valid_steps


class BagOfWords(nn.Module):
    """Bag-of-words classifier ``f(1/S sum_s E(x_s))``: fastText, or a deep averaging network with hidden layers.

    Args:
        vocab_size: number of tokens V.
        out_features: number of outputs C.
        embed_size: token embedding size.
        hidden: hidden layer sizes of f.
        word_dropout: probability of dropping a token in training.
        dropout: dropout probability of the mean embedding.

    References:
        Iyyer et al. 2015, Deep Unordered Composition Rivals Syntactic Methods for Text Classification.
        Joulin et al. 2016, Bag of Tricks for Efficient Text Classification.
    """

    shapes = "x (B, S), lengths (B) -> (B, C)"

    def __init__(
        self,
        vocab_size: PositiveInt,
        out_features: PositiveInt,
        embed_size: PositiveInt = 64,
        hidden: Sequence[PositiveInt] = (),
        word_dropout: Probability = 0.0,
        dropout: Probability = 0.5,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.word_dropout = word_dropout
        self.dropout = nn.Dropout(dropout)
        self.head = make_mlp((embed_size, *hidden, out_features), nn.ReLU)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        valid = find_valid_steps(x, lengths)
        if self.training and self.word_dropout:
            valid = valid & (torch.rand(x.shape, device=x.device) >= self.word_dropout)
        weights = valid / valid.sum(1, keepdim=True).clamp(min=1)
        mean = (weights[:, None] @ self.embedding(x)).squeeze(1)
        return self.head(self.dropout(mean))
