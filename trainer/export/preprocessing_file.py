"""``preprocess.json``: how the rows of files become inputs of an exported model, and its outputs predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainer.export.exportable import Exportable
from trainer.export.program_files import PROGRAM, copy_program, remove_program
from trainer.export.resizing import LENGTHS
from trainer.export.standalone.program import FORMAT_VERSION, PREPROCESSING
from trainer.utils.text import format_dtype

STEPS = "TS"
"""Dimensions that count the steps of a row, whose number differs from row to row."""


def write_preprocessing(exportable: Exportable, directory: Path) -> None:
    """Write ``preprocess.json``, and the program that applies it if there is one for the data of the run.

    Args:
        exportable: The module, whose sizes are those of the exported file.
        directory: Existing directory.
    """
    reason = find_missing_program(exportable)
    contents: dict[str, Any] = {"format_version": FORMAT_VERSION}
    if reason is None:
        encoding = dict(exportable.data.describe_encoding())
        program = encoding.pop("program")
        contents |= {"program": program, "encoding": encoding, "outputs": exportable.outputs}
        copy_program(program, directory)
    else:
        contents |= {"program": None, "reason": reason}
        remove_program(directory)
    contents["inputs"] = {
        name: {"dtype": format_dtype(value.dtype), "dims": len(value.shape)}
        for name, value in exportable.inputs.items()
    }
    # ASCII, because names of folders may have bytes that are not UTF-8.
    text = json.dumps(contents, indent=2, allow_nan=False)
    (directory / PREPROCESSING).write_text(f"{text}\n", encoding="utf-8")


def describe_program(directory: Path) -> str:
    """Return a line about the program of an export, or why there is none.

    Args:
        directory: Directory that ``write_preprocessing`` has written.
    """
    contents = json.loads((directory / PREPROCESSING).read_text(encoding="utf-8"))
    if contents["program"] is None:
        return f"{directory / PREPROCESSING}: no {PROGRAM}, because {contents['reason']}"
    return f"{directory / PROGRAM}: predicts files without torch, with the other files of this directory"


def find_missing_program(exportable: Exportable) -> str | None:
    """Return why there is no program for an exported model, in a sentence; None if there is one.

    Args:
        exportable: The module, whose sizes are those of the exported file.
    """
    arrays = "the inputs of model.onnx are arrays"
    encoding = exportable.data.describe_encoding()
    if not encoding:
        return f"{arrays}: predict.py is for tables, series, texts and classes of images, and this run is for others"
    output_dims = exportable.run(exportable.resize_batch(2)).dim()
    if not exportable.outputs or output_dims > encoding.get("output_dims", 2):
        return f"{arrays}: predict.py writes a class or numbers for each row, and this model has other outputs"
    if LENGTHS in exportable.inputs and any(dim in exportable.fixed for dim in STEPS):
        return f"{arrays}: model.onnx takes rows of one length, and those of this run differ in length"
    return None
