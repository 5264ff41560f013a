"""Encoder-decoder as one function of the source and the target so far."""

from __future__ import annotations

from torch import Tensor, nn

from trainer.tasks.base.model_protocols import EncoderDecoder


class NextTokenModule(nn.Module):
    """Logits of the next token after each token of a target, as in training with teacher forcing.

    The target begins with the start token. A program decodes by appending the most likely token to it and running the
    module again.

    Args:
        model: Encoder-decoder.

    Shape:
        tokens: (B, T)
        inputs: arguments of the model's ``encode``
        output: (B, T, V)
    """

    shapes = "tokens (B, T), x (B, S), lengths (B) -> (B, T, V)"

    def __init__(self, model: EncoderDecoder):
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, **inputs: Tensor) -> Tensor:
        return self.model.decode(tokens, self.model.encode(**inputs), None)[0]
