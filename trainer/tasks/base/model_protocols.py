"""Protocols of models with methods besides ``forward``.

A task lists the methods that it calls in ``required_model_methods``. Labels (B,) are None for an unconditional model.
"""

from __future__ import annotations

from typing import Protocol, cast

from torch import Tensor, nn

from trainer.core.decoding import Decoder, DecoderState


class ConditionalModel(Protocol):
    """Protocol of models that can be conditioned on the class of each row.

    Attributes:
        num_classes: Number of classes; None for an unconditional model.
    """

    num_classes: int | None


def get_num_classes(model: nn.Module) -> int | None:
    """Return the number of classes of a ``ConditionalModel``; None for any other model."""
    try:
        # Not by isinstance: from Python 3.12 on it ignores the __getattr__ of wrappers such as torch.compile.
        return cast(ConditionalModel, model).num_classes
    except AttributeError:
        return None


class LatentVariableModel(Protocol):
    """Protocol of models with a Gaussian posterior q(z|x) and a decoder p(x|z).

    Attributes:
        latent: Number of latent variables.
        levels: Decoder outputs per value of x.
    """

    latent: int
    levels: int

    def encode(self, x: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode rows.

        Args:
            x: Rows (B, ...).
            label: Class labels (B,); None for an unconditional model.

        Returns:
            Mean and log variance of the posterior, (B, latent) each.
        """

    def decode(self, z: Tensor, label: Tensor | None) -> Tensor:
        """Decode latent variables.

        Args:
            z: Latent variables (B, latent).
            label: Class labels (B,); None for an unconditional model.

        Returns:
            Parameters (B, D * levels) of the likelihood of D values.
        """


class CodebookModel(Protocol):
    """Protocol of autoencoders with a codebook, and a prior over the L code indices of a row.

    Attributes:
        codes: Number of codebook vectors.
    """

    codes: int

    def encode(self, x: Tensor) -> Tensor:
        """Return the encoder output (B, L, D) for x (B, ...)."""

    def quantize(self, z: Tensor, update_codebook: bool = True) -> tuple[Tensor, Tensor]:
        """Return the nearest codebook vectors (B, L, D) and their indices (B, L).

        Args:
            z: Encoder output (B, L, D).
            update_codebook: Whether to update the moving averages of the codebook, if in training mode.
        """

    def decode(self, vectors: Tensor) -> Tensor:
        """Return the reconstruction (B, ...) of codebook vectors (B, L, D)."""

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return the reconstruction (B, ...) of code indices (B, L), for exported samplers."""

    def code_scores(self, codes: Tensor, label: Tensor | None) -> Tensor:
        """Return the logits (B, L, codes) of the prior for each code, which depend on the codes before it.

        Args:
            codes: Code indices (B, L).
            label: Class labels (B,); None for an unconditional model.
        """

    def generate(self, count: int, label: Tensor | None) -> Tensor:
        """Return rows (count, ...) decoded from codes that are sampled from the prior.

        Args:
            count: Number of rows.
            label: Class labels (count,); None for an unconditional model.
        """


class AdversarialModel(Protocol):
    """Protocol of models with a generator and a critic; ``forward`` returns the logits of the critic.

    Attributes:
        latent: Dimension of the noise.
    """

    latent: int

    def generate(self, noise: Tensor, label: Tensor | None) -> Tensor:
        """Return the rows (B, ...) that the generator makes from noise.

        Args:
            noise: Noise (B, latent).
            label: Class labels (B,); None for an unconditional model.
        """

    def features(self, x: Tensor) -> Tensor:
        """Return the last hidden layer (B, H) of the critic for x (B, ...)."""


class NormalizingFlow(Protocol):
    """Protocol of invertible maps between noise and data; ``forward`` returns log p(x)."""

    def generate(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the rows (B, D) that noise is mapped to.

        Args:
            z: Noise (B, D).
            label: Class labels (B,); None for an unconditional model.
        """


class EncoderDecoder(Decoder, Protocol):
    """Protocol of sequence-to-sequence models."""

    def encode(self, **inputs: Tensor) -> DecoderState:
        """Return the encoder output for the arguments of ``forward``."""


class GraphAutoencoder(Protocol):
    """Protocol of models with node embeddings and a link decoder."""

    def encode(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings (N, D) and KL terms (N,) of the nodes, for the arguments of ``forward`` but pairs."""

    def decode(self, nodes: Tensor, pairs: Tensor) -> Tensor:
        """Return the link logits (P, 1) of pairs of nodes.

        Args:
            nodes: Embeddings (N, D).
            pairs: Pairs of nodes (P, 2), int64.
        """
