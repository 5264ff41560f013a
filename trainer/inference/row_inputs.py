"""Rows that a model is applied to from Python: the path of a file or folder, or objects in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.config.introspection import Parameter
from trainer.core.dataset import Dataset
from trainer.core.split import Split
from trainer.engine.config_errors import explain_errors
from trainer.inference import method_options


def find_options(config: Mapping[str, Any], rows: Any) -> tuple[dict[str, Parameter], dict[str, Parameter]]:
    """Return the options with which rows are read or encoded, and those with which a file is read.

    Args:
        config: The configuration tree of the run.
        rows: Path, or rows in memory.
    """
    target = config["data"]["_target_"]
    file_options = method_options.find_read_options(target)
    return (file_options if _is_read(config, rows) else method_options.find_row_options(target)), file_options


def iter_splits(config: Mapping[str, Any], data: Dataset, rows: Any, options: Mapping[str, Any]) -> Iterator[Split]:
    """Yield the chunks of a file, or rows in memory, encoded like the training rows.

    Args:
        config: The configuration tree of the run.
        data: Data set of the run.
        rows: Path, or rows in memory; None for data sets that make them up, such as candidates of new links.
        options: Options from ``find_options``.

    Raises:
        ConfigError: The rows cannot be read or encoded.
    """
    # ``rows`` is the argument of ``encode_rows`` here, though a data set may have an option of that name.
    data_options = {key: value for key, value in config["data"].items() if key != "rows"}
    with explain_errors({**config, "data": data_options}, "data"):
        if not _is_read(config, rows):
            yield data.encode_rows(rows, **options)
        elif rows is None:
            yield from data.read_chunks(**options)
        else:
            yield from data.read_chunks(os.fspath(rows), **options)


def _is_read(config: Mapping[str, Any], rows: Any) -> bool:
    """Return whether rows are read by ``read_chunks`` rather than encoded by ``encode_rows``."""
    return isinstance(rows, str | os.PathLike) or (
        rows is None and method_options.reads_without_file(config["data"]["_target_"])
    )
