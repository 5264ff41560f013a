"""Artifacts of tasks and models as plain tensors: figures, image grids, tables and arrays.

``viz.artifact_writer`` draws and writes them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trainer.utils.text import escape_control_chars

MAX_CAPTION_LENGTH = 28
"""Maximum number of characters of a file name in a caption; longer names keep their end."""
Bounds = tuple[Sequence[float], Sequence[float]]
"""Values of black and white, for each channel of an image, or one for all channels."""
RowNames = tuple[str, Sequence[object]]
"""Kind of the rows of a split, such as ``row`` or ``file``, and the name of each row; see ``Split.get_row_names``."""
NUMBERED_ROWS: RowNames = ("row", range(sys.maxsize))
"""Names of rows that have only a number."""


def caption_row(rows: RowNames, row: int) -> str:
    """Return the caption of a row: its file name, shortened if long, or its number.

    Args:
        rows: Names of the rows of the split.
        row: Index of the row in the split.
    """
    kind, names = rows
    name = escape_control_chars(str(names[row]), one_line=True)
    if kind == "row":
        return f"row {name}"
    return name if len(name) <= MAX_CAPTION_LENGTH else f"...{name[3 - MAX_CAPTION_LENGTH :]}"


@dataclass(frozen=True)
class ConfusionMatrix:
    """Confusion matrix of K classes.

    Attributes:
        name: File name without suffix.
        counts: Number of rows (K, K) of each true class (first dimension) and predicted class (second dimension).
        labels: Names of the K classes.
    """

    name: str
    counts: Tensor
    labels: Sequence[str]
    suffix: ClassVar[str] = "png"


@dataclass(frozen=True)
class ImageTile:
    """Image with a caption and an optional overlay.

    Attributes:
        image: Image (C, H, W) with any range of values.
        caption: Text below the image.
        heatmap: Overlay (H, W) in [0, 1], such as a saliency map.
        class_map: Class (H, W) of each pixel, ``IGNORE_INDEX`` for none.
        bounds: Values of black and white. None uses the minimum and maximum over all channels together, because a range
            per channel would change the colors.
    """

    image: Tensor
    caption: str
    heatmap: Tensor | None = None
    class_map: Tensor | None = None
    bounds: Bounds | None = None


@dataclass(frozen=True)
class ImageGrid:
    """Grid of images.

    Attributes:
        name: File name without suffix.
        tiles: Images, row by row.
        columns: Images per row.
        is_shared: Whether tiles without bounds share one range of values, which makes them comparable; otherwise each
            tile has its own.
        class_names: Names of the classes in ``class_map`` overlays, for the legend.
    """

    name: str
    tiles: Sequence[ImageTile]
    columns: int
    is_shared: bool = True
    class_names: Sequence[str] = ()
    suffix: ClassVar[str] = "png"


@dataclass(frozen=True)
class GraphPlot:
    """Undirected graphs over the same nodes, side by side with a common layout, above their adjacency matrices.

    Attributes:
        name: File name without suffix.
        num_nodes: Number of nodes N.
        graphs: Caption and links (L, 2) of each graph.
        node_classes: Classes (N,) by which nodes are colored and sorted, if known.
    """

    name: str
    num_nodes: int
    graphs: Sequence[tuple[str, Tensor]]
    node_classes: Tensor | None
    suffix: ClassVar[str] = "png"


@dataclass(frozen=True)
class ScatterPlot:
    """Scatter plots of generated points over real ones, side by side.

    Points with more than two features are projected onto the first two principal components of the real ones.

    Attributes:
        name: File name without suffix.
        panels: Caption and points (N, F) of each plot.
        real: Real points (M, F), drawn in every plot.
        columns: Names of the F features; empty if they have none.
    """

    name: str
    panels: Sequence[tuple[str, Tensor]]
    real: Tensor
    columns: Sequence[str] = ()
    suffix: ClassVar[str] = "png"


@dataclass(frozen=True)
class ArrayFile:
    """Array in NumPy's file format.

    Attributes:
        name: File name without suffix.
        values: Array of any shape.
    """

    name: str
    values: Tensor
    suffix: ClassVar[str] = "npy"


@dataclass(frozen=True)
class Table:
    """Table in a CSV file.

    Attributes:
        name: File name without suffix.
        columns: Names of the columns.
        rows: Cells of each row, numbers or texts.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    suffix: ClassVar[str] = "csv"


@dataclass(frozen=True)
class PlotPanel:
    """Panel of a chart: one pair of axes.

    Attributes:
        title: Title above the axes.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        lines: Label, x (N,) and y (N,) of each line; an empty label is not in the legend.
        points: Label, x (N,) and y (N,) of each scatter plot; an empty label is not in the legend.
        bands: Label, x (N,), lower and upper bound (N,) of each shaded range.
        bars: Integer positions (N,) and heights (N,) of bars.
        diagonal: Whether to draw the line y = x.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[tuple[str, Tensor, Tensor]] = ()
    points: Sequence[tuple[str, Tensor, Tensor]] = ()
    bands: Sequence[tuple[str, Tensor, Tensor, Tensor]] = ()
    bars: tuple[Tensor, Tensor] | None = None
    diagonal: bool = False


@dataclass(frozen=True)
class LineChart:
    """Grid of panels.

    Attributes:
        name: File name without suffix.
        panels: Panels, row by row.
        columns: Panels per row.
        width: Width of a panel in inches.
    """

    name: str
    panels: Sequence[PlotPanel]
    columns: int
    width: float = 4.0
    suffix: ClassVar[str] = "png"


Artifact = ConfusionMatrix | ImageGrid | GraphPlot | ScatterPlot | ArrayFile | Table | LineChart


@dataclass(frozen=True)
class LazyArtifact:
    """Artifact that is expensive to compute and is made when it is drawn.

    Attributes:
        name: Name in messages, such as those about a time limit.
        make_artifact: Function that returns the artifact, or None if there is nothing to show.
    """

    name: str
    make_artifact: Callable[[], Artifact | None]
