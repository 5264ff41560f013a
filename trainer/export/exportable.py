"""What an export writes and checks: the module of a task, inputs made of stored rows, and which sizes may change."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from trainer.config.run_config import Config
from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.dataset import Dataset
from trainer.core.shapes import Dims
from trainer.core.split import Split
from trainer.core.task import Task
from trainer.export.input_dims import find_batch_dim, find_input_dims, find_sizes
from trainer.export.resizing import Inputs, resize

BATCH_SIZES = (1, 7, 64)
"""Sizes of the batch at which an export is checked; the other sizes are changed at the second of them."""
RESIZED_WITH = {"G": "NE", "N": "E"}
"""Dimensions whose size changes with that of another one: graphs bring their nodes and edges, nodes their edges."""
REFUSALS = (RuntimeError, ValueError, IndexError, AssertionError)
"""Errors by which a module or an exported program refuses a size."""
_CPU = torch.device("cpu")


class NamedForward(nn.Module):
    """Module whose ``forward`` has the inputs as parameters, because ``torch.export`` does not take ``**inputs``.

    Args:
        module: Module that takes the inputs as keyword arguments.
        names: Names of the inputs.
    """

    def __init__(self, module: nn.Module, names: tuple[str, ...]):
        super().__init__()
        self.module = module
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])

        def forward(*args: Tensor, **kwargs: Tensor) -> Tensor:
            output: Tensor = module(**signature.bind(*args, **kwargs).arguments)
            return output

        vars(forward)["__signature__"] = signature
        self.forward = forward


@dataclass
class Exportable:
    """Inference module of a task on the CPU, in evaluation mode.

    Attributes:
        task: The task.
        data: Its data set, or what is stored of it.
        module: The module.
        inputs: Inputs made of the stored training rows.
        dims: Dimensions of each input, as in ``shapes``.
        batch_dim: Dimension that counts the rows of a batch.
        second_sizes: Other sizes that the module takes of each other dimension, at least one if it may change.
        fixed: Reason why the size of a dimension cannot change.
        outputs: What the outputs are, from the task.
        traced: Program of ``torch.export`` with symbolic sizes, once a format has asked for it.
        config: Configuration of the run of the task; None for a task that no run has saved.
        max_rows: Maximum number of rows of each split that a file contains; None for all that are stored.
    """

    task: Task
    data: Dataset
    module: NamedForward
    inputs: Inputs
    dims: dict[str, Dims]
    batch_dim: str
    second_sizes: dict[str, list[int]] = field(default_factory=dict)
    fixed: dict[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    traced: ExportedProgram | None = None
    config: Config | None = None
    max_rows: int | None = None

    @property
    def exported_program(self) -> ExportedProgram:
        """Program of ``torch.export`` with symbolic sizes, for formats that declare that they need it."""
        assert self.traced is not None, "this format does not declare that it needs tracing"
        return self.traced

    def run(self, inputs: Inputs) -> Tensor:
        """Return the output of the module; random numbers that it draws are those of seed 0."""
        return run_seeded(self.module, inputs)

    def resize_batch(self, size: int) -> Inputs:
        """Return inputs with another number of rows."""
        return resize(self.inputs, self.dims, self.batch_dim, size)

    def fix_sizes(self, reasons: Mapping[str, str]) -> Exportable:
        """Return the module without an exported program, with further sizes that cannot change.

        Args:
            reasons: Reason why the size of a dimension cannot change.
        """
        second_sizes = {dim: sizes for dim, sizes in self.second_sizes.items() if dim not in reasons}
        return replace(self, second_sizes=second_sizes, fixed={**self.fixed, **reasons}, traced=None)

    def make_case(self, dim: str, size: int) -> Inputs:
        """Return inputs with another size of a dimension, in a batch of the second of ``BATCH_SIZES``.

        Args:
            dim: Name of the dimension in ``shapes``.
            size: Its size.
        """
        return resize(self.resize_batch(BATCH_SIZES[1]), self.dims, dim, size)


def run_seeded(module: nn.Module, inputs: Inputs) -> Tensor:
    """Return the output of a module or an exported program, whose random numbers are those of seed 0.

    Args:
        module: The module.
        inputs: Its inputs, by name.
    """
    with torch.no_grad(), rng.fork_rng(0, _CPU):
        output: Tensor = module(**inputs)
        return output


def make_exportable(task: Task, data: Dataset, model_shapes: str) -> Exportable:
    """Return the inference module of a task with its inputs, and find the sizes that may change.

    Args:
        task: Task with the weights to export; it is moved to the CPU.
        data: Data set of the task, or what is stored of it.
        model_shapes: Shapes of the model.

    Raises:
        ConfigError: The task or the model cannot be exported; the sentence says why.
    """
    task.cpu().eval()
    inference = task.make_inference_module()
    with rng.fork_rng(0, _CPU):
        inputs = inference.make_inputs(_load_rows(data.train))
    declarations = inference.shapes or model_shapes, data.shapes
    dims = find_input_dims(inputs, *declarations)
    module = NamedForward(inference.module, tuple(inputs)).eval()
    exportable = Exportable(
        task, data, module, inputs, dims, find_batch_dim(dims, *declarations), outputs=inference.outputs
    )
    _find_second_sizes(exportable)
    return exportable


def _load_rows(split: Split) -> Batch:
    """Return the first rows of a split; a split that is not divisible returns all of them."""
    index = torch.arange(min(len(split), BATCH_SIZES[-1]))
    return split.to_model_inputs(split.batch(index, 0))


def _find_second_sizes(exportable: Exportable) -> None:
    """Try a larger and a smaller size of each dimension: the module refuses those that it does not take."""
    resized = RESIZED_WITH.get(exportable.batch_dim, "")
    for dim, size in find_sizes(exportable.inputs, exportable.dims).items():
        if dim == exportable.batch_dim or dim in resized:
            continue
        reason = "no other size was tried"
        for second_size in (size + (size + 1) // 2, (size + 1) // 2):
            try:
                exportable.run(exportable.make_case(dim, second_size))
            except REFUSALS as error:
                reason = str(error).splitlines()[0]
            else:
                exportable.second_sizes.setdefault(dim, []).append(second_size)
        if dim in exportable.second_sizes:
            resized += RESIZED_WITH.get(dim, "")
        else:
            exportable.fixed[dim] = f"the model takes {size} only: {reason}"
