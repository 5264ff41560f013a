"""Sentences in two languages."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset, DatasetInfo, Tokenizer
from trainer.core.preprocessing import SPLITS, Preprocessing, make_content_keys
from trainer.core.types import DataPath, Fraction, NonNegativeInt, PositiveInt
from trainer.data.encoding import tokenizers
from trainer.data.readers import download, text_file
from trainer.data.reference import baselines
from trainer.data.splits.ragged import Ragged, RaggedSplit
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import ConfigError

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
"""The sentences of training, validation and test in one language."""


class _TranslationDataset(Dataset):
    """Rows of unequal length on both sides. A target ends with a token of its own, the last of its vocabulary."""

    def set_splits(
        self, source: SentenceSplits, target: SentenceSplits, learn: FitTokenizer, learn_target: FitTokenizer
    ) -> None:
        """Splits and facts; the vocabularies are those of the training sentences."""
        assert self.fitted is not None
        self.fitted.get_or_fit("codec", lambda: learn(source[0]).state_dict())
        self.fitted.get_or_fit("target_codec", lambda: learn_target(target[0]).state_dict())
        codec, target_codec = (
            tokenizers.tokenizer_from_state(self.fitted.values[name]) for name in ("codec", "target_codec")
        )
        end = target_codec.vocab_size
        read = [Ragged.from_rows(map(codec.encode, part)) for part in source]
        write = [Ragged.from_rows([*target_codec.encode(line), end] for line in part) for part in target]
        for option, coder, side in (("data.source", codec, read), ("data.target", target_codec, write)):
            tokenizers.warn_about_unknown_tokens(coder, option, {"training": side[0].values, "test": side[2].values})
        self.train, self.val, self.test = (RaggedSplit({"x": x}, y) for x, y in zip(read, write, strict=True))
        self.info = DatasetInfo(
            sizes={
                "source_vocab_size": codec.vocab_size,
                "vocab_size": end + 1,
                "seq_len": _max_length(read),
                "horizon": _max_length(write),
            },
            baseline=baselines.most_frequent_tokens(self.train, self.test, target_codec, end),
            tokenizer=codec,
            target_tokenizer=target_codec,
            end=end,
            column_summaries=tokenizers.describe_target_case(target_codec),
        )

    def complete_info(self, facts: DatasetInfo) -> DatasetInfo:
        assert self.fitted is not None
        codec, target_codec = (
            tokenizers.tokenizer_from_state(self.fitted.values[name]) for name in ("codec", "target_codec")
        )
        return replace(facts, tokenizer=codec, target_tokenizer=target_codec)


def _max_length(parts: Sequence[Ragged]) -> int:
    return max(int(part.lengths.max()) for part in parts)


class Multi30k(_TranslationDataset):
    """Elliott et al. 2016: 29,000 captions of pictures in English, translated into German by people; 1014 validate, and
    the 1000 of 2016 test.

    Raises ConfigError for a translation of a language into itself.
    """

    shapes = "x (B, S), lengths (B) -> (B, T)"

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
            raise ConfigError(f"data.target: {target} is data.source too; one is en and the other de")
        sources = [download.Source(path, digest, URL + path) for path, digest in SHA256.items()]
        folder = download.fetch_files("multi30k", sources, data_dir) / "raw"
        read, written = (
            [_read_gzip(folder / f"{part}.{side}.gz") for part in SPLIT_FILE_STEMS] for side in (source, target)
        )
        learn = partial(tokenizers.fit_tokenizer, tokens, limit=vocab_limit, min_count=min_count, lowercase=lowercase)
        self.set_splits(read, written, learn, learn)


class SentencePairs(_TranslationDataset):
    """Two files of the user's, whose lines belong together. Validation and test are shares of the pairs in random
    order.

    Raises ConfigError for files that are not there, not text or not of one length, and, unless ``drop_bad``, for a
    pair with an empty or a too long side.
    """

    shapes = "x (B, S), lengths (B) -> (B, T)"

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
        pairs = read_pairs(source, target, encoding, max_length, drop_bad)

        def divide() -> list[Tensor]:
            order = rng.make_permutation(len(pairs), seed, 0)
            return [part.inputs["row"] for part in split_by_order({"row": order}, None, val=val, test=test)]

        rows = [part.tolist() for part in fitted.split_rows(make_content_keys(map("\n".join, pairs)), divide)]
        empty = next((name for name, part in zip(SPLITS, rows, strict=True) if not part), None)
        if empty is not None:
            raise ConfigError(f"data: {len(pairs)} pairs of lines leave none for the {empty} split")
        read, written = ([[pairs[row][side] for row in part] for part in rows] for side in range(2))
        learn = partial(tokenizers.fit_tokenizer, limit=vocab_limit, min_count=min_count)
        self.set_splits(
            read,
            written,
            partial(learn, tokens, lowercase=lowercase is not False),
            partial(learn, target_tokens or tokens, lowercase=lowercase is True),
        )


def read_pairs(source: str, target: str, encoding: str, max_length: int, drop_bad: bool) -> list[tuple[str, ...]]:
    """The lines of two files side by side, without the pairs that are bad if those are to be dropped.

    Raises ConfigError for different numbers of lines, and for the first bad one.
    """
    options = {"data.source": source, "data.target": target}
    sides = {option: _split_lines(text_file.read(path, option, encoding)) for option, path in options.items()}
    counts = [len(lines) for lines in sides.values()]
    if counts[0] != counts[1]:
        raise ConfigError(
            f"data: {source} has {counts[0]} lines, {target} has {counts[1]}: line by line they should belong together"
        )
    pairs = list(zip(*sides.values(), strict=True))
    faults = {row: fault for row, pair in enumerate(pairs) if (fault := _find_pair_problem(pair, max_length))}
    if faults and not drop_bad:
        row, (side, words) = next(iter(faults.items()))
        option, path = list(options.items())[side]
        raise ConfigError(
            f"{option}: {path}: line {row + 1} {words}; pairs with such a line: {len(faults)};"
            " data.drop_bad=true leaves them out"
        )
    return [pair for row, pair in enumerate(pairs) if row not in faults]


def _find_pair_problem(pair: tuple[str, ...], max_length: int) -> tuple[int, str] | None:
    """Which side of a pair is bad, and how."""
    for side, line in enumerate(pair):
        if not line:
            return side, "is empty"
        if len(line) > max_length:
            return side, f"has {len(line)} characters, more than data.max_length {max_length}"
    return None


def _read_gzip(path: Path) -> list[str]:
    return _split_lines(gzip.decompress(path.read_bytes()).decode())


def _split_lines(whole: str) -> list[str]:
    """Lines end with a line feed; what ``splitlines`` also takes for an end (U+2028, form feeds) may stand in one."""
    return [line.strip() for line in whole.removesuffix("\n").split("\n")]
