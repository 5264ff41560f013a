"""A pretrained Transformer with a new head."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.models.layers.padding import find_valid_steps
from trainer.utils import hf_hub


class Pretrained(nn.Module):
    """Fine-tuning (Devlin et al. 2019, section 3.2): all weights of a saved encoder, and a linear layer on what it
    makes of the first token, or on the mean over real tokens. Any architecture that transformers' AutoModel knows;
    weights are read from safetensors only.

    Raises ConfigError without the package transformers and for a model that cannot be found or read, and ValueError for
    data whose tokens are not the model's and for rows longer than the model can read.
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
        known = self.body.get_input_embeddings().num_embeddings
        if vocab_size > known:
            raise ValueError(
                f"name: {name} knows {known} tokens and the data has {vocab_size}; set data.tokens=pretrained"
                f" data.tokenizer={name}"
            )
        self.max_positions = getattr(self.body.config, "max_position_embeddings", None)
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.body.config.hidden_size, out_features)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if self.max_positions is not None and x.shape[1] > self.max_positions:
            raise ValueError(
                f"a row has {x.shape[1]} tokens and the model reads {self.max_positions}; set"
                f" data.max_length={self.max_positions}"
            )
        real = find_valid_steps(x, lengths)
        hidden = self.body(input_ids=x, attention_mask=real.long()).last_hidden_state
        mean = (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return self.head(self.dropout(hidden[:, 0] if self.pool == "first" else mean))
