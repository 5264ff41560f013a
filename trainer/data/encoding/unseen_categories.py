"""Categories that no training row has."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from trainer.data.encoding.column_encoding import Column
from trainer.data.readers.table import Table
from trainer.utils.text import format_count, join_names

MAX_NAMES = 1000
"""Maximum number of distinct categories that are counted, because a column of identifiers may have millions."""
NAMES_IN_MESSAGE = 5
log = logging.getLogger(__name__)


class UnseenCategories:
    """Categories of a column that no training row has, collected over the chunks of a table.

    Args:
        column: Encoding of the column.
    """

    def __init__(self, column: Column):
        self._column = column
        self._train_categories = set(column["categories"])
        self._names: set[str] = set()
        self._num_rows = 0

    def add(self, texts: Iterable[str]) -> None:
        """Add the texts of the rows of a chunk, of which only unseen ones count."""
        unseen = [text for text in texts if text not in self._train_categories]
        self._num_rows += len(unseen)
        if unseen and len(self._names) < MAX_NAMES:
            self._names.update(text or "missing value" for text in set(unseen))

    def log(self, table: Table, level: int = logging.WARNING) -> None:
        """Log the names of the first categories and the number of rows, if there are any.

        Args:
            table: A chunk of the table, for its path.
            level: Level of the message.
        """
        if not self._names:
            return
        are_unseen = "are rare or new, and count as other" if self._column["other"] else "no training row has"
        names = join_names(sorted(self._names)[:NAMES_IN_MESSAGE])
        remaining = len(self._names) - NAMES_IN_MESSAGE
        more = f" and {remaining:,}{' or' * (len(self._names) >= MAX_NAMES)} more" if remaining > 0 else ""
        text = "%s: categories in column %r that %s: %s%s (%s)"
        count = format_count(self._num_rows, "row")
        log.log(level, text, table.path, self._column["name"], are_unseen, names, more, count)
