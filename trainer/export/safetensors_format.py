"""Export of the weights to safetensors, which hold tensors by parameter name and no code: ``model.safetensors``."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from torch import Tensor

from trainer.engine import safetensors_file
from trainer.export.exportable import Exportable, run_seeded
from trainer.export.resizing import Inputs

FILE = "model.safetensors"
NEEDS_TRACING = False
FORMAT_VERSION = 1


def write(exportable: Exportable, directory: Path) -> None:
    """Write the parameters and buffers of the model by name, with the version of the format as metadata.

    Args:
        exportable: The module.
        directory: Existing directory.
    """
    safetensors_file.write_tensors(directory / FILE, exportable.task.model.state_dict(), FORMAT_VERSION)


def load(exportable: Exportable, directory: Path) -> Callable[[Inputs], Tensor]:
    """Load the file that ``write`` has written; return the function of a model with its weights.

    Args:
        exportable: The module.
        directory: Directory of the file.
    """
    from safetensors.torch import load_file

    copy = deepcopy(exportable.task)
    copy.model.load_state_dict(load_file(directory / FILE))
    module = copy.make_inference_module().module
    return lambda inputs: run_seeded(module, inputs)
