"""Parts of a model card about the rows that a model takes: what it refuses, and commands and code with its columns."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from trainer.core.dataset import Dataset
from trainer.inference import method_options
from trainer.inference.trained_model import TrainedModel
from trainer.utils.csv_lines import make_csv_writer
from trainer.utils.text import escape_markdown, join_names

FOLDER = "hub"
"""Name of the folder in the examples."""
MAX_EXAMPLES = 3


def describe_inputs(model: TrainedModel) -> list[str]:
    """Return sentences about the inputs that are refused, and about code that is needed.

    Args:
        model: The model.
    """
    columns, plugins = _get_columns(model), model.config.settings.plugins
    lines = [f"It needs classes of the modules {join_names(plugins)}, which are not part of the files."] * bool(plugins)
    if not columns:
        lines.append("Inputs of another kind or size than those of training are refused with the reason.")
        return lines if _reads_files(model) else [*lines, "Only the rows of the data set itself can be predicted."]
    required = join_names(map(escape_markdown, columns))
    lines.append(f"These columns are required, and further ones are ignored: {required}. A missing one is refused.")
    numbers = [name for name, cell in columns.items() if "examples" not in cell]
    lines += ["A cell of a number that cannot be read is refused with its row and column."] * bool(numbers)
    categories = [
        escape_markdown(f"{name} ({join_names(map(str, cell['examples']), MAX_EXAMPLES)})")
        for name, cell in columns.items()
        if "examples" in cell
    ]
    if categories:
        names = join_names(categories)
        lines.append(f"Categories that training did not have are counted, named and encoded as unknown: {names}.")
    return lines


def describe_use(model: TrainedModel) -> list[str]:
    """Return commands and code that use a model, with its own columns.

    Args:
        model: The model.
    """
    methods = method_options.read_methods(model.config.tree["task"]["_target_"])
    plugins = model.config.settings.plugins
    commands, code = [], []
    rows, has_file = _make_rows(model), _reads_files(model)
    input_word = " input=rows.csv" if rows else " input=PATH" if has_file else ""
    if "predict" in methods:
        commands.append(f"train predict {FOLDER}{input_word}")
        if rows or has_file:
            method = "predict" if model.data.has_independent_rows else "forecast"
            code.append(f"predictions = model.{method}({rows or repr('PATH')})")
    if "sample" in methods:
        commands.append(f"train sample {FOLDER}")
        code.append("samples = model.sample()")
    if "score_rows" in methods:
        commands.append(f"train score {FOLDER}{input_word}")
    commands.append(f"train export {FOLDER} format=torch_export")
    lines = _make_block([f"{command} plugins=[{','.join(plugins)}]" if plugins else command for command in commands])
    lines += ["", "The file has these columns:", "", *_make_block(_make_file(model))] if rows else []
    code = code or ["network = model.task.model"]
    arguments = f'"{FOLDER}"' + (f", plugins={list(plugins)}" if plugins else "")
    return [*lines, "", *_make_block(["import trainer", "", f"model = trainer.load({arguments})", *code], "python")]


def _make_block(lines: list[str], language: str = "") -> list[str]:
    """Return a code block, whose fence is longer than any that the lines contain."""
    longest = max(map(len, re.findall("`+", "\n".join(lines))), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *lines, fence]


def _reads_files(model: TrainedModel) -> bool:
    kind = type(model.data)
    return kind.read is not Dataset.read or kind.read_chunks is not Dataset.read_chunks


def _get_columns(model: TrainedModel) -> Mapping[str, Any]:
    """Return the schema of the cell of each column; empty for rows that are no rows of a table, such as graphs."""
    columns: Mapping[str, Any] = model.data.row_schema().get("properties", {})
    return {} if any(cell.get("type") == "array" for cell in columns.values()) else columns


def _make_rows(model: TrainedModel) -> str:
    """Return Python code of a list with an example row; empty unless rows have columns and one is enough."""
    columns = _get_columns(model)
    return repr([_make_row(columns)]) if columns and model.data.has_independent_rows else ""


def _make_row(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with the first category of each column, and 0 for a number."""
    return {name: next(iter(cell.get("examples", ())), 0.0) for name, cell in columns.items()}


def _make_file(model: TrainedModel) -> list[str]:
    """Return the lines of a file with the columns of the model."""
    row = _make_row(_get_columns(model))
    stream = io.StringIO()
    make_csv_writer(stream).writerows([row, row.values()])
    return stream.getvalue().splitlines()
