"""Document classification."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.core.class_sizes import class_sizes
from trainer.core.dataset_info import DatasetInfo, TextInfo
from trainer.core.preprocessing import Preprocessing
from trainer.core.tokenizer import Tokenizer
from trainer.core.types import DataPath, Fraction, NonNegativeInt, PositiveInt
from trainer.data.encoding import labeled_documents, text_rows, tokenizers
from trainer.data.encoding.text_dataset import TextDataset
from trainer.data.encoding.text_rows import EncodedRow, TextRow
from trainer.data.encoding.unknown_tokens import warn_about_unknown_tokens
from trainer.data.readers import class_folders, download
from trainer.data.reference import baselines
from trainer.data.splits.ragged import Ragged, RaggedSplit
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import join_names

SOURCE = download.Source(
    "review_polarity.tar.gz",
    "fc0dccc2671af5db3c5d8f81f77a1ebfec953ecdd422334062df61ede36b2179",
    "https://raw.githubusercontent.com/jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f/review_polarity.tar.gz",
)
REVIEW_PATTERN = re.compile(r"txt_sentoken/(neg|pos)/cv(\d)\d\d_\d+\.txt")
"""File name of a review: its class and, as first digit of its number, its fold."""
NUM_REVIEWS = 2000
FILE_SUFFIX = ".txt"
VAL_FOLD, TEST_FOLD = 8, 9
TOKENIZER_OPTIONS = ("tokens", "tokenizer", "vocab_limit", "min_count", "max_length", "keep")
"""Options that a fitted tokenizer depends on."""


class _DocumentDataset(TextDataset):
    """Base class for documents as variable-length token sequences; the vocabulary is fitted on the training split."""

    counted_values = MappingProxyType({"vocab_size": "tokenizer"})

    def set_splits(
        self,
        texts: Sequence[str],
        labels: Tensor,
        rows: Sequence[Tensor],
        class_names: Sequence[str],
        fit_tokenizer: Callable[[Sequence[str]], Tokenizer],
        token_slice: slice,
    ) -> None:
        """Set splits and info.

        Args:
            texts: Documents.
            labels: Class of each document, (N,).
            rows: Document indices of each split.
            class_names: Names of the classes.
            fit_tokenizer: Function that fits a tokenizer on training texts.
            token_slice: Slice of the tokens of a document that is used.
        """
        assert self.fitted is not None
        text_tokenizer = tokenizers.tokenizer_from_state(
            self.fitted.get_or_fit(
                "tokenizer", lambda: fit_tokenizer([texts[row] for row in rows[0].tolist()]).state_dict()
            )
        )
        encoded = Ragged.from_rows(text_tokenizer.encode(document)[token_slice] for document in texts)
        parts = [encoded.select_rows(part) for part in rows]
        warn_about_unknown_tokens(text_tokenizer, "data", {"training": parts[0].values, "test": parts[2].values})
        self.train, self.val, self.test = (
            RaggedSplit({"x": x}, labels[row]) for x, row in zip(parts, rows, strict=True)
        )
        num_classes = len(class_names)
        self.info = DatasetInfo(
            sizes={
                "vocab_size": text_tokenizer.vocab_size,
                "seq_len": int(encoded.lengths.max()),
                **class_sizes(num_classes),
            },
            baseline=baselines.majority_class(self.train, self.test, num_classes),
            class_names=class_names,
            text=TextInfo(tokenizer=text_tokenizer),
        )

    def make_row_encoder(self, tokenizer: Tokenizer) -> Callable[[TextRow], EncodedRow]:
        class_names = list(self.info.class_names)
        token_slice = _truncation_slice(self.options["keep"], self.options["max_length"])

        def encode(row: TextRow) -> EncodedRow:
            text_rows.check_length(row.text.strip(), row.location)
            target = None if row.target is None else _find_class(row.target.strip(), class_names, row.location)
            return EncodedRow(row.name, tokenizer.encode(row.text)[token_slice], target)

        return encode

    def describe_encoding(self) -> dict[str, Any]:
        state = self.restore_tokenizer().state_dict()
        if state["kind"] == "pretrained":  # needs the package transformers
            return {}
        token_slice = _truncation_slice(self.options["keep"], self.options["max_length"])
        return {
            "program": "texts",
            "tokenizer": state,
            "token_slice": [token_slice.start, token_slice.stop],
            "suffix": FILE_SUFFIX,
            "text_encoding": self.options.get("encoding", "utf-8"),
        }

    def read_rows(self, path: str, with_targets: bool) -> tuple[str, Iterable[TextRow | DataError]]:
        """Return the documents of a folder, named by their file and labeled by its folder, or the lines of a file.

        Args:
            path: Folder of documents, which may be nested, or a file with one document per line.
            with_targets: Read the classes too.
        """
        if not Path(path).expanduser().is_dir():
            return super().read_rows(path, with_targets)
        return "file", text_rows.read_folder(path, FILE_SUFFIX, self.options.get("encoding", "utf-8"), with_targets)


def _find_class(name: str, class_names: Sequence[str], location: str) -> int:
    if name not in class_names:
        suggestion = did_you_mean(name, class_names) or f"; its classes: {join_names(class_names)}"
        raise DataError(f"{location}: this run has no class {name!r}{suggestion}")
    return class_names.index(name)


class ReviewPolarity(_DocumentDataset):
    """Sentiment classification of 1000 positive and 1000 negative movie reviews.

    Of the ten published folds (by the number in the file name), 0 to 7 are for training, 8 for validation, 9 for test.

    Args:
        tokens: Type of the tokenizer.
        tokenizer: Name or directory of a saved model, for ``tokens=pretrained``.
        vocab_limit: Maximum vocabulary size; None for no limit.
        min_count: Minimum frequency of a word in the training reviews.
        max_length: Maximum length in tokens; None for no limit.
        keep: End of a review that truncation keeps.
        data_dir: Parent directory of ``review_polarity/``; None for the default data directory.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: The archive does not contain these reviews.

    References:
        Pang and Lee 2004, A Sentimental Education: Sentiment Analysis Using Subjectivity Summarization Based on Minimum
            Cuts, ACL.
    """

    shapes = "x (B, S), lengths (B) -> (B)"

    reusable_values = MappingProxyType({"tokenizer": TOKENIZER_OPTIONS})

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
        self.options = {"max_length": max_length, "keep": keep}
        classes_and_folds, texts = read_reviews(
            download.fetch_files("review_polarity", [SOURCE], data_dir) / SOURCE.path
        )
        fold = torch.tensor([int(number) for _, number in classes_and_folds])
        is_val, is_test = fold == VAL_FOLD, fold == TEST_FOLD
        self.set_splits(
            texts,
            torch.tensor([kind == "pos" for kind, _ in classes_and_folds]).long(),
            [part.nonzero().squeeze(1) for part in (~is_val & ~is_test, is_val, is_test)],
            ("neg", "pos"),
            partial(
                tokenizers.fit_tokenizer,
                tokens,
                limit=vocab_limit,
                min_count=min_count,
                tokenizer=tokenizer,
                max_length=max_length,
                keep=keep,
            ),
            _truncation_slice(keep, max_length),
        )


def read_reviews(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Read class and fold of each review and its text, sorted by file name, without writing to disk.

    Raises:
        DataError: The archive is corrupt or does not contain the expected reviews as regular files.
    """
    reviews = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                match = REVIEW_PATTERN.fullmatch(member.name)
                file = archive.extractfile(member) if match and member.isreg() else None
                if match and file:
                    reviews[member.name] = (match[1], match[2]), file.read().decode()
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"data review_polarity: {path} is not a valid archive of texts: {error}") from error
    if len(reviews) != NUM_REVIEWS:
        raise DataError(f"data review_polarity: {path} holds {len(reviews)} reviews instead of {NUM_REVIEWS}")
    names, texts = zip(*(reviews[name] for name in sorted(reviews)), strict=True)
    return list(names), list(texts)


