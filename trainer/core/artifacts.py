"""What there is to see of a task or a model, as plain tensors; ``pictures`` writes it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trainer.utils.text import escape_control_chars

MAX_CAPTION_LENGTH = 28
"""How many letters of a file's name stand under its picture, the last ones."""
Bounds = tuple[Sequence[float], Sequence[float]]
"""What black and white are in each channel of a picture, or in all of them where one number is given."""
RowNames = tuple[str, Sequence[object]]
"""What the rows of a split are called, and the name of each, as ``Split.names`` gives them."""
NUMBERED_ROWS: RowNames = ("row", range(sys.maxsize))


def caption_row(rows: RowNames, row: int) -> str:
    """What stands under the picture of a row: the name of its file if it has one, else its number."""
    kind, names = rows
    name = escape_control_chars(str(names[row]), one_line=True)
    if kind == "row":
        return f"row {name}"
    return name if len(name) <= MAX_CAPTION_LENGTH else f"...{name[3 - MAX_CAPTION_LENGTH :]}"


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often each true class (down) was taken for each class (across): counts (K, K)."""

    name: str
    counts: Tensor
    labels: Sequence[str]
    suffix: ClassVar[str] = "png"


@dataclass(frozen=True)
class ImageTile:
    """A picture (C, H, W) on any scale with a caption; over it what drew attention, (H, W) from 0 to 1, or the class
    of each pixel, (H, W) with IGNORE where there is none.

    bounds: what is drawn black and white. Without them black is the least value and white the largest, those of all
    channels together, or else colors would come out that no picture has.
    """

    image: Tensor
    caption: str
    heatmap: Tensor | None = None
    class_map: Tensor | None = None
    bounds: Bounds | None = None


@dataclass(frozen=True)
class ImageGrid:
    """Tiles in rows of ``columns``.

    is_shared: tiles without bounds are on one scale, so that bright means the same in all of them; else each has its
        own.
    class_names: the name of each class overlaid on tiles, for the legend.
    """

    name: str
    tiles: Sequence[ImageTile]
    columns: int
    is_shared: bool = True
    class_names: Sequence[str] = ()
    suffix: ClassVar[str] = "png"


@dataclass(frozen=True)
class GraphPlot:
    """Graphs without direction over the same N nodes, each (caption, links (L, 2)): side by side as points and lines,
    every node at one place, and below as matrices. Nodes are coloured and sorted by their class (N,), if it is known.
    """

    name: str
    num_nodes: int
    graphs: Sequence[tuple[str, Tensor]]
    node_classes: Tensor | None
    suffix: ClassVar[str] = "png"


@dataclass(frozen=True)
class ScatterPlot:
    """Points side by side, each (caption, points (N, F)), over real ones (M, F); more than two numbers are told by the
    two directions in which the real points vary most.

    columns: the names of the F numbers, where they have some.
    """

    name: str
    panels: Sequence[tuple[str, Tensor]]
    real: Tensor
    columns: Sequence[str] = ()
    suffix: ClassVar[str] = "png"


@dataclass(frozen=True)
class ArrayFile:
    """Numbers for other programs, as numpy reads them."""

    name: str
    values: Tensor
    suffix: ClassVar[str] = "npy"


@dataclass(frozen=True)
class Table:
    """Rows of cells, numbers or texts, under the names of their columns, for other programs to read."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    suffix: ClassVar[str] = "csv"


@dataclass(frozen=True)
class PlotPanel:
    """Lines and points of one pair of axes, each (label, x (N,), y (N,)); those without a label are not explained.

    bars: from 0 to heights (N,) at the places x (N,), which are whole numbers.
    diagonal: a thin line where x is y.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[tuple[str, Tensor, Tensor]] = ()
    points: Sequence[tuple[str, Tensor, Tensor]] = ()
    bars: tuple[Tensor, Tensor] | None = None
    diagonal: bool = False


@dataclass(frozen=True)
class LineChart:
    """Panels in rows of ``columns``, each so many inches wide."""

    name: str
    panels: Sequence[PlotPanel]
    columns: int
    width: float = 4.0
    suffix: ClassVar[str] = "png"


Artifact = ConfusionMatrix | ImageGrid | GraphPlot | ScatterPlot | ArrayFile | Table | LineChart


@dataclass(frozen=True)
class LazyArtifact:
    """An item that takes its time: made when it is to be drawn, or None if there turns out to be nothing to see."""

    name: str
    make_artifact: Callable[[], Artifact | None]
