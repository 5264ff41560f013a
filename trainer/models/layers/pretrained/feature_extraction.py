"""Features of texts and of images: the inputs that a saved model expects, and the pooling of its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trainer.models.layers.padding import find_valid_steps
from trainer.models.layers.pretrained.image_preprocessing import ImagePreprocessing

Pool = Literal["first", "mean"]
PROBE_SIZE = 64
"""Height and width of the image by which the number of features is found."""


class TextFeatures(nn.Module):
    """Features of texts: the last hidden states of a saved model, pooled over the valid tokens.

    Args:
        body: Layers of the saved model.
        vocab_size: Number of tokens of the data.
        pool: ``first`` or ``mean``.

    Raises:
        ValueError: The data has more tokens than the model, or the model is no encoder.
    """

    shapes = "x (B, S), lengths (B) -> (B, D)"

    def __init__(self, body: Any, vocab_size: int, pool: Pool):
        super().__init__()
        num_tokens = body.get_input_embeddings().num_embeddings
        if vocab_size > num_tokens:
            raise ValueError(
                f"name: the model has {num_tokens} tokens and the data has {vocab_size}; set data.tokens=pretrained and"
                " data.tokenizer to the same model"
            )
        self.pool = pool
        self.max_positions = getattr(body.config, "max_position_embeddings", None)
        token = torch.zeros(1, 1, dtype=torch.long)
        hidden = _run_probe(body, input_ids=token, attention_mask=torch.ones_like(token)).last_hidden_state
        self.num_features = int(hidden.shape[-1])

    def forward(self, body: nn.Module, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if self.max_positions is not None and x.shape[1] > self.max_positions:
            raise ValueError(
                f"a row has {x.shape[1]} tokens and the model allows {self.max_positions}; set"
                f" data.max_length={self.max_positions}"
            )
        valid = find_valid_steps(x, lengths)
        hidden = body(input_ids=x, attention_mask=valid.long()).last_hidden_state
        mean = (hidden * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        features: Tensor = hidden[:, 0] if self.pool == "first" else mean
        return features


class ImageFeatures(nn.Module):
    """Features of images: the pooled feature maps of a convolutional network, or pooled tokens of a Transformer.

    Args:
        body: Layers of the saved model.
        preprocessor: Options of its image processor.
        pixel_bounds: Values of black and of white pixels in each channel of the data; None if they are not known.
        pool: ``first`` or ``mean`` of the tokens; feature maps are pooled as in the saved model.

    Raises:
        ValueError: The values of pixels are not known, the image processor or the channels are not supported, or the
            model has no class token.
    """

    shapes = "x (B, C, H, W) -> (B, D)"

    def __init__(
        self, body: Any, preprocessor: Mapping[str, Any], pixel_bounds: Sequence[Sequence[float]] | None, pool: Pool
    ):
        super().__init__()
        if pixel_bounds is None:
            raise ValueError(
                "pixel_bounds: the data set reports no values of black and white pixels, by which images are"
                " normalized for the model; set pixel_bounds=[[BLACK],[WHITE]]"
            )
        self.preprocessing = ImagePreprocessing(preprocessor, pixel_bounds, getattr(body.config, "num_channels", 3))
        self.pool = pool
        blank = torch.zeros(1, len(pixel_bounds[0]), PROBE_SIZE, PROBE_SIZE)
        output = _run_probe(body, pixel_values=self.preprocessing(blank))
        has_class_token = any(name.endswith("cls_token") for name, _ in body.named_parameters())
        if pool == "first" and output.last_hidden_state.dim() == 3 and not has_class_token:
            raise ValueError("pool: the model has no class token as its first token; set pool=mean")
        self.num_features = self._pool_output(output).shape[1]

    def forward(self, body: nn.Module, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self._pool_output(body(pixel_values=self.preprocessing(x)))

    def _pool_output(self, output: Any) -> Tensor:
        hidden: Tensor = output.last_hidden_state  # (B, D, H, W), or tokens (B, N, D)
        if hidden.dim() == 4:
            pooled: Tensor | None = output.pooler_output
            return hidden.mean((2, 3)) if pooled is None else pooled.flatten(1)
        return hidden[:, 0] if self.pool == "first" else hidden.mean(1)


@torch.no_grad()
def _run_probe(body: nn.Module, **inputs: Tensor) -> Any:
    """Return the output for one row, which shows that a model can be used as an encoder.

    Raises:
        ValueError: It cannot.
    """
    is_training = body.training
    try:
        output = body.eval()(**inputs)
        assert isinstance(output.last_hidden_state, Tensor)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"name: {type(body).__name__} cannot be used as an encoder: {reason}") from error
    finally:
        body.train(is_training)
    return output
