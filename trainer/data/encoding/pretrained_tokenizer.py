"""Tokenizers of pretrained models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from trainer.data.encoding import word_splitting
from trainer.utils import hf_hub
from trainer.utils.errors import DataError

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)


class PretrainedTokenizer:
    """Tokenizer of a pretrained transformers model, with its special tokens.

    Args:
        name: Name or directory of the model.
        max_length: Maximum number of tokens, special tokens included; None for no truncation.
        keep: End of the text that truncation keeps.

    Raises:
        DataError: transformers is not installed, or the model has no tokenizer.
    """

    def __init__(self, name: str, max_length: int | None, keep: Literal["first", "last"]):
        folder = hf_hub.find_model_dir(name)
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):  # transformers would create an empty one
            raise DataError(f"tokenizer: {folder} has no tokenizer: none of {', '.join(TOKENIZER_FILES)}")
        self._load(folder, max_length, keep)

    def _load(self, folder: Path, max_length: int | None, keep: str) -> None:
        self._tokenizer = hf_hub.load_pretrained("AutoTokenizer", folder, "data.tokenizer")
        self._tokenizer.truncation_side = "right" if keep == "first" else "left"
        self._max_length, self._keep = max_length, keep
        self.vocab_size, self.unknown_id = len(self._tokenizer), self._tokenizer.unk_token_id

    def encode(self, text: str) -> list[int]:
        return self._tokenizer(
            text, truncation=self._max_length is not None, max_length=self._max_length, verbose=False
        ).input_ids

    def decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode([token for token in tokens if token < self.vocab_size], skip_special_tokens=True)

    def decode_words(self, tokens: Sequence[int]) -> list[str]:
        return word_splitting.split_words(self.decode(tokens))

    def state_dict(self) -> dict[str, Any]:
        """Return the tokenizer files as bytes, so that the pretrained model is not needed again."""
        with TemporaryDirectory() as folder:
            self._tokenizer.save_pretrained(folder)
            paths = sorted(path for path in Path(folder).iterdir() if path.is_file())
            files = {path.name: torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8) for path in paths}
        return {"kind": "pretrained", "files": files, "max_length": self._max_length, "keep": self._keep}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> PretrainedTokenizer:
        tokenizer = cls.__new__(cls)
        former_key = "most"  # in checkpoints before version 5
        max_length = state["max_length"] if "max_length" in state else state[former_key]
        with TemporaryDirectory() as folder:
            for name, content in state["files"].items():
                Path(folder, Path(name).name).write_bytes(content.numpy().tobytes())
            tokenizer._load(Path(folder), max_length, state["keep"])
        return tokenizer
