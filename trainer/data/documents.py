"""Documents and their classes."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from trainer.data.base import Codec, Data, Facts
from trainer.data.parts import baselines, files, plain, text
from trainer.data.parts.ragged import Ragged, RaggedSplit
from trainer.data.parts.splits import cut, stratified
from trainer.errors import ConfigError
from trainer.types import Fraction, NonNegativeInt, PositiveInt

SOURCE = files.Source(
    "review_polarity.tar.gz",
    "fc0dccc2671af5db3c5d8f81f77a1ebfec953ecdd422334062df61ede36b2179",
    "https://raw.githubusercontent.com/jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f/review_polarity.tar.gz",
)
REVIEW = re.compile(r"txt_sentoken/(neg|pos)/cv(\d)\d\d_\d+\.txt")
"""A review's name: its class, and the first digit of its number, which is its fold."""
REVIEWS = 2000
VAL_FOLD, TEST_FOLD = 8, 9
SPLITS = ("train", "val", "test")


class _Documents(Data):
    """Texts as rows of unequal length. The vocabulary is that of the training rows."""

    def set(
        self,
        texts: Sequence[str],
        labels: Tensor,
        rows: Sequence[Tensor],
        class_names: Sequence[str],
        learn: Callable[[Sequence[str]], Codec],
        kept: slice,
    ) -> None:
        """Splits and facts. labels: (N,); rows: those of each split; kept: which tokens of a document are."""
        codec = learn([texts[row] for row in rows[0].tolist()])
        encoded = Ragged.of(codec.encode(document)[kept] for document in texts)
        self.train, self.val, self.test = (RaggedSplit({"x": encoded.rows(part)}, labels[part]) for part in rows)
        count = len(class_names)
        self.facts = Facts(
            sizes={
                "vocab_size": codec.size,
                "seq_len": int(encoded.lengths.max()),
                "num_classes": count,
                "out_features": 1 if count == 2 else count,
            },
            baseline=baselines.majority(self.train, self.test, count),
            class_names=class_names,
            codec=codec,
        )


class ReviewPolarity(_Documents):
    """x (B, S), lengths (B) -> (B)

    Pang and Lee 2004: 1000 reviews of films that praise them and 1000 that do not. Of the ten folds their authors made
    (by the number in the name), 0 to 7 train, 8 validates and 9 tests.

    Raises ConfigError for an archive that holds anything else.
    """

    def __init__(
        self,
        tokens: Literal["characters", "words", "bytepair", "pretrained"],
        tokenizer: str | None,
        vocab_limit: PositiveInt | None,
        min_count: PositiveInt,
        max_length: PositiveInt | None,
        keep: Literal["first", "last"],
        data_dir: str | None,
    ):
        names, texts = read_reviews(files.fetch("review_polarity", [SOURCE], data_dir) / SOURCE.path)
        fold = torch.tensor([int(number) for _, number in names])
        validates, tests = fold == VAL_FOLD, fold == TEST_FOLD
        self.set(
            texts,
            torch.tensor([kind == "pos" for kind, _ in names]).long(),
            [part.nonzero().squeeze(1) for part in (~validates & ~tests, validates, tests)],
            ("neg", "pos"),
            partial(text.learn, tokens, tokenizer=tokenizer, limit=vocab_limit, min_count=min_count),
            _end(keep, max_length),
        )


