"""Protocols of the models that tasks call by methods besides ``forward``.

A task lists these methods in its ``required_model_methods``.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class LatentVariableModel(Protocol):
    """Protocol of models with a posterior over z (B, latent) and a decoder with ``levels`` outputs per value of x."""

    latent: int
    levels: int

    def encode(self, x: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]: ...

    def decode(self, z: Tensor, label: Tensor | None) -> Tensor: ...


class CodebookModel(Protocol):
    """Protocol of autoencoders with a codebook of ``codes`` vectors and a prior over code indices."""

    codes: int

    def encode(self, x: Tensor) -> Tensor: ...

    def quantize(self, z: Tensor, follow: bool = True) -> tuple[Tensor, Tensor]: ...

    def decode(self, vectors: Tensor) -> Tensor: ...

    def code_scores(self, codes: Tensor, label: Tensor | None) -> Tensor: ...

    def generate(self, count: int, label: Tensor | None) -> Tensor: ...


class AdversarialModel(Protocol):
    """Protocol of models with a generator from noise (B, latent) and the last hidden layer of a critic."""

    latent: int

    def generate(self, noise: Tensor, label: Tensor | None) -> Tensor: ...

    def features(self, x: Tensor) -> Tensor: ...


class NormalizingFlow(Protocol):
    """Protocol of invertible maps of noise; the label is omitted for a model that takes none."""

    def generate(self, z: Tensor, label: Tensor | None = None) -> Tensor: ...


class GraphAutoencoder(Protocol):
    """Protocol of models with node embeddings, their KL terms, and link logits of pairs (P, 2)."""

    def encode(self, **inputs: Tensor) -> tuple[Tensor, Tensor]: ...

    def decode(self, nodes: Tensor, pairs: Tensor) -> Tensor: ...