def _truncation_slice(keep: Literal["first", "last"], max_length: int | None) -> slice:
    """Return a slice of at most ``max_length`` tokens at one end of a row."""
    return slice(-max_length, None) if keep == "last" and max_length is not None else slice(max_length)


class TextFolder(_DocumentDataset):
    """Document classification from text files in class folders, or from the lines of one file.

    Documents are in ``CLASS/*.txt``, with stratified random splits; or in ``train/CLASS`` and ``val/CLASS``,
    ``test/CLASS`` or both, where a missing split is taken from the training documents. Each line of a file has a
    document, a tab and its class.

    Args:
        path: Directory of the class folders, or the file.
        encoding: Character encoding of the documents.
        tokens: Type of the tokenizer.
        tokenizer: Name or directory of a saved model, for ``tokens=pretrained``.
        vocab_limit: Maximum vocabulary size; None for no limit.
        min_count: Minimum frequency of a word in the training documents.
        lowercase: Convert the text to lower case.
        max_length: Maximum length in tokens; None for no limit.
        keep: End of a document that truncation keeps.
        val: Fraction of the documents for validation, without a directory ``val``.
        test: Fraction of the documents for test, without a directory ``test``.
        seed: Random seed of the split.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: The path is missing or has another layout, a document is not text or empty, or a class has no
            document in some split.
    """

    shapes = "x (B, S), lengths (B) -> (B)"

    file_suffixes = (FILE_SUFFIX,)
    reusable_values = MappingProxyType({"tokenizer": (*TOKENIZER_OPTIONS, "lowercase")})

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
        self.options = {"encoding": encoding, "max_length": max_length, "keep": keep}
        texts, labels, names, splits, keys = labeled_documents.read_documents(
            Path(path).expanduser(), self.file_suffixes, encoding, fitted
        )
        rows = fitted.split_rows(keys, lambda: class_folders.split_every_class(splits, labels, names, val, test, seed))
        fit_tokenizer = partial(
            tokenizers.fit_tokenizer,
            tokens,
            limit=vocab_limit,
            min_count=min_count,
            lowercase=lowercase,
            tokenizer=tokenizer,
            max_length=max_length,
            keep=keep,
        )
        self.set_splits(texts, labels, rows, names, fit_tokenizer, _truncation_slice(keep, max_length))
