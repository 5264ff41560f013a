"""Pictures of a run. matplotlib is imported only here, and without a window system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


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
