"""Export every model of ``conf/model``, untrained, on its first data set, and print the table of differences.

    python -m tests.gates.export [MODEL ...]

Exits with 1 if fewer models export than in ``GATES``, or an exported file differs from its model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from tests.helpers.exports import export_pair, make_export_pair
from tests.helpers.pairs import MODELS
from trainer.utils.errors import ConfigError, ExportError

GATES = {"torch_export": 65, "onnx": 45}
"""Smallest number of models that must export in each format."""


def export_model(model: str) -> dict[str, str]:
    """Return the largest difference by format, or the sentence with which the export is refused."""
    cells = {}
    for name in GATES:
        with tempfile.TemporaryDirectory() as directory:
            try:
                report = export_pair(make_export_pair(model), Path(directory), name)
            except ConfigError as error:
                cells[name] = f"refused: {error}"
            except ExportError as error:
                cells[name] = f"ERROR: {error}"
            else:
                result = report["formats"][name]
                cells[name] = f"{result['largest_difference']:.1e}"
                cells["sizes"] = describe_sizes(result)
    return cells


def describe_sizes(result: dict[str, Any]) -> str:
    """Return the names of the sizes that may change, and of those that cannot."""
    shapes = [value["shape"] for value in result["inputs"].values()]
    sizes = ", ".join(dict.fromkeys(size for shape in shapes for size in shape if isinstance(size, str)))
    return f"{sizes}; fixed: {', '.join(result['fixed_sizes'])}" if result["fixed_sizes"] else sizes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    models = parser.parse_args().models
    torch.set_num_threads(1)
    counts, has_errors = Counter[str](), False
    print("| model | family | torch_export | onnx | sizes that may change |\n| --- | --- | --- | --- | --- |")
    for model in models:
        cells = export_model(model)
        counts.update(name for name in GATES if cells[name][0].isdigit())
        has_errors |= any(cells[name].startswith("ERROR") for name in GATES)
        family = str(MODELS[model].class_path).split(".")[2]
        row = (model, family, *(cells[name] for name in GATES), cells.get("sizes", ""))
        print(f"| {' | '.join(row)} |", flush=True)
    print(", ".join(f"{name}: {counts[name]} of {len(models)}" for name in GATES))
    return int(has_errors or (len(models) == len(MODELS) and any(counts[name] < GATES[name] for name in GATES)))


if __name__ == "__main__":
    sys.exit(main())
