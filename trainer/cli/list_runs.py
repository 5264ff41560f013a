"""The command ``train list runs``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.utils.errors import ConfigError

if TYPE_CHECKING:
    from trainer.analysis.run_record import RunRecord

COLUMNS = ("RUN", "STATUS", "MODEL", "DATA", "SCORE", "TIME", "TAGS")


def list_runs(arguments: Sequence[str]) -> int:
    """Run ``train list runs [DIR] [where=CONDITION] [sort=KEY] [output=FILE]``.

    Args:
        arguments: Words after ``train list runs``.

    Raises:
        ConfigError: There are several directories, one does not exist, or a condition or key is invalid.
    """
    from trainer.analysis import list_runs as listing
    from trainer.analysis.run_record import find_records
    from trainer.cli import verb_args
    from trainer.cli.text_columns import print_text
    from trainer.runs.run_dir import RUNS_ROOT
    from trainer.utils.paths import describe_missing_path, is_path_argument
    from trainer.utils.text import format_count

    folders = [word for word in arguments if is_path_argument(word)]
    options = verb_args.parse_verb_args(
        "list",
        [word for word in arguments if word not in folders],
        verb_args.make_parameters("list", {"where": str, "sort": str, "output": str}),
    )
    if len(folders) > 1:
        raise ConfigError('train list runs takes one directory; conditions are: where="data=mnist and accuracy>0.98"')
    root = Path(folders[0] if folders else RUNS_ROOT)
    if not root.is_dir():
        raise ConfigError(f"train list runs: {describe_missing_path(root)}")
    records = find_records(root)
    selected = listing.select_runs(records, options.get("where"), options.get("sort"))
    if "output" in options:
        listing.write_file(selected, Path(options["output"]))
        print_text(f"{format_count(len(selected), 'run')} in {options['output']}")
        return 0
    _print_runs(selected)
    if not selected:
        print_text(f"no runs in {root}" if not records else f"none of {format_count(len(records), 'run')} in {root}")
    return 0


def _print_runs(records: Sequence[RunRecord]) -> None:
    """Print a table of runs; to a file or pipe, one line for each with tabs between the cells."""
    from trainer.cli.text_columns import print_table
    from trainer.utils.text import escape_control_chars

    rows = [COLUMNS, *(_make_row(record) for record in records)]
    if not records:
        return
    if sys.stdout.isatty():
        print_table(rows)
        return
    for row in rows:
        print("\t".join(escape_control_chars(cell, one_line=True) for cell in row))


def _make_row(record: RunRecord) -> tuple[str, ...]:
    values = record.results
    seconds = float(values.get("seconds") or 0.0)
    return (
        str(record.path),
        f"{record.status} (debug={values['debug']})" if values.get("debug") else record.status,
        str(values["model"]),
        str(values["data"]),
        _format_score(record),
        f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min",
        " ".join(record.tags),
    )


def _format_score(record: RunRecord) -> str:
    """Return the monitored test score, or with a mark that of the validation rows."""
    for group, mark in (("test", ""), ("val", " (val)")):
        score = record.results.get(group, {}).get(record.monitor)
        if isinstance(score, int | float) and not math.isnan(score):
            return f"{record.monitor} {score:.4g}{mark}"
    return ""
