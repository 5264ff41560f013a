"""Export every model of ``conf/model``, untrained, on its first data set, and check the files.

    python -m tests.gates.export [MODEL ...]

Without names it writes the tables of ``docs/exports.md`` and of the README. Exits with 1 if fewer models export than in
``GATES``, or an exported file differs from its model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.helpers.exports import export_pair, make_export_pair, make_pair_exportable
from tests.helpers.own_files import OWN_SETS
from tests.helpers.pairs import FITTING, MODELS
from trainer.export.preprocessing_file import find_missing_program
from trainer.utils.errors import ConfigError, ExportError

ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / "docs" / "exports.md", ROOT / "README.md"
GATES = {"safetensors": 72, "torch_export": 65, "onnx": 45}
"""Smallest number of models that must export in each format."""
PROGRAMS = {
    "csv": "tables",
    "csv_series": "forecasts",
    "ucr": "series",
    "image_folder": "images",
    "text_folder": "texts",
}
"""Data sets that ``predict.py`` of an ONNX export reads files of, and what these are."""
FAMILIES = {
    "tabular": "tables",
    "sequence": "sequences",
    "language": "texts",
    "vision": "images",
    "forecasting": "forecasts",
    "graph": "graphs",
    "multimodal": "several inputs",
    "generative": "samplers of generators",
}
"""Families of models, by their package, and what they are for."""
HEADER = ("models", *GATES, "predict.py", "sizes that may change", "not exported")


@dataclass
class ModelExport:
    """Export of a model.

    Attributes:
        model: Name of the model.
        differences: Largest difference of the file of each format from the model.
        refusals: Sentence with which each other format is refused.
        errors: What is wrong with the file of each other format.
        sizes: Sizes that may change.
        fixed: Sizes that cannot.
        programs: Kinds of files that ``predict.py`` reads.
    """

    model: str
    differences: dict[str, float] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    sizes: list[str] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)

    @property
    def family(self) -> str:
        """Package of the model."""
        return str(MODELS[self.model].class_path).split(".")[2]

    def describe(self, name: str) -> str:
        """Return the cell of a format."""
        if name in self.differences:
            return f"{self.differences[name]:.0e}"
        return f"refused: {self.refusals[name]}" if name in self.refusals else f"ERROR: {self.errors[name]}"


def export_model(model: str) -> ModelExport:
    """Export a model in all formats, or in each alone if one of them is refused."""
    export = ModelExport(model, programs=list_programs(model))
    for formats in (tuple(GATES), *((name,) for name in GATES)):
        with tempfile.TemporaryDirectory() as directory:
            try:
                report = export_pair(make_export_pair(model), Path(directory), *formats)
            except (ConfigError, ExportError) as error:
                if len(formats) == 1:
                    (export.refusals if isinstance(error, ConfigError) else export.errors)[formats[0]] = str(error)
                continue
        for name in formats:
            add_result(export, name, report["formats"][name])
        if len(formats) > 1:
            break
    return export


def add_result(export: ModelExport, name: str, result: dict[str, Any]) -> None:
    """Add the part of ``check.json`` about a format."""
    export.differences[name] = result["largest_difference"]
    shapes = [value["shape"] for value in result["inputs"].values()]
    export.sizes = list(dict.fromkeys(size for shape in shapes for size in shape if isinstance(size, str)))
    export.fixed = list(result["fixed_sizes"])


def list_programs(model: str) -> list[str]:
    """Return the kinds of files that ``predict.py`` of a model reads."""
    kinds = []
    for data in PROGRAMS:
        with suppress(ConfigError):  # such as pixels that are no probabilities
            if (model, data) in FITTING:
                keys = [f"data.{key}={value()}" for key, value in OWN_SETS.get(data, {}).items()]
                reason = find_missing_program(make_pair_exportable(make_export_pair(model, *keys, data=data)))
                kinds += [PROGRAMS[data]] if reason is None else []
    return kinds


def format_model(export: ModelExport) -> str:
    """Return the row of a model."""
    sizes = ", ".join(export.sizes) + (f"; fixed: {', '.join(export.fixed)}" if export.fixed else "")
    cells = (export.model, export.family, *map(export.describe, GATES), ", ".join(export.programs), sizes)
    return f"| {' | '.join(cells)} |"


def format_family(family: str, exports: Sequence[ModelExport]) -> str:
    """Return the row of a family: how many of its models export where, and what some of them do not."""
    counts = [sum(name in export.differences for export in exports) for name in GATES]
    programs = sorted({kind for export in exports for kind in export.programs})
    sizes = list(dict.fromkeys(size for export in exports for size in export.sizes))
    refused = [f"{e.model} in {name}: {reason}" for e in exports for name, reason in e.refusals.items()]
    cells = (FAMILIES[family], *map(str, (len(exports), *counts)), ", ".join(programs), ", ".join(sizes))
    return f"| {' | '.join((*cells, '; '.join(refused)))} |"


def replace_table(path: Path, name: str, lines: Sequence[str]) -> None:
    """Replace the lines between the markers of a table in a page."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    text = "\n".join(lines)
    path.write_text(f"{before}{begin}{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def write_tables(exports: Sequence[ModelExport]) -> None:
    """Write the table of families to the page and the README, and that of models to the page."""
    by_family = {family: [export for export in exports if export.family == family] for family in FAMILIES}
    head = [f"| family | {' | '.join(HEADER)} |", "|" + " --- |" * (len(HEADER) + 1)]
    families = [*head, *(format_family(family, members) for family, members in by_family.items())]
    for path in (PAGE, README):
        replace_table(path, "export families", families)
    titles = ("model", "family", *GATES, "predict.py", "sizes that may change")
    models = [f"| {' | '.join(titles)} |", "|" + " --- |" * len(titles), *map(format_model, exports)]
    replace_table(PAGE, "exported models", models)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    models = parser.parse_args().models
    torch.set_num_threads(1)
    exports = []
    for model in models:
        exports.append(export_model(model))
        print(format_model(exports[-1]), flush=True)
    counts = Counter(name for export in exports for name in export.differences)
    print(", ".join(f"{name}: {counts[name]} of {len(models)}" for name in GATES))
    is_complete = len(models) == len(MODELS)
    if is_complete:
        write_tables(exports)
    is_missed = is_complete and any(counts[name] < GATES[name] for name in GATES)
    return int(is_missed or any(export.errors for export in exports))


if __name__ == "__main__":
    sys.exit(main())
