"""The log file of a run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from trainer.runs.run_dir import LOG_FILE
from trainer.utils import atomic_write
from trainer.utils.log_filter import PrintableFilter

_open_runs: ContextVar[tuple[Path, ...]] = ContextVar("open_runs", default=())
"""Directories of the run that executes in this context, and of those that it is nested in."""


class OwnRunFilter(logging.Filter):
    """Log filter that accepts the records of the run that has made it, and of threads, but of no other open run."""

    def __init__(self) -> None:
        super().__init__()
        self._runs = _open_runs.get()

    def filter(self, record: logging.LogRecord) -> bool:
        current, depth = _open_runs.get(), len(self._runs)
        # Each record meets the filters of all runs that are trained together: identity is enough, and cheaper.
        return not current or not depth or (len(current) >= depth and current[depth - 1] is self._runs[-1])


class RunLogHandler(logging.FileHandler):
    """Handler of a run's log file that raises SystemFault where a line cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise atomic_write.make_write_error(Path(self.baseFilename), error) from error
        super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):  # an earlier write error has already been raised
            super().close()


class _RewritingFormatter(logging.Formatter):
    """Log formatter that applies a function to each line, tracebacks included."""

    def __init__(self, change: Callable[[str], str]):
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._change = change

    def format(self, record: logging.LogRecord) -> str:
        return self._change(super().format(record))


@contextmanager
def log_to_file(path: Path, change: Callable[[str], str] = str) -> Iterator[None]:
    """Write the log of the package to the log file of a run within the block.

    Args:
        path: The run directory.
        change: Applied to each line, such as to mask secrets.

    Raises:
        SystemFault: The file is not writable.
    """
    with atomic_write.catch_write_errors(path / LOG_FILE):
        handler = RunLogHandler(path / LOG_FILE, encoding="utf-8")
    token = _open_runs.set((*_open_runs.get(), path))
    handler.addFilter(OwnRunFilter())
    handler.addFilter(PrintableFilter())
    handler.setFormatter(_RewritingFormatter(change))
    logger = logging.getLogger("trainer")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        _open_runs.reset(token)
        logger.removeHandler(handler)
        handler.close()
