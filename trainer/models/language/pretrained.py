"""Fine-tuning of pretrained models for text and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor, nn

from trainer.core.adapters import HasAdapters
from trainer.core.stored_architecture import HasStoredArchitecture
from trainer.core.types import PositiveFloat, PositiveInt, Probability
from trainer.models.layers.pretrained import lora
from trainer.models.layers.pretrained.feature_extraction import ImageFeatures, TextFeatures
from trainer.models.layers.pretrained.saved_model import find_repeated_layers, load_saved_model


class Pretrained(HasStoredArchitecture, HasAdapters):
    """Pretrained encoder of texts or images, with a new linear head on its pooled output.

    Supports the architectures of transformers' AutoModel, such as BERT for text and ViT, DINOv2, ConvNeXT and ResNet
    for images; weights are loaded from safetensors only. Images of any size are resized and normalized as the model was
    trained. All weights are fine-tuned, or low-rank adapters (LoRA) with the head.

    Args:
        name: model name on the hub or a local directory.
        out_features: number of outputs C.
        vocab_size: number of tokens V of the data; None for images.
        pixel_bounds: values of black and of white pixels in each channel of the data; None for text.
        pool: ``first`` or ``mean``.
        dropout: dropout probability before the head.
        lora_rank: rank of the adapters; None fine-tunes all weights.
        lora_alpha: scale of the adapters, relative to the rank.
        lora_targets: patterns of the names of layers with adapters; None for all linear layers, or all convolutions of
            a network without any.
        stored_architecture: description of the model that a run has stored.

    Raises:
        ConfigError: transformers or peft is not installed, or the model cannot be found or loaded.
        ValueError: a model of another kind than the data, data with another tokenizer or unknown pixel values, or
            sequences longer than the model allows.

    References:
        Devlin et al. 2019, BERT, section 3.2; Dosovitskiy et al. 2021, An Image is Worth 16x16 Words; Hu et al. 2022,
            LoRA
    """

    shapes = "x (B, S), lengths (B) -> (B, C) or x (B, C, H, W) -> (B, C)"

    def __init__(
        self,
        name: str,
        out_features: PositiveInt,
        vocab_size: PositiveInt | None = None,
        pixel_bounds: list[list[float]] | None = None,
        pool: Literal["first", "mean"] = "first",
        dropout: Probability = 0.1,
        lora_rank: PositiveInt | None = None,
        lora_alpha: PositiveFloat = 16.0,
        lora_targets: list[str] | None = None,
        stored_architecture: Mapping[str, str] | None = None,
    ):
        saved = load_saved_model(name, stored_architecture, takes_images=vocab_size is None)
        super().__init__(saved.architecture)
        self.body = saved.body
        self.features: TextFeatures | ImageFeatures
        if vocab_size is not None:
            self.features = TextFeatures(self.body, vocab_size, pool)
        else:
            self.features = ImageFeatures(self.body, saved.preprocessor, pixel_bounds, pool)
        self.shapes = self.features.shapes.replace("D", "C")
        if lora_rank is not None:
            lora.add_adapters(self.body, lora_rank, lora_alpha, lora_targets)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.features.num_features, out_features)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.features(self.body, x, lengths)))
        return logits

    def repeated_blocks(self) -> Sequence[nn.Module]:
        return find_repeated_layers(self.body)

    def merge_adapters(self) -> None:
        lora.merge_adapters(self.body)
