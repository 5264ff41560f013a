"""Writers of artifacts: figures by matplotlib, image grids by Pillow, tables and arrays."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from trainer.core.artifacts import (
    ArrayFile,
    Artifact,
    ConfusionMatrix,
    GraphPlot,
    ImageGrid,
    LineChart,
    ScatterPlot,
    Table,
)
from trainer.utils import atomic_write
from trainer.utils.csv_lines import make_csv_writer
from trainer.utils.paths import find_unused_path
from trainer.viz import image_grid, network_plots, plots, scatter_plots


def write_artifacts(items: Iterable[Artifact], directory: Path, *, replace: bool = True) -> list[Path]:
    """Write each artifact to a file and return the paths.

    Args:
        items: Artifacts; the name of each is the name of its file.
        directory: Existing directory of the files.
        replace: Overwrite existing files instead of numbering new ones.

    Raises:
        SystemFault: A file cannot be written.
    """
    paths = []
    for item in items:
        path = directory / f"{item.name}.{item.suffix}"
        paths.append(path if replace else find_unused_path(path))
        with atomic_write.catch_write_errors(paths[-1]):
            paths[-1].parent.mkdir(exist_ok=True)
        with atomic_write.replace_file(paths[-1]) as temporary:
            WRITERS[type(item)](item, temporary)
    return paths


def write_array(artifact: ArrayFile, path: Path) -> None:
    """Write an array as a .npy file.

    Args:
        artifact: The array.
        path: File to write.
    """
    save_array(artifact.values, path)


def save_array(values: Tensor, path: Path) -> None:
    """Save an array as a .npy file.

    It is serialized in memory first, because numpy does not report why a write has failed.

    Args:
        values: The array, of any shape.
        path: File to write.
    """
    buffer = io.BytesIO()
    np.save(buffer, values.numpy())
    path.write_bytes(buffer.getvalue())


def write_csv(artifact: Table, path: Path) -> None:
    """Write a table with a header as a CSV file.

    Args:
        artifact: The table.
        path: File to write.
    """
    with open(path, "w", encoding="utf-8", newline="") as file:
        make_csv_writer(file).writerows((artifact.columns, *artifact.rows))


WRITERS: dict[type, Callable[[Any, Path], None]] = {  # by type of artifact
    ImageGrid: image_grid.draw_image_grid,
    ConfusionMatrix: plots.draw_confusion_matrix,
    GraphPlot: network_plots.draw_network,
    ScatterPlot: scatter_plots.draw_point_cloud,
    ArrayFile: write_array,
    Table: write_csv,
    LineChart: plots.draw_chart,
}
