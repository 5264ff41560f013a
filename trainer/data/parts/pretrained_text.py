"""Text as the numbers that a pretrained model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from trainer import hub
from trainer.errors import ConfigError

FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")


class Pretrained:
    """The tokens of a saved model's own tokenizer, with what it puts around a text.

    most, keep: how many tokens of a text are kept, those marks included, and of which end.

    Raises ConfigError without the package transformers, or for a model without a tokenizer.
    """

    def __init__(self, name: str, most: int | None, keep: Literal["first", "last"]):
        hub.transformers()
        folder = hub.folder_of(name)
        if not any((folder / name).is_file() for name in FILES):  # the library would make an empty one
            raise ConfigError(f"data.tokenizer: {folder} has no tokenizer: none of {', '.join(FILES)}")
        self._coder = hub.read_saved("AutoTokenizer", folder, "data.tokenizer")
        self._coder.truncation_side = "right" if keep == "first" else "left"
        self._most = most
        self.size = len(self._coder)

    def encode(self, text: str) -> list[int]:
        return self._coder(text, truncation=self._most is not None, max_length=self._most, verbose=False).input_ids

    def decode(self, tokens: Sequence[int]) -> str:
        return self._coder.decode([token for token in tokens if token < self.size], skip_special_tokens=True)

    def words(self, tokens: Sequence[int]) -> list[str]:
        return self.decode(tokens).split()
