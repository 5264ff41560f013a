"""Log filter, in its own module so that commands which log nothing do not import ``logging``."""

from __future__ import annotations

import logging

from trainer.utils.text import escape_control_chars


class PrintableFilter(logging.Filter):
    """Filter that escapes control characters in log messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = escape_control_chars(record.getMessage()), ()
        return True
