"""Tracing of an exportable module to an exported program with symbolic sizes, by ``torch.export``."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from trainer.export.exportable import BATCH_SIZES, REFUSALS, Exportable, run_seeded
from trainer.export.input_dims import SIZE_NAMES
from trainer.export.resizing import Inputs
from trainer.utils.errors import ConfigError, UserError

EXAMPLE_ROWS = 3
"""Rows of the example that is traced: not 1, which would be taken for a constant."""
MAX_REASON_LENGTH = 300
"""Maximum number of characters of an exporter's message."""


def trace(exportable: Exportable) -> Exportable:
    """Return the module with its exported program; sizes that the program cannot leave open are fixed.

    Args:
        exportable: The module, its inputs and the sizes that may change.

    Raises:
        ConfigError: The module cannot be traced, or only for one batch size.
    """
    program = _trace_once(exportable)
    module = program.module()

    def run(inputs: Inputs) -> Tensor:
        return run_seeded(module, inputs)

    for size in BATCH_SIZES:
        if reason := find_refusal(run, exportable.resize_batch(size)):
            raise ConfigError(f"this model cannot be exported for any batch size: {reason}")
    reasons, second_sizes = {}, {}
    for dim, sizes in exportable.second_sizes.items():
        refusals = {size: find_refusal(run, exportable.make_case(dim, size)) for size in sizes}
        second_sizes[dim] = [size for size, reason in refusals.items() if reason is None]
        if not second_sizes[dim]:
            reasons[dim] = f"the traced program takes the size of its example only: {refusals[sizes[0]]}"
    if reasons:
        return trace(exportable.fix_sizes(reasons))
    return replace(exportable, second_sizes=second_sizes, traced=program)


def find_refusal(run: Callable[[Inputs], Tensor], inputs: Inputs) -> str | None:
    """Return why a module or an exported program does not take inputs; None if it does.

    Args:
        run: Function from inputs to the output.
        inputs: Inputs, by name.
    """
    try:
        run(inputs)
    except REFUSALS as error:
        return shorten(error)
    return None


def _trace_once(exportable: Exportable) -> ExportedProgram:
    inputs = exportable.inputs if exportable.batch_dim == "N" else exportable.resize_batch(EXAMPLE_ROWS)
    dynamic_shapes = {
        name: {
            axis: Dim.AUTO if dim in SIZE_NAMES and dim not in exportable.fixed else Dim.STATIC
            for axis, dim in enumerate(exportable.dims[name])
        }
        for name in inputs
    }
    with torch.no_grad(), explain_exporter_errors("torch.export cannot trace this model"):
        return torch.export.export(exportable.module, (), inputs, dynamic_shapes=dynamic_shapes, strict=False)


def name_symbols(exportable: Exportable) -> dict[str, str]:
    """Return the name of each symbol that the exported program has for a size, such as ``batch`` for ``s77``."""
    placeholders = {node.name: node for node in exportable.exported_program.graph.find_nodes(op="placeholder")}
    names: dict[str, str] = {}
    for name, dims in exportable.dims.items():
        for dim, size in zip(dims, placeholders[name].meta["val"].shape, strict=True):
            if isinstance(size, torch.SymInt):
                names.setdefault(str(size), SIZE_NAMES[dim])
    return names


@contextmanager
def silence_exporter() -> Iterator[None]:
    """Silence the warnings and log messages of torch's exporters, which are about their internals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        previous = logging.root.manager.disable
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(previous)


@contextmanager
def explain_exporter_errors(sentence: str) -> Iterator[None]:
    """Convert an error that an exporter raises in the block to one sentence.

    Args:
        sentence: Beginning of the sentence.

    Raises:
        ConfigError: The exporter raised an error that is not a ``UserError`` or ``ValueError`` of the model.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise ConfigError(f"{sentence}: {shorten(_find_cause(error))}") from error


def _find_cause(error: BaseException) -> BaseException:
    """Return the error that an exporter's error was raised for, the innermost one."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def shorten(error: BaseException) -> str:
    """Return the message of an error in one line."""
    text = re.sub(r"\s+", " ", str(error).strip().partition("\n\n")[0]) or type(error).__name__
    return text if len(text) <= MAX_REASON_LENGTH else f"{text[: MAX_REASON_LENGTH - 4]} ..."
