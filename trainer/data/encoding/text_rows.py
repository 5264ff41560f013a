"""Encoding of texts for saved runs: the lines of a file or texts in memory, in chunks that fit in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trainer.core.tokenizer import Tokenizer
from trainer.data.encoding.unknown_tokens import UnknownTokenCounter
from trainer.data.readers import file_listing, text_file
from trainer.data.readers.skipped_rows import SKIP_HINT, OnError, SkippedRows
from trainer.utils.errors import DataError

CHUNK_ROWS = 10_000
"""Maximum number of rows of a chunk, which are sorted by length together."""
CHUNK_TOKENS = 1 << 22
"""Maximum number of tokens of a chunk, unless a single row has more."""
log = logging.getLogger(__name__)


class TextRow(NamedTuple):
    """A text with its origin.

    Attributes:
        name: Line number or file name.
        text: The text.
        location: Where it is, for messages.
        target: Class or target text; None if there is none.
    """

    name: int | str
    text: str
    location: str
    target: str | None = None


class EncodedRow(NamedTuple):
    """A text as tokens.

    Attributes:
        name: Line number or file name.
        tokens: Token ids.
        target: Class, or token ids of the target; None if there is none.
    """

    name: int | str
    tokens: Sequence[int]
    target: Any = None


def read_lines(path: str | Path, encoding: str) -> Iterator[TextRow]:
    """Yield the lines of a text file, numbered from 1.

    Args:
        path: File to read.
        encoding: Text encoding.

    Raises:
        DataError: The file is missing, not text or empty.
    """
    number = 0
    for number, line in enumerate(text_file.iter_lines(path, "input", encoding), 1):
        yield TextRow(number, line, f"{path}: line {number}")
    if not number:
        raise DataError(f"input: {Path(path).expanduser().absolute()} is empty")


def read_folder(path: str | Path, suffix: str, encoding: str, with_targets: bool) -> Iterator[TextRow | DataError]:
    """Yield the text files of a folder and its subfolders, by relative path; a DataError for one that is not text.

    Args:
        path: Folder.
        suffix: Suffix of the files, in lower case; others are ignored.
        encoding: Text encoding.
        with_targets: Use the name of the folder of each file as its target.

    Raises:
        DataError: The folder has no such file.
    """
    folder = text_file.check_folder(path, "give a folder of documents", "input")
    files = [*file_listing.list_files(folder, [suffix]), *file_listing.list_nested_files(folder, [suffix])]
    if not files:
        raise DataError(f"input: {folder.absolute()} has no {suffix} files")
    for name, file in sorted((file.relative_to(folder).as_posix(), file) for file in files):
        try:
            text = text_file.read(file, "input", encoding)
        except DataError as error:
            yield error
        else:
            yield TextRow(name, text, name, file.parent.name if with_targets else None)


def list_texts(texts: Any) -> list[TextRow]:
    """Return texts in memory as rows.

    Args:
        texts: Texts, such as a list or a one-dimensional array.

    Raises:
        DataError: They are not a list of texts, or there are none.
    """
    if isinstance(texts, str | bytes | Path | Mapping) or getattr(texts, "ndim", 1) != 1:
        raise DataError(f"rows: a {type(texts).__name__} given; give a list of texts")
    try:
        rows = list(texts)
    except TypeError:
        raise DataError(f"rows: a {type(texts).__name__} given; give a list of texts") from None
    invalid = next((row for row, text in enumerate(rows) if not isinstance(text, str)), None)
    if invalid is not None:
        raise DataError(f"rows: row {invalid + 1} is not a text but a {type(rows[invalid]).__name__}")
    if not rows:
        raise DataError("rows: there are none")
    return [TextRow(number, text, f"row {number}") for number, text in enumerate(rows, 1)]


def split_columns(rows: Iterable[TextRow], with_targets: bool) -> Iterator[TextRow | DataError]:
    """Split lines at their tab into text and target; yield a DataError for a line that has not one tab.

    Args:
        rows: Lines.
        with_targets: Whether every line must have a target; otherwise only if the first line has one, and targets are
            ignored.
    """
    has_two_columns = with_targets
    for number, row in enumerate(rows):
        text, *targets = row.text.split("\t")
        if number == 0 and len(targets) == 1:
            has_two_columns = True
        if not has_two_columns:
            yield row
        elif len(targets) != 1:
            yield DataError(
                f"{row.location} has {len(targets)} tabs; it must have one, between the text and its target"
            )
        else:
            yield row._replace(text=text, target=targets[0] if with_targets else None)


def encode_chunks(
    rows: Iterable[TextRow | DataError],
    encode: Callable[[TextRow], EncodedRow],
    tokenizer: Tokenizer,
    source: str,
    on_error: OnError = "error",
    chunk_rows: int | None = CHUNK_ROWS,
) -> Iterator[list[EncodedRow]]:
    """Encode rows chunk by chunk; unknown tokens and skipped rows are logged at the end.

    Args:
        rows: Rows, and errors in the place of rows that could not be read.
        encode: Function that encodes a row, and raises a DataError that begins with its location.
        tokenizer: Tokenizer of the texts.
        source: Argument that the rows are from, for messages.
        on_error: Raise the error of a row, or skip the row.
        chunk_rows: Maximum number of rows of a chunk; None for a single chunk.

    Raises:
        DataError: A row cannot be read or encoded, or all are skipped.
    """
    unknown, skipped = UnknownTokenCounter(tokenizer, source), SkippedRows()
    chunk: list[EncodedRow] = []
    num_tokens = num_rows = 0
    for row in rows:
        try:
            if isinstance(row, DataError):
                raise row
            encoded = encode(row)
        except DataError as error:
            problem = str(error).removeprefix(f"{source}: ")
            if on_error == "error":
                raise DataError(f"{source}: {problem}", *([SKIP_HINT] if source == "input" else [])) from None
            skipped.add(skipped.count, problem)
            continue
        unknown.update(row.text, encoded.tokens)
        num_rows += 1
        is_full = len(chunk) == chunk_rows or num_tokens + len(encoded.tokens) > CHUNK_TOKENS
        if chunk and chunk_rows is not None and is_full:
            yield chunk
            chunk, num_tokens = [], 0
        chunk.append(encoded)
        num_tokens += len(encoded.tokens)
    skipped.report(num_rows)
    unknown.log_warning()
    yield chunk


def check_length(text: str, location: str, max_length: int | None = None) -> None:
    """Check that a text is not empty and not too long.

    Args:
        text: The text, stripped of surrounding whitespace.
        location: Where it is, for messages.
        max_length: Maximum number of characters; None for no limit.

    Raises:
        DataError: It is empty or too long.
    """
    if not text:
        raise DataError(f"{location} is empty")
    if max_length is not None and len(text) > max_length:
        raise DataError(f"{location} has {len(text)} characters, more than data.max_length {max_length}")