def read_reviews(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Class and fold of each review, in order of their names, and the reviews; nothing is written to disk.

    Raises ConfigError for a broken archive, and for one that has not the reviews expected, as regular files.
    """
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                named = REVIEW.fullmatch(member.name)
                file = archive.extractfile(member) if named and member.isreg() else None
                if named and file:
                    found[member.name] = (named[1], named[2]), file.read().decode()
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"data review_polarity: {path} is no whole archive of texts: {error}") from error
    if len(found) != REVIEWS:
        raise ConfigError(f"data review_polarity: {path} holds {len(found)} reviews instead of {REVIEWS}")
    names, texts = zip(*(found[name] for name in sorted(found)), strict=True)
    return list(names), list(texts)


def _end(keep: Literal["first", "last"], most: int | None) -> slice:
    """The tokens at one end of a row, at most so many of them."""
    return slice(-most, None) if keep == "last" and most is not None else slice(most)


class TextFolder(_Documents):
    """x (B, S), lengths (B) -> (B)

    Documents of the user's in ``CLASS/*.txt``, every class split by the same shares; or in ``train/CLASS``,
    ``test/CLASS`` and perhaps ``val/CLASS``, which else is a share of the training documents.

    Raises ConfigError for a folder that is not there or laid out in another way, a document that is not text or has
    none, and a class without a document in each split.
    """

    def __init__(
        self,
        path: str,
        encoding: str,
        tokens: Literal["characters", "words", "bytepair", "pretrained"],
        tokenizer: str | None,
        vocab_limit: PositiveInt | None,
        min_count: PositiveInt,
        lowercase: bool,
        max_length: PositiveInt | None,
        keep: Literal["first", "last"],
        val: Fraction,
        test: Fraction,
        seed: NonNegativeInt,
    ):
        documents, names = find(Path(path).expanduser())
        labels = torch.tensor([names.index(found.parent.name) for found, _ in documents])
        group = torch.tensor([split for _, split in documents])
        texts = [plain.read(found, "data.path", encoding) for found, _ in documents]
        empty = next((found for (found, _), words in zip(documents, texts, strict=True) if not words.split()), None)
        if empty is not None:
            raise ConfigError(f"data.path: {empty.absolute()} is empty")
        rows = _shared_out(group, labels, val, test, seed)
        _refuse_thin(rows, labels, names)
        learn = partial(
            text.learn, tokens, tokenizer=tokenizer, limit=vocab_limit, min_count=min_count, lowercase=lowercase
        )
        self.set(texts, labels, rows, names, learn, _end(keep, max_length))


def find(folder: Path) -> tuple[list[tuple[Path, int]], list[str]]:
    """Documents, each with the split (0 to 2) that its folder says, in order of their names; and the classes.

    Raises ConfigError for a folder that is not there, has no classes, or tests others than it trains.
    """
    if not os.path.lexists(folder):
        raise files.missing(folder)
    if not folder.is_dir():
        raise ConfigError(f"data.path: {folder.absolute()} is a file; text_folder wants a folder with one a class")
    inside = _folders(folder)
    by_split = {"train", "test"} <= set(inside)
    parts = {place: inside[name] for place, name in enumerate(SPLITS) if name in inside} if by_split else {0: folder}
    classes = {place: _classes(part) for place, part in parts.items()}
    names = sorted(classes[0])
    for place, found in classes.items():
        if set(found) != set(names):
            raise ConfigError(
                f"data.path: {parts[place].absolute()} has the classes {plain.shown(found)};"
                f" {parts[0].absolute()} has {plain.shown(names)}"
            )
    return [(path, place) for place, found in classes.items() for name in names for path in found[name]], names


def _folders(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The documents of each class. Raises ConfigError for fewer than two classes, and one without documents."""
    found = {name: sorted(inside.glob("*.txt")) for name, inside in _folders(folder).items()}
    where = folder.absolute()
    if len(found) < 2:
        held = f"one class only, {next(iter(found))!r}" if found else "no folders of classes"
        raise ConfigError(f"data.path: {where} has {held}; text_folder wants CLASS/*.txt, at least two classes")
    bare = next((name for name, documents in found.items() if not documents), None)
    if bare is not None:
        others = sorted(path.name for path in (folder / bare).iterdir())
        raise ConfigError(f"data.path: {where / bare} has no .txt files ({plain.shown(others) or 'it is empty'})")
    return found


def _shared_out(group: Tensor, labels: Tensor, val: float, test: float, seed: int) -> list[Tensor]:
    """The rows of each split: those whose folder says so, and what is cut by share off the rest."""
    given = [(group == place).nonzero().squeeze(1) for place in range(len(SPLITS))]
    val, test = (0.0 if len(rows) else share for rows, share in zip(given[1:], (val, test), strict=True))
    cuts = cut({"row": given[0]}, None, stratified(labels[given[0]], seed), val, test)
    free = [part.inputs["row"] for part in cuts]
    return [free[0], *(mine if len(mine) else rest for mine, rest in zip(given[1:], free[1:], strict=True))]


def _refuse_thin(rows: Sequence[Tensor], labels: Tensor, names: Sequence[str]) -> None:
    counts = torch.stack([labels[part].bincount(minlength=len(names)) for part in rows])
    lacking = (counts == 0).nonzero().tolist()
    if lacking:
        split, which = lacking[0]
        raise ConfigError(
            f"data.path: class {names[which]!r} has {int(counts[:, which].sum())} documents, none of them in the"
            f" {SPLITS[split]} split: every class needs one in each, by data.val and data.test"
        )
