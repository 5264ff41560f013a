"""Export to ONNX, which onnxruntime and others run without torch: ``model.onnx`` and a program that applies it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.export.exportable import Exportable
from trainer.export.preprocessing_file import write_preprocessing
from trainer.export.resizing import Inputs
from trainer.export.tracing import explain_exporter_errors, name_symbols
from trainer.utils.errors import ConfigError

FILE = "model.onnx"
NEEDS_TRACING = True
OUTPUT = "output"
RANDOM_OPERATORS = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


def write(exportable: Exportable, directory: Path) -> None:
    """Write the graph, with names for the sizes that may change, and how it is applied to files.

    Args:
        exportable: The traced module.
        directory: Existing directory.

    Raises:
        ConfigError: The module cannot be expressed in ONNX; the sentence says why.
    """
    # With gradients the exporter differentiates the loops of a program that has them, and fails on integers.
    with torch.no_grad(), explain_exporter_errors("this model cannot be expressed in ONNX"):
        onnx_program = torch.onnx.export(exportable.exported_program, dynamo=True, verbose=False, output_names=[OUTPUT])
    assert onnx_program is not None
    if any(node.op_type in RANDOM_OPERATORS for node in onnx_program.model.graph.all_nodes()):
        raise ConfigError("this model draws random numbers while it runs, which no two ONNX runtimes draw alike")
    names = name_symbols(exportable)
    for value in (*onnx_program.model.graph.inputs, *onnx_program.model.graph.outputs):
        if value.shape is not None:
            for axis, size in enumerate(value.shape):
                value.shape[axis] = names.get(str(size), size)
    onnx_program.save(directory / FILE)
    write_preprocessing(exportable, directory)


def load(exportable: Exportable, directory: Path) -> Callable[[Inputs], Tensor]:  # noqa: ARG001
    """Load the file that ``write`` has written; return the function from inputs to the output, by onnxruntime.

    Args:
        exportable: The traced module.
        directory: Directory of the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(directory / FILE, options, providers=["CPUExecutionProvider"])
    return lambda inputs: _run_session(session, inputs)


def _run_session(session: Any, inputs: Inputs) -> Tensor:
    names = [value.name for value in session.get_inputs()]
    try:
        (output,) = session.run([OUTPUT], {name: inputs[name].numpy() for name in names})
    except Exception as error:  # its classes are those of an extension module
        raise RuntimeError(str(error)) from error
    return torch.from_numpy(output)
