"""Contents of the page of a run."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.analysis.run_record import RunRecord
from trainer.inference.classical_scores import SavedScores, read_scores
from trainer.report import commands
from trainer.report.config_table import list_config
from trainer.report.embedded_images import embed_images
from trainer.report.ensemble_section import make_ensemble_section
from trainer.report.findings import list_findings
from trainer.report.line_chart import draw_chart
from trainer.report.score_rows import describe_classical, is_number, list_scores, write_verdict
from trainer.report.training_charts import make_chart_sets
from trainer.utils.text import escape_control_chars

MAX_TABLE_ROWS = 50
"""Rows of a table of the run that the page shows."""
IMAGE_SUFFIX, TABLE_SUFFIX = ".png", ".csv"
DESCRIPTIONS: Mapping[str, str] = {
    "confusion": "Confusion matrix: rows are true classes, columns predicted ones",
    "mistakes": "Test rows that were predicted wrongly with the highest confidence",
    "saliency": "Input pixels that the prediction depends on most",
    "predictions": "Predicted against true values; residuals, and their quantiles against normal ones",
    "calibration": "Reliability diagram: accuracy of predictions against their confidence, and how many have it",
    "roc": "True positive rate against false positive rate",
    "forecasts": "Forecasts with the true continuation",
    "samples": "Samples of the model",
    "progress": "Samples during training",
    "interpolations": "Samples between pairs of test rows",
    "overlays": "Predicted and true regions over the test images",
    "graph": "Predictions on the graph",
    "reconstructions": "Test rows and their reconstructions",
}
"""Descriptions of figures by the name of their file; others are named by it."""


@dataclass(frozen=True)
class DataTable:
    """A table of the run.

    Args:
        name: File name.
        columns: Names of the columns.
        rows: Cells of the first rows.
        num_rows: Number of rows in the file.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_rows: int


def make_run_page(record: RunRecord, classical: SavedScores | None = None) -> dict[str, Any]:
    """Return the contents of the page of a run, for its template.

    Args:
        record: Records of the run.
        classical: Scores of a classical model on its data; None for those that are saved in its directory, if any.
    """
    results = record.results
    classical = classical or read_scores(record.path, results)
    names = [str(name) for name in results.get("artifacts") or [] if Path(str(name)).name == str(name)]
    paths = [record.path / name for name in names if name.endswith(IMAGE_SUFFIX)]
    tables = [record.path / name for name in names if name.endswith(TABLE_SUFFIX)]
    images, image_problems = embed_images(paths)
    config = list_config(record)
    working_dir = commands.find_working_dir(results)
    return {
        "title": _make_title(record),
        "path": escape_control_chars(str(record.path), one_line=True),
        "status": record.status,
        "reason": results.get("reason"),
        "verdict": write_verdict(record),
        "scores": list_scores(results, classical),
        "classical": None if classical is None else classical.model,
        "classical_note": describe_classical(classical),
        "ensemble": make_ensemble_section(record),
        "findings": list_findings(record),
        "why_command": commands.format_run_command("why", record.path, working_dir),
        "chart_sets": [
            (charts.key, charts.label, [(chart, draw_chart(chart)) for chart in charts.charts])
            for charts in make_chart_sets(record)
        ],
        "history": _make_history_table(record),
        "images": [(image, _describe_image(image.name)) for image in images],
        "image_problems": image_problems,
        "tables": [table for table in map(read_table, tables) if table is not None],
        "changed": [row for row in config if row.is_changed],
        "config": config,
        "environment": list_environment(results),
        "working_dir": escape_control_chars(str(working_dir), one_line=True),
        "commands": commands.list_commands(record, working_dir),
    }


def _make_title(record: RunRecord) -> str:
    return f"{record.results.get('model', '?')} on {record.results.get('data', '?')}"


def _make_history_table(record: RunRecord) -> DataTable | None:
    if not record.history:
        return None
    columns = [*record.history[0]]
    rows = record.history
    step = max(1, math.ceil(len(rows) / MAX_TABLE_ROWS))
    chosen = [*rows[::step], *([rows[-1]] if (len(rows) - 1) % step else [])]
    cells = [[_format_cell(row.get(column, math.nan)) for column in columns] for row in chosen]
    return DataTable("metrics.csv", columns, cells, len(rows))


def _format_cell(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) and value == int(value) and abs(value) < 1e9 else f"{value:.4g}"


def read_table(path: Path) -> DataTable | None:
    """Return the first rows of a table of the run; None if it cannot be read."""
    try:
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            rows = [*csv.reader(file)]
    except (OSError, csv.Error):
        return None
    return DataTable(path.name, rows[0], rows[1 : 1 + MAX_TABLE_ROWS], len(rows) - 1) if rows else None


def _describe_image(name: str) -> str:
    stem = Path(name).stem
    return DESCRIPTIONS.get(stem, stem.replace("_", " "))


def list_environment(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the run was trained with: device, versions, code."""
    git, seconds = results.get("git"), results.get("seconds")
    code = ", ".join(f"{key} {value}" for key, value in git.items()) if isinstance(git, Mapping) else str(git or "")
    rows = [
        ("parameters", f"{results['params']:,}" if isinstance(results.get("params"), int) else ""),
        ("steps", str(results.get("steps", ""))),
        ("time of training", f"{seconds:.1f} s" if is_number(seconds) else ""),
        ("device", str(results.get("device", ""))),
        ("CPU threads", str(results.get("threads", ""))),
        ("seed", str(results.get("seed", ""))),
        ("data digest", str(results.get("data_digest") or "")),
        *((f"version of {name}", str(version)) for name, version in (results.get("versions") or {}).items()),
        ("code", code),
    ]
    return [(name, escape_control_chars(text, one_line=True)) for name, text in rows if text not in ("", "None")]
