"""Machine translation on sentence pairs."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from trainer.core import rng
from trainer.core.dataset_info import DatasetInfo, TextInfo
from trainer.core.preprocessing import SPLITS, Preprocessing, make_content_keys
from trainer.core.tokenizer import Tokenizer
from trainer.core.types import DataPath, Fraction, NonNegativeInt, PositiveInt
from trainer.data.encoding import text_rows, tokenizers
from trainer.data.encoding.text_dataset import TextDataset
from trainer.data.encoding.text_rows import EncodedRow, TextRow
from trainer.data.encoding.unknown_tokens import warn_about_unknown_tokens
from trainer.data.readers import download, sentence_pairs
from trainer.data.reference import baselines
from trainer.data.splits.ragged import Ragged, RaggedSplit
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import DataError

URL = "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/"
SHA256 = {
    "raw/train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "raw/train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "raw/val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "raw/val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "raw/test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "raw/test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
}
SPLIT_FILE_STEMS = ("train", "val", "test_2016_flickr")
FitTokenizer = Callable[[Sequence[str]], Tokenizer]
SentenceSplits = Sequence[Sequence[str]]
"""Training, validation and test sentences in one language."""


class _TranslationDataset(TextDataset):
    """Base class for variable-length source and target sequences; targets end with an end token, the last id."""

    counted_values = MappingProxyType({"source_vocab_size": "tokenizer", "vocab_size": "target_tokenizer"})

    def set_splits(
        self,
        source: SentenceSplits,
        target: SentenceSplits,
        fit_source_tokenizer: FitTokenizer,
        fit_target_tokenizer: FitTokenizer,
    ) -> None:
        """Set splits and info.

        Args:
            source: Source sentences of each split.
            target: Target sentences of each split, aligned with ``source``.
            fit_source_tokenizer: Function that fits a tokenizer on the source sentences for training.
            fit_target_tokenizer: Function that fits a tokenizer on the target sentences for training.
        """
        assert self.fitted is not None
        self.fitted.get_or_fit("tokenizer", lambda: fit_source_tokenizer(source[0]).state_dict())
        self.fitted.get_or_fit("target_tokenizer", lambda: fit_target_tokenizer(target[0]).state_dict())
        source_tokenizer, target_tokenizer = (
            self.restore_tokenizer(name) for name in ("tokenizer", "target_tokenizer")
        )
        end = target_tokenizer.vocab_size
        source_rows = [Ragged.from_rows(map(source_tokenizer.encode, part)) for part in source]
        target_rows = [Ragged.from_rows([*target_tokenizer.encode(line), end] for line in part) for part in target]
        for option, tokenizer, side in (
            ("data.source", source_tokenizer, source_rows),
            ("data.target", target_tokenizer, target_rows),
        ):
            warn_about_unknown_tokens(tokenizer, option, {"training": side[0].values, "test": side[2].values})
        self.train, self.val, self.test = (
            RaggedSplit({"x": x}, y) for x, y in zip(source_rows, target_rows, strict=True)
        )
        self.info = DatasetInfo(
            sizes={
                "source_vocab_size": source_tokenizer.vocab_size,
                "vocab_size": end + 1,
                "seq_len": _max_length(source_rows),
                "horizon": _max_length(target_rows),
            },
            baseline=baselines.most_frequent_tokens(self.train, self.test, target_tokenizer, end),
            text=TextInfo(tokenizer=source_tokenizer, target_tokenizer=target_tokenizer, end_token=end),
            file_summary=tokenizers.describe_target_case(target_tokenizer),
        )

    def complete_info(self, info: DatasetInfo) -> DatasetInfo:
        info = super().complete_info(info)
        return replace(info, text=replace(info.text, target_tokenizer=self.restore_tokenizer("target_tokenizer")))

    def make_row_encoder(self, tokenizer: Tokenizer) -> Callable[[TextRow], EncodedRow]:
        target_tokenizer, max_length = self.restore_tokenizer("target_tokenizer"), self.options.get("max_length")

        def encode(row: TextRow) -> EncodedRow:
            text, target = row.text.strip(), None
            text_rows.check_length(text, row.location, max_length)
            if row.target is not None:
                text_rows.check_length(row.target.strip(), f"the target of {row.location}", max_length)
                target = [*target_tokenizer.encode(row.target.strip()), target_tokenizer.vocab_size]
            return EncodedRow(row.name, tokenizer.encode(text), target)

        return encode


def _max_length(parts: Sequence[Ragged]) -> int:
    return max(int(part.lengths.max()) for part in parts)


class Multi30k(_TranslationDataset):
    """Multi30k: English image captions with human translations into German.

    29,000 pairs for training, 1014 for validation, and the 1000 of test 2016.

    Args:
        source: Source language.
        target: Target language.
        tokens: Type of both tokenizers.
        vocab_limit: Maximum vocabulary size per language; None for no limit.
        min_count: Minimum frequency of a word in the training sentences.
        lowercase: Convert both languages to lower case, generated text included.
        data_dir: Parent directory of ``multi30k/``; None for the default data directory.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: Source and target language are the same.

    References:
        Elliott et al. 2016, Multi30K: Multilingual English-German Image Descriptions, Workshop on Vision and Language.
    """

    shapes = "x (B, S), lengths (B) -> (B, T)"

    reusable_values = MappingProxyType(
        {
            "tokenizer": ("source", "tokens", "vocab_limit", "min_count", "lowercase"),
            "target_tokenizer": ("target", "tokens", "vocab_limit", "min_count", "lowercase"),
        }
    )

    def __init__(
        self,
        source: Literal["en", "de"] = "en",
        target: Literal["en", "de"] = "de",
        tokens: Literal["characters", "words", "bytepair"] = "words",
        vocab_limit: PositiveInt | None = 10000,
        min_count: PositiveInt = 2,
        lowercase: bool = True,
        data_dir: str | None = None,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted or Preprocessing()
        if source == target:
            raise DataError(f"target: {target} is also data.source; one must be en and the other de")
        sources = [download.Source(path, digest, URL + path) for path, digest in SHA256.items()]
        folder = download.fetch_files("multi30k", sources, data_dir) / "raw"
        source_sentences, target_sentences = (
            [_read_gzip(folder / f"{part}.{side}.gz") for part in SPLIT_FILE_STEMS] for side in (source, target)
        )
        fit_tokenizer = partial(
            tokenizers.fit_tokenizer, tokens, limit=vocab_limit, min_count=min_count, lowercase=lowercase
        )
        self.set_splits(source_sentences, target_sentences, fit_tokenizer, fit_tokenizer)


class SentencePairs(_TranslationDataset):
    """Translation between two line-aligned files, split at random.

    Args:
        source: Source text file, one sentence per line.
        target: Target text file with the same number of lines.
        encoding: Character encoding of both files.
        tokens: Type of the source tokenizer.
        target_tokens: Type of the target tokenizer; None for the same.
        vocab_limit: Maximum vocabulary size per file; None for no limit.
        min_count: Minimum frequency of a word in the training sentences.
        lowercase: Convert both files, the ``source`` only or neither to lower case.
        max_length: Maximum line length in characters.
        drop_bad: Drop pairs with an empty or too long line instead of raising an error.
        val: Fraction for validation.
        test: Fraction for test.
        seed: Random seed of the split.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: Files are missing, not text or differ in the number of lines; unless ``drop_bad``, also for a pair
            with an empty or too long side.
    """

    shapes = "x (B, S), lengths (B) -> (B, T)"

    reusable_values = MappingProxyType(
        {
            "tokenizer": ("tokens", "vocab_limit", "min_count", "lowercase"),
            "target_tokenizer": ("tokens", "target_tokens", "vocab_limit", "min_count", "lowercase"),
        }
    )

    def __init__(
        self,
        source: DataPath,
        target: DataPath,
        encoding: str = "utf-8",
        tokens: Literal["characters", "words", "bytepair"] = "words",
        target_tokens: Literal["characters", "words", "bytepair"] | None = None,
        vocab_limit: PositiveInt | None = 10000,
        min_count: PositiveInt = 2,
        lowercase: bool | Literal["source"] = "source",
        max_length: PositiveInt = 1000,
        drop_bad: bool = False,
        val: Fraction = 0.1,
        test: Fraction = 0.1,
        seed: NonNegativeInt = 0,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        self.options = {"encoding": encoding, "max_length": max_length}
        pairs = sentence_pairs.read(source, target, encoding, max_length, drop_bad)

        def make_split() -> list[Tensor]:
            order = rng.make_permutation(len(pairs), seed, 0)
            return [part.inputs["row"] for part in split_by_order({"row": order}, None, val=val, test=test)]

        rows = [part.tolist() for part in fitted.split_rows(make_content_keys(map("\n".join, pairs)), make_split)]
        empty = next((name for name, part in zip(SPLITS, rows, strict=True) if not part), None)
        if empty is not None:
            raise DataError(f"the {empty} split is empty ({len(pairs)} pairs of lines in total)")
        source_sentences, target_sentences = ([[pairs[row][side] for row in part] for part in rows] for side in (0, 1))
        fit_tokenizer = partial(tokenizers.fit_tokenizer, limit=vocab_limit, min_count=min_count)
        self.set_splits(
            source_sentences,
            target_sentences,
            partial(fit_tokenizer, tokens, lowercase=lowercase is not False),
            partial(fit_tokenizer, target_tokens or tokens, lowercase=lowercase is True),
        )


def _read_gzip(path: Path) -> list[str]:
    return sentence_pairs.split_lines(gzip.decompress(path.read_bytes()).decode())
