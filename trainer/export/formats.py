"""Table of export formats; each is a module with the functions of ``ExportFormat``, imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.export.exportable import Exportable
    from trainer.export.resizing import Inputs


class ExportFormat(Protocol):
    """Protocol of the modules that write a format.

    Attributes:
        FILE: Name of the file or folder.
        NEEDS_TRACING: Whether the module must be traced to an exported program first.
    """

    FILE: str
    NEEDS_TRACING: bool

    def write(self, exportable: Exportable, directory: Path) -> None:
        """Write the file.

        Args:
            exportable: The module, traced if the format needs it.
            directory: Existing directory.
        """

    def load(self, exportable: Exportable, directory: Path) -> Callable[[Inputs], Tensor]:
        """Load the file that ``write`` has written; return the function from inputs to the output.

        Args:
            exportable: The module.
            directory: Directory of the file.
        """


class _Entry(NamedTuple):
    """Module of a format, the packages that it imports, and the extra that installs them."""

    module: str
    packages: tuple[str, ...] = ()
    extra: str = ""


FORMATS = {
    "safetensors": _Entry("safetensors_format", ("safetensors",), "safetensors"),
    "torch_export": _Entry("torch_export_format"),
    "onnx": _Entry("onnx_format", ("onnx", "onnxscript", "onnxruntime"), "onnx"),
    "hub": _Entry("hub_format", ("safetensors",), "safetensors"),
}


def parse_formats(text: str) -> list[str]:
    """Return the formats in a value such as ``onnx`` or ``[torch_export,onnx]``, each once.

    Args:
        text: Value of ``format``.

    Raises:
        ConfigError: There is none, one does not exist, or its packages are not installed.
    """
    names = list(dict.fromkeys(name.strip(" '\"") for name in text.strip("[] ").split(",")))
    problems = []
    allowed = ", ".join(FORMATS)
    if names == [""]:
        raise ConfigError(f"export format: missing; one or more of {allowed}, such as format=onnx")
    for name in names:
        if name not in FORMATS:
            problems.append(
                f"export format: {name!r} given{did_you_mean(name, FORMATS) or ';'} one or more of {allowed}"
            )
        elif missing := [package for package in FORMATS[name].packages if find_spec(package) is None]:
            install = f"pip install 'train-zoo[{FORMATS[name].extra}]'"
            problems.append(f"export format: {name} needs {' and '.join(missing)}: {install}")
    if problems:
        raise ConfigError(*problems)
    return names


def import_formats(names: Sequence[str]) -> dict[str, ExportFormat]:
    """Return the modules of formats, by name."""
    return {
        name: cast(ExportFormat, importlib.import_module(f"trainer.export.{FORMATS[name].module}")) for name in names
    }
