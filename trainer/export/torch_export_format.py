"""Export to a program of ``torch.export``, which torch runs without this package: ``model.pt2``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from trainer.export.exportable import Exportable, run_seeded
from trainer.export.resizing import Inputs

FILE = "model.pt2"
NEEDS_TRACING = True


def write(exportable: Exportable, directory: Path) -> None:
    """Write the program.

    Args:
        exportable: The traced module.
        directory: Existing directory.
    """
    torch.export.save(exportable.exported_program, directory / FILE)


def load(exportable: Exportable, directory: Path) -> Callable[[Inputs], Tensor]:  # noqa: ARG001
    """Load the file that ``write`` has written; return the function from inputs to the output.

    Args:
        exportable: The traced module.
        directory: Directory of the file.
    """
    module = torch.export.load(directory / FILE).module()
    return lambda inputs: run_seeded(module, inputs)
