"""Fine-tuning of pretrained Transformers."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.padding import find_valid_steps
from trainer.utils import hf_hub


class Pretrained(nn.Module):
    """Pretrained encoder, fully fine-tuned, with a linear head on the first token or on the mean over valid tokens.

    Supports every architecture of transformers' AutoModel; weights are loaded from safetensors only.

    Args:
        name: model name on the hub or a local directory.
        vocab_size: number of tokens V.
        out_features: number of outputs C.
        pool: ``first`` or ``mean``.
        dropout: dropout probability before the head.

    Raises:
        ConfigError: transformers is not installed, or the model cannot be found or loaded.
        ValueError: data with another tokenizer, or sequences longer than the model allows.

    References:
        Devlin et al. 2019, BERT, section 3.2
    """

    shapes = "x (B, S), lengths (B) -> (B, C)"

    def __init__(
        self,
        name: str,
        vocab_size: PositiveInt,
        out_features: PositiveInt,
        pool: Literal["first", "mean"] = "first",
        dropout: Probability = 0.1,
    ):
        super().__init__()
        self.body = hf_hub.load_pretrained("AutoModel", hf_hub.find_model_dir(name), use_safetensors=True)
        num_tokens = self.body.get_input_embeddings().num_embeddings
        if vocab_size > num_tokens:
            raise ValueError(
                f"name: {name} has {num_tokens} tokens and the data has {vocab_size}; set data.tokens=pretrained"
                f" data.tokenizer={name}"
            )
        self.max_positions = getattr(self.body.config, "max_position_embeddings", None)
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.body.config.hidden_size, out_features)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if self.max_positions is not None and x.shape[1] > self.max_positions:
            raise ValueError(
                f"a row has {x.shape[1]} tokens and the model allows {self.max_positions}; set"
                f" data.max_length={self.max_positions}"
            )
        valid = find_valid_steps(x, lengths)
        hidden = self.body(input_ids=x, attention_mask=valid.long()).last_hidden_state
        mean = (hidden * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        return self.head(self.dropout(hidden[:, 0] if self.pool == "first" else mean))
