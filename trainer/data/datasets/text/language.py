"""Language modeling on running text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from trainer.core.dataset_info import DatasetInfo, TextInfo
from trainer.core.prediction import DecodedPrediction, Prediction
from trainer.core.preprocessing import Preprocessing
from trainer.core.split import Split
from trainer.core.tokenizer import Tokenizer
from trainer.core.types import DataPath, Fraction, PositiveInt
from trainer.data.encoding import text_rows, tokenizers
from trainer.data.encoding.text_dataset import TextDataset
from trainer.data.encoding.text_rows import EncodedRow, TextRow
from trainer.data.encoding.unknown_tokens import warn_about_unknown_tokens
from trainer.data.readers import download, text_file
from trainer.data.splits import split_boundaries
from trainer.data.splits.token_windows import TokenWindows
from trainer.utils.errors import DataError

SOURCE = download.Source(
    "input.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
)


class _LanguageModelingDataset(TextDataset):
    """Base class for texts that are split in order into training, validation and test."""

    counted_values = MappingProxyType({"vocab_size": "tokenizer"})

    def set_splits(
        self, text: str, val: float, test: float, seq_len: int, fit_tokenizer: Callable[[list[str]], Tokenizer]
    ) -> None:
        """Set splits and info.

        Args:
            text: Text of all splits.
            val: Fraction for validation.
            test: Fraction for test.
            seq_len: Window length in tokens.
            fit_tokenizer: Function that fits a tokenizer on the training text.
        """
        assert self.fitted is not None
        fractions = (max(0.0, 1 - val - test), 1 - test)
        ends = split_boundaries.locate_in_text(
            self.fitted, text, lambda: [round(len(text) * fraction) for fraction in fractions]
        )
        parts = [text[start:end] for start, end in pairwise((0, *ends, len(text)))]
        text_tokenizer = tokenizers.tokenizer_from_state(
            self.fitted.get_or_fit("tokenizer", lambda: fit_tokenizer(parts[:1]).state_dict())
        )
        tokens = [torch.tensor(text_tokenizer.encode(part), dtype=torch.int32) for part in parts]
        warn_about_unknown_tokens(text_tokenizer, "data", {"training": tokens[0], "test": tokens[2]})
        self.train = TokenWindows(tokens[0], seq_len, "train", moving=True)
        self.val = TokenWindows(tokens[1], seq_len, "val")
        self.test = TokenWindows(tokens[2], seq_len, "test")
        self.info = DatasetInfo(
            sizes={"vocab_size": text_tokenizer.vocab_size, "seq_len": seq_len},
            baseline=unigram_scores(tokens[0], self.test.get_targets(), text_tokenizer.vocab_size),
            text=TextInfo(tokenizer=text_tokenizer),
            file_summary=tokenizers.describe_target_case(text_tokenizer),
        )

    def make_row_encoder(self, tokenizer: Tokenizer) -> Callable[[TextRow], EncodedRow]:
        seq_len = self.info.sizes["seq_len"]

        def encode(row: TextRow) -> EncodedRow:
            try:
                tokens = tokenizer.encode(row.text)
            except DataError as error:
                raise DataError(f"{row.location}: {error}") from None
            if not tokens:
                raise DataError(f"{row.location} has no tokens")
            return EncodedRow(row.name, tokens[-seq_len:])

        return encode

    def read_chunks(
        self, path: str, with_targets: bool = False, on_error: Literal["error", "skip"] = "error"
    ) -> Iterator[Split]:
        """Read prompts to continue, one per line; or, with targets, the windows of a text.

        Args:
            path: Text file.
            with_targets: Read the file as one text, whose windows have the next tokens as targets.
            on_error: Refuse a line without tokens, or skip it.
        """
        if with_targets:
            text = text_file.read(path, "input", self.options.get("encoding", "utf-8"))
            tokens = torch.tensor(self.restore_tokenizer().encode(text), dtype=torch.int32)
            yield TokenWindows(tokens, self.info.sizes["seq_len"], "input")
        else:
            lines = text_rows.read_lines(path, self.options.get("encoding", "utf-8"))
            yield from self.encode_chunks(lines, "line", on_error)

    def decode_prediction(self, prediction: Prediction, split: Split, first: int) -> DecodedPrediction:
        # The targets of windows are their shifted tokens, not their continuations.
        fields = {name: values for name, values in prediction.items() if name != "target"}
        return super().decode_prediction(fields, split, first)


class TinyShakespeare(_LanguageModelingDataset):
    """Character-level Tiny Shakespeare: 1 million characters with a vocabulary of 65.

    The text is split in order: 90 % training, 5 % validation, 5 % test. All characters occur in the training part.

    Args:
        seq_len: Window length S in characters.
        data_dir: Parent directory of ``tinyshakespeare/``; None for the default data directory.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    References:
        Karpathy 2015, The Unreasonable Effectiveness of Recurrent Neural Networks (blog post).
    """

    shapes = "x (B, S) -> (B, S)"

    reusable_values = MappingProxyType({"tokenizer": ()})

    def __init__(self, seq_len: PositiveInt = 128, data_dir: str | None = None, fitted: Preprocessing | None = None):
        self.fitted = fitted or Preprocessing()
        text = text_file.read(download.fetch_files("tinyshakespeare", [SOURCE], data_dir) / SOURCE.path, "data")
        self.set_splits(
            text, 0.05, 0.05, seq_len, lambda texts: tokenizers.fit_tokenizer("characters", texts, unknown=False)
        )


class TextFile(_LanguageModelingDataset):
    """Language modeling on a text file, split in order.

    Characters or words of validation and test outside the training vocabulary map to the unknown token; byte-pair
    encoding has none.

    Args:
        path: Text file.
        encoding: Character encoding of the file.
        tokens: Type of the tokenizer.
        vocab_limit: Maximum vocabulary size, at least 256 and required for ``bytepair``; None for no limit.
        min_count: Minimum frequency of a word in the training part.
        lowercase: Convert the text to lower case.
        seq_len: Window length S in tokens.
        val: Fraction of the text for validation, after the training part.
        test: Fraction of the text for test, the last part.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: The file is missing, not text or too short.
    """

    shapes = "x (B, S) -> (B, S)"

    reusable_values = MappingProxyType({"tokenizer": ("tokens", "vocab_limit", "min_count", "lowercase")})

    def __init__(
        self,
        path: DataPath,
        encoding: str = "utf-8",
        tokens: Literal["characters", "words", "bytepair"] = "characters",
        vocab_limit: PositiveInt | None = None,
        min_count: PositiveInt = 2,
        lowercase: bool = False,
        seq_len: PositiveInt = 128,
        val: Fraction = 0.05,
        test: Fraction = 0.05,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted or Preprocessing()
        self.options = {"encoding": encoding}

        def fit_tokenizer(texts: list[str]) -> Tokenizer:
            return tokenizers.fit_tokenizer(tokens, texts, limit=vocab_limit, min_count=min_count, lowercase=lowercase)

        self.set_splits(text_file.read(path, "path", encoding), val, test, seq_len, fit_tokenizer)


def unigram_scores(train: Tensor, target: Tensor, vocab_size: int) -> dict[str, float]:
    """Compute the scores of a unigram model with add-one smoothing.

    The accuracy is the expectation over a random choice among equally frequent tokens.

    Args:
        train: Tokens (N,) on which the model is fitted.
        target: Tokens (...) that are scored.
        vocab_size: Vocabulary size.
    """
    counts = torch.bincount(train, minlength=vocab_size).double() + 1
    nll = float(-(counts / counts.sum()).log()[target].mean())
    most_frequent = counts == counts.max()
    return {
        "nll": nll,
        "bits": nll / math.log(2),
        "perplexity": math.exp(nll),
        "token_accuracy": float(target.reshape(-1).bincount(minlength=vocab_size)[most_frequent].double().mean())
        / target.numel(),
    }
