"""Export of a saved run: ``train export``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.config import introspection
from trainer.config.run_config import Config
from trainer.core.dataset import Dataset
from trainer.core.task import Task
from trainer.engine.config_errors import explain_errors
from trainer.export import checking
from trainer.export.exportable import Exportable, make_exportable
from trainer.export.formats import ExportFormat, import_formats
from trainer.export.preprocessing_file import describe_program
from trainer.export.standalone.program import PREPROCESSING
from trainer.export.tracing import find_refusal, silence_exporter, trace
from trainer.inference.load_run import load_run
from trainer.utils.atomic_write import catch_write_errors, create_directory
from trainer.utils.errors import ConfigError
from trainer.viz.console import print_line

DIRECTORY = "export"
"""Directory of an export within the run directory, unless ``output`` names another one."""


def export_run(config: Config, formats: Sequence[str], output: str | None, max_rows: int | None = None) -> Path:
    """Export the best weights of a saved run and check the files on its stored rows; return their directory.

    An earlier export in the directory is replaced once the new one has passed its checks.

    Args:
        config: Configuration of the run.
        formats: Names of the formats.
        output: Directory to write; None for ``export`` in the run directory.
        max_rows: Maximum number of rows of each split that a file contains; None for all that are stored.

    Raises:
        ConfigError: The model cannot be exported, or the directory has other files; the sentence says why.
        ExportError: An exported file computes something else than the model.
        SystemFault: The files cannot be written.
    """
    directory = Path(config.run_dir) / DIRECTORY if output is None else Path(output).expanduser()
    check_directory(directory)
    with catch_write_errors(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
    task, data = load_run(config, reads_files=False)
    with explain_errors(config.tree, "model"), create_directory(directory, replaces=True) as temporary:
        report = export_task(task, data, config.tree["model"]["_target_"], formats, temporary, config, max_rows)
    for name, result in report["formats"].items():
        largest = result["largest_difference"]
        print_line(f"{directory / result['file']}: {name}, largest difference {largest:.1e}")
    if (directory / PREPROCESSING).is_file():
        print_line(describe_program(directory))
    return directory


def check_directory(path: Path) -> None:
    """Check that a directory may be replaced: it does not exist, is empty, or holds an earlier export.

    Raises:
        ConfigError: It has other files, or is a file.
    """
    if path.is_file():
        raise ConfigError(f"export output: {path} is a file, not a directory")
    if path.is_dir() and any(path.iterdir()) and not (path / checking.FILE).is_file():
        raise ConfigError(f"export output: {path} has files that no export wrote; choose another directory")


def export_task(
    task: Task,
    data: Dataset,
    model: str,
    formats: Sequence[str],
    directory: Path,
    config: Config | None = None,
    max_rows: int | None = None,
) -> dict[str, Any]:
    """Write the inference module of a task in each format, check the files, and write and return ``check.json``.

    Args:
        task: Task with the weights to export; it is moved to the CPU.
        data: Data set of the task, or what is stored of it.
        model: Class path of the model.
        formats: Names of the formats.
        directory: Existing directory.
        config: Configuration of the run of the task; None for a task that no run has saved.
        max_rows: Maximum number of rows of each split that a file contains; None for all that are stored.

    Raises:
        ConfigError: The model cannot be exported; the sentence says why.
        ExportError: An exported file computes something else than the model.
    """
    signature = introspection.read_signature(model)
    modules = import_formats(formats)
    with silence_exporter():
        exportable = make_exportable(task, data, signature.shapes if signature else "")
        exportable = replace(exportable, config=config, max_rows=max_rows)
        if any(module.NEEDS_TRACING for module in modules.values()):
            exportable = trace(exportable)
        formats_report = {name: _write_format(exportable, module, name, directory) for name, module in modules.items()}
    report = checking.make_report(formats_report)
    (directory / checking.FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _write_format(exportable: Exportable, module: ExportFormat, name: str, directory: Path) -> dict[str, Any]:
    """Write and check a file; sizes that it cannot leave open, though the exported program can, are fixed in it."""
    module.write(exportable, directory)
    run = module.load(exportable, directory)
    reasons = {
        dim: f"the file takes the size of its example only: {reason}"
        for dim, (size, *_) in exportable.second_sizes.items()
        if (reason := find_refusal(run, exportable.make_case(dim, size)))
    }
    if reasons:
        return _write_format(trace(exportable.fix_sizes(reasons)), module, name, directory)
    return checking.describe_format(exportable, module.FILE, checking.check_outputs(exportable, run, name))
