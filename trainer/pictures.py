"""Pictures of a run. matplotlib is imported only here, and without a window system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer import sheets
from trainer.gallery import Item, Matrix, Sheet


def draw(items: Iterable[Item], folder: Path) -> list[Path]:
    """Draws each item into a PNG of its name; gives the paths."""
    paths = []
    for item in items:
        paths.append(folder / f"{item.name}.png")
        DRAWN_BY[type(item)](item, paths[-1])
    return paths


def curves(history: Sequence[Mapping[str, Any]], monitor: str, path: Path) -> None:
    """Training loss, monitored validation score and learning rate over steps, side by side, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rates = [name for name in history[0] if name.startswith("lr_")]
    panels = [
        ("training loss", ["train_loss"]),
        (f"validation {monitor}", [f"val_{monitor}"]),
        ("learning rate", rates),
    ]
    figure = Figure(figsize=(11, 3.2))
    # Fixed margins: a layout engine would draw everything twice to find them.
    figure.subplots_adjust(left=0.05, right=0.99, top=0.9, bottom=0.15, wspace=0.22)
    FigureCanvasAgg(figure)
    steps = [row["step"] for row in history]
    for axes, (title, names) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name in names:
            axes.plot(steps, [row[name] for row in history], marker="o" if len(steps) < 30 else "", label=name)
        if len(names) > 1:
            axes.legend(fontsize="small")
        axes.set_title(title, fontsize="medium", loc="left")
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def matrix(shown: Matrix, path: Path) -> None:
    """Shares of each row as shades with their counts, as a PNG; what is never right or always right stands out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts, labels = shown.counts, list(shown.labels)
    side = 1.6 + 0.42 * len(labels)
    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    for (truth, taken), count in ((place.tolist(), int(counts[tuple(place)])) for place in counts.nonzero()):
        shade = "white" if shares[truth, taken] > 0.5 else "black"
        axes.text(taken, truth, str(count), ha="center", va="center", color=shade, fontsize="x-small")
    axes.set_xticks(range(len(labels)), labels, rotation=90 if max(map(len, labels)) > 2 else 0, fontsize="small")
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    figure.savefig(path, dpi=110)


DRAWN_BY: dict[type, Callable[[Any, Path], None]] = {Sheet: sheets.draw, Matrix: matrix}
