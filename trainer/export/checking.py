"""Comparison of an exported file with the module it was made of, and ``check.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from trainer.export.exportable import BATCH_SIZES, Exportable
from trainer.export.input_dims import SIZE_NAMES, find_sizes
from trainer.export.resizing import Inputs
from trainer.export.tracing import shorten
from trainer.utils.errors import ExportError
from trainer.utils.text import format_dtype

FILE = "check.json"
FORMAT_VERSION = 1
MAX_DIFFERENCE = 1e-4
"""Largest absolute difference of an output of an exported file."""
DISTRIBUTIONS = ("train-zoo", "torch", "onnx", "onnxscript", "onnxruntime", "safetensors")


def check_outputs(exportable: Exportable, run: Callable[[Inputs], Tensor], name: str) -> list[dict[str, Any]]:
    """Compare the outputs of an exported file with those of the module; return sizes and difference of each case.

    Args:
        exportable: The module and its inputs.
        run: Function of the exported file from inputs to the output.
        name: Name of the format, for messages.

    Raises:
        ExportError: The outputs differ by more than ``MAX_DIFFERENCE``, or the file cannot run.
    """
    results = []
    for inputs in _make_cases(exportable):
        sizes = {SIZE_NAMES[dim]: size for dim, size in find_sizes(inputs, exportable.dims).items()}
        at_sizes = ", ".join(f"{size_name} {size}" for size_name, size in sizes.items())
        expected = exportable.run(inputs)
        try:
            output = run(inputs)
        except Exception as error:
            raise ExportError(f"format={name}: the exported file cannot run at {at_sizes}: {shorten(error)}") from error
        difference = compute_difference(output, expected)
        if not difference <= MAX_DIFFERENCE:
            raise ExportError(
                f"format={name}: the outputs of the exported file differ by {difference:.3g} at {at_sizes};"
                f" at most {MAX_DIFFERENCE:g} is allowed"
            )
        results.append({"sizes": sizes, "difference": difference})
    return results


def _make_cases(exportable: Exportable) -> Iterator[Inputs]:
    if exportable.batch_dim == "N":
        yield exportable.inputs
    for size in BATCH_SIZES:
        yield exportable.resize_batch(size)
    for dim, (size, *_) in exportable.second_sizes.items():
        yield exportable.make_case(dim, size)


def compute_difference(output: Tensor, expected: Tensor) -> float:
    """Return the largest absolute difference of two outputs; infinity if shapes or non-finite values differ.

    Args:
        output: Output of the exported file.
        expected: Output of the module.
    """
    if output.shape != expected.shape:
        return torch.inf
    if not expected.numel():
        return 0.0
    difference = (output.double() - expected.double()).abs()
    is_same = (output == expected) | (output.isnan() & expected.isnan())  # infinities and NaN have no difference
    return float(difference.masked_fill(is_same, 0).nan_to_num(nan=torch.inf).max())


def describe_format(exportable: Exportable, file: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the part of ``check.json`` about a format: inputs, sizes that cannot change, and the checked cases.

    Args:
        exportable: The module as it was written.
        file: Name of the file.
        cases: Result of ``check_outputs``.
    """
    inputs = {
        name: {"dtype": format_dtype(value.dtype), "shape": _describe_shape(exportable, name)}
        for name, value in exportable.inputs.items()
    }
    return {
        "file": file,
        "inputs": inputs,
        "fixed_sizes": {SIZE_NAMES[dim]: reason for dim, reason in exportable.fixed.items()},
        "largest_difference": max(case["difference"] for case in cases),
        "cases": cases,
    }


def make_report(formats: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the contents of ``check.json`` from those of each format."""
    return {
        "format_version": FORMAT_VERSION,
        "versions": _list_versions(),
        "max_difference": MAX_DIFFERENCE,
        "formats": formats,
    }


def _describe_shape(exportable: Exportable, name: str) -> list[int | str]:
    """Return the shape of an input, with the names of the sizes that may change."""
    dims = zip(exportable.dims[name], exportable.inputs[name].shape, strict=True)
    return [SIZE_NAMES[dim] if dim in SIZE_NAMES and dim not in exportable.fixed else size for dim, size in dims]


def _list_versions() -> dict[str, str]:
    versions = {}
    for name in DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
