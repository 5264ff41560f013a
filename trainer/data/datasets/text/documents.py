"""Documents and their classes."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from trainer.core.dataset import Dataset, DatasetInfo, Tokenizer
from trainer.core.preprocessing import Preprocessing
from trainer.core.types import DataPath, Fraction, NonNegativeInt, PositiveInt
from trainer.data.encoding import tokenizers
from trainer.data.readers import class_folders, download, text_file
from trainer.data.reference import baselines
from trainer.data.splits.ragged import Ragged, RaggedSplit
from trainer.utils.errors import ConfigError

SOURCE = download.Source(
    "review_polarity.tar.gz",
    "fc0dccc2671af5db3c5d8f81f77a1ebfec953ecdd422334062df61ede36b2179",
    "https://raw.githubusercontent.com/jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f/review_polarity.tar.gz",
)
REVIEW_PATTERN = re.compile(r"txt_sentoken/(neg|pos)/cv(\d)\d\d_\d+\.txt")
"""A review's name: its class, and the first digit of its number, which is its fold."""
NUM_REVIEWS = 2000
VAL_FOLD, TEST_FOLD = 8, 9


class _DocumentDataset(Dataset):
    """Texts as rows of unequal length. The vocabulary is that of the training rows."""

    def set_splits(
        self,
        texts: Sequence[str],
        labels: Tensor,
        rows: Sequence[Tensor],
        class_names: Sequence[str],
        learn: Callable[[Sequence[str]], Tokenizer],
        kept: slice,
    ) -> None:
        """Splits and facts. labels: (N,); rows: those of each split; kept: which tokens of a document are."""
        assert self.fitted is not None
        codec = tokenizers.tokenizer_from_state(
            self.fitted.get_or_fit("codec", lambda: learn([texts[row] for row in rows[0].tolist()]).state_dict())
        )
        encoded = Ragged.from_rows(codec.encode(document)[kept] for document in texts)
        parts = [encoded.select_rows(part) for part in rows]
        tokenizers.warn_about_unknown_tokens(codec, "data", {"training": parts[0].values, "test": parts[2].values})
        self.train, self.val, self.test = (
            RaggedSplit({"x": x}, labels[row]) for x, row in zip(parts, rows, strict=True)
        )
        count = len(class_names)
        self.info = DatasetInfo(
            sizes={
                "vocab_size": codec.vocab_size,
                "seq_len": int(encoded.lengths.max()),
                "num_classes": count,
                "out_features": 1 if count == 2 else count,
            },
            baseline=baselines.majority_class(self.train, self.test, count),
            class_names=class_names,
            tokenizer=codec,
        )

    def complete_info(self, facts: DatasetInfo) -> DatasetInfo:
        assert self.fitted is not None
        return replace(facts, tokenizer=tokenizers.tokenizer_from_state(self.fitted.values["codec"]))


class ReviewPolarity(_DocumentDataset):
    """Pang and Lee 2004: 1000 reviews of films that praise them and 1000 that do not. Of the ten folds their authors
    made (by the number in the name), 0 to 7 train, 8 validates and 9 tests.

    Raises ConfigError for an archive that has not these reviews.
    """

    shapes = "x (B, S), lengths (B) -> (B)"

    def __init__(
        self,
        tokens: Literal["characters", "words", "bytepair", "pretrained"] = "words",
        tokenizer: str | None = None,
        vocab_limit: PositiveInt | None = 20000,
        min_count: PositiveInt = 2,
        max_length: PositiveInt | None = 1024,
        keep: Literal["first", "last"] = "last",
        data_dir: str | None = None,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted or Preprocessing()
        names, texts = read_reviews(download.fetch_files("review_polarity", [SOURCE], data_dir) / SOURCE.path)
        fold = torch.tensor([int(number) for _, number in names])
        validates, tests = fold == VAL_FOLD, fold == TEST_FOLD
        self.set_splits(
            texts,
            torch.tensor([kind == "pos" for kind, _ in names]).long(),
            [part.nonzero().squeeze(1) for part in (~validates & ~tests, validates, tests)],
            ("neg", "pos"),
            partial(
                tokenizers.fit_tokenizer,
                tokens,
                limit=vocab_limit,
                min_count=min_count,
                tokenizer=tokenizer,
                most=max_length,
                keep=keep,
            ),
            _truncation_slice(keep, max_length),
        )


def read_reviews(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Class and fold of each review, in order of their names, and the reviews; nothing is written to disk.

    Raises ConfigError for a broken archive, and for one that has not the reviews expected, as regular files.
    """
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                named = REVIEW_PATTERN.fullmatch(member.name)
                file = archive.extractfile(member) if named and member.isreg() else None
                if named and file:
                    found[member.name] = (named[1], named[2]), file.read().decode()
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"data review_polarity: {path} is no whole archive of texts: {error}") from error
    if len(found) != NUM_REVIEWS:
        raise ConfigError(f"data review_polarity: {path} holds {len(found)} reviews instead of {NUM_REVIEWS}")
    names, texts = zip(*(found[name] for name in sorted(found)), strict=True)
    return list(names), list(texts)


def _truncation_slice(keep: Literal["first", "last"], most: int | None) -> slice:
    """The tokens at one end of a row, at most so many of them."""
    return slice(-most, None) if keep == "last" and most is not None else slice(most)


class TextFolder(_DocumentDataset):
    """Documents of the user's in ``CLASS/*.txt``, every class split by the same shares; or in ``train/CLASS`` and
    ``val/CLASS``, ``test/CLASS`` or both, of which a missing one is a share of the training documents.

    Raises ConfigError for a folder that is not there or laid out in another way, a document that is not text or has
    none, and a class without a document in each split.
    """

    shapes = "x (B, S), lengths (B) -> (B)"

    file_suffixes = (".txt",)

    def __init__(
        self,
        path: DataPath,
        encoding: str = "utf-8",
        tokens: Literal["characters", "words", "bytepair", "pretrained"] = "words",
        tokenizer: str | None = None,
        vocab_limit: PositiveInt | None = 20000,
        min_count: PositiveInt = 2,
        lowercase: bool = True,
        max_length: PositiveInt | None = 1024,
        keep: Literal["first", "last"] = "last",
        val: Fraction = 0.2,
        test: Fraction = 0.2,
        seed: NonNegativeInt = 0,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        folder = Path(path).expanduser()
        documents, names = class_folders.find_labeled_files(folder, self.file_suffixes)
        words = [found.parent.name for found, _ in documents]
        names, documents, labels = class_folders.restore_class_order(fitted, names, documents, words)
        texts = [text_file.read(found, "data.path", encoding) for found, _ in documents]
        empty = next((found for (found, _), words in zip(documents, texts, strict=True) if not words.split()), None)
        if empty is not None:
            raise ConfigError(f"data.path: {empty.absolute()} is empty")
        given = torch.tensor([split for _, split in documents])
        keys = class_folders.file_keys(folder, documents)
        rows = fitted.split_rows(keys, lambda: class_folders.split_every_class(given, labels, names, val, test, seed))
        learn = partial(
            tokenizers.fit_tokenizer,
            tokens,
            limit=vocab_limit,
            min_count=min_count,
            lowercase=lowercase,
            tokenizer=tokenizer,
            most=max_length,
            keep=keep,
        )
        self.set_splits(texts, labels, rows, names, learn, _truncation_slice(keep, max_length))
