"""Base class of data sets whose inputs are texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.split import Split
from trainer.core.tokenizer import Tokenizer
from trainer.data.encoding import text_rows, tokenizers
from trainer.data.encoding.text_rows import EncodedRow, TextRow
from trainer.data.readers.skipped_rows import OnError
from trainer.data.splits.ragged import Ragged, RaggedSplit
from trainer.utils.errors import DataError


class TextDataset(Dataset):
    """Base class of data sets that encode texts with a stored tokenizer."""

    def restore_tokenizer(self, name: str = "tokenizer") -> Tokenizer:
        """Return a fitted tokenizer.

        Args:
            name: Name of the fitted value.
        """
        assert self.fitted is not None
        return tokenizers.tokenizer_from_state(self.fitted.get(name))

    def complete_info(self, info: DatasetInfo) -> DatasetInfo:
        return replace(info, text=replace(info.text, tokenizer=self.restore_tokenizer()))

    @abstractmethod
    def make_row_encoder(self, tokenizer: Tokenizer) -> Callable[[TextRow], EncodedRow]:
        """Return a function that encodes a text, and raises a DataError that begins with its location.

        Args:
            tokenizer: Tokenizer of the inputs.
        """

    def read_rows(self, path: str, with_targets: bool) -> tuple[str, Iterable[TextRow | DataError]]:
        """Return the title of the column of row names, and the texts of a file.

        Args:
            path: File with one text per line.
            with_targets: Read the second column too.
        """
        lines = text_rows.read_lines(path, self.options.get("encoding", "utf-8"))
        return "line", text_rows.split_columns(lines, with_targets)

    def read_chunks(
        self, path: str, with_targets: bool = False, on_error: Literal["error", "skip"] = "error"
    ) -> Iterator[Split]:
        """Read the lines of a text file; if its first line has a tab, it has two columns, input and target.

        Args:
            path: File with one text per line.
            with_targets: Read the targets too.
            on_error: Refuse a text that is empty, too long or unreadable, or skip it.
        """
        title, rows = self.read_rows(path, with_targets)
        return self.encode_chunks(rows, title, on_error)

    def encode_rows(self, rows: Any) -> RaggedSplit:
        """Encode a list of texts.

        Args:
            rows: List of texts.
        """
        (split,) = self.encode_chunks(text_rows.list_texts(rows), None)
        return split

    def row_schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}

    def encode_chunks(
        self, rows: Iterable[TextRow | DataError], title: str | None, on_error: OnError = "error"
    ) -> Iterator[RaggedSplit]:
        """Encode rows in chunks that fit in memory.

        Args:
            rows: Texts, and errors in the place of unreadable ones.
            title: Title of the column of their names; None for texts in memory, which are one chunk.
            on_error: Raise the error of a row, or skip the row.
        """
        tokenizer = self.restore_tokenizer()
        encode = self.make_row_encoder(tokenizer)
        source, chunk_rows = ("rows", None) if title is None else ("input", text_rows.CHUNK_ROWS)
        chunks = text_rows.encode_chunks(rows, encode, tokenizer, source, on_error, chunk_rows)
        return (to_split(chunk, title) for chunk in chunks)


def to_split(chunk: Sequence[EncodedRow], title: str | None) -> RaggedSplit:
    """Return encoded rows as a split.

    Args:
        chunk: Rows, all with classes, all with target tokens, or all without a target.
        title: Title of the column of names; None numbers the rows.
    """
    targets = [row.target for row in chunk]
    target: Ragged | Tensor | None = None
    if isinstance(targets[0], int):
        target = torch.tensor(targets)
    elif targets[0] is not None:
        target = Ragged.from_rows(targets)
    row_names = None if title is None else (title, [row.name for row in chunk])
    return RaggedSplit({"x": Ragged.from_rows(row.tokens for row in chunk)}, target, row_names)
