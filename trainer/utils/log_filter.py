"""A filter of log records, apart from other text so that a command that logs nothing does not load ``logging``."""

from __future__ import annotations

import logging

from trainer.utils.text import escape_control_chars


class PrintableFilter(logging.Filter):
    """Makes messages of a log printable."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = escape_control_chars(record.getMessage()), ()
        return True
