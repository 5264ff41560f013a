"""What tasks call on their models besides ``forward``; each names the methods in its ``required_model_methods``."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class LatentVariableModel(Protocol):
    """A posterior over codes (B, latent), and a decoder that gives ``levels`` numbers for each of x's."""

    latent: int
    levels: int

    def encode(self, x: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]: ...

    def decode(self, z: Tensor, label: Tensor | None) -> Tensor: ...


class CodebookModel(Protocol):
    """An autoencoder by vectors of a codebook of ``codes``, and a prior over their numbers."""

    codes: int

    def encode(self, x: Tensor) -> Tensor: ...

    def quantize(self, z: Tensor, follow: bool = True) -> tuple[Tensor, Tensor]: ...

    def decode(self, vectors: Tensor) -> Tensor: ...

    def code_scores(self, codes: Tensor, label: Tensor | None) -> Tensor: ...

    def generate(self, count: int, label: Tensor | None) -> Tensor: ...


class AdversarialModel(Protocol):
    """A generator of rows from noise (B, latent), and the last hidden layer of a critic."""

    latent: int

    def generate(self, noise: Tensor, label: Tensor | None) -> Tensor: ...

    def features(self, x: Tensor) -> Tensor: ...


class NormalizingFlow(Protocol):
    """An invertible map of noise; a model that takes no label is given none."""

    def generate(self, z: Tensor, label: Tensor | None = None) -> Tensor: ...


class GraphAutoencoder(Protocol):
    """Nodes as vectors, with what each costs, and the log-odds of a link between each of pairs (P, 2)."""

    def encode(self, **inputs: Tensor) -> tuple[Tensor, Tensor]: ...

    def decode(self, nodes: Tensor, pairs: Tensor) -> Tensor: ...
