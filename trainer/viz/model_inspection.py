"""A look inside a model: its layers, and what one of them makes of a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.core.artifacts import Bounds, ImageGrid, ImageTile, LineChart, PlotPanel, caption_row
from trainer.core.batch import Batch
from trainer.core.task import Task
from trainer.engine.dataloader import Loader
from trainer.utils.errors import ConfigError, did_you_mean

MAX_CHANNELS, GRID_COLUMNS, PREVIEW_EPOCHS = 64, 8, 5
"""How many maps of a layer are shown, how many side by side, and epochs of a training row."""
UNITS_PER_PANEL, MAX_PANELS, PANEL_WIDTH = 128, 8, 9.0
"""How many numbers of a vector stand side by side as bars, at most how often one below the other, and how wide."""


@dataclass(frozen=True)
class LayerSummary:
    """A module of the model as it last ran: its dotted name, its class, what came out of it, its parameters."""

    name: str
    class_name: str
    output: Tensor
    num_params: int


def summarize_layers(task: Task, batch: Batch) -> list[LayerSummary]:
    """Every module of the model that gives a tensor, in the order in which they end when a batch is scored."""
    found: dict[str, LayerSummary] = {}

    def noted(name: str) -> Callable[[torch.nn.Module, object, object], None]:
        def hook(module: torch.nn.Module, _: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            if isinstance(first, Tensor):
                params = sum(p.numel() for p in module.parameters())
                found[name] = LayerSummary(name, type(module).__name__, first.detach().float().cpu(), params)

        return hook

    with ExitStack() as stack, torch.no_grad():
        for name, module in task.model.named_modules():
            if name:
                stack.callback(module.register_forward_hook(noted(name)).remove)
        task.score(batch)
    return list(found.values())


def make_feature_maps(
    task: Task, batch: Batch, layer: str, pictures: Sequence[str] = (), bounds: Bounds | None = None
) -> ImageGrid | LineChart:
    """What a layer makes of the first row of a batch: the numbers of a vector as bars, or else the maps of its channels
    beside the inputs that are ``pictures``, in which black and white are ``bounds``.

    Raises ConfigError for a layer that the model does not have, with the nearest that it has.
    """
    known = {found.name: found for found in summarize_layers(task, batch)}
    if layer not in known:
        near = did_you_mean(layer, known)
        raise ConfigError(f"features: the model has no layer {layer!r}{near or ';'} one of {', '.join(known)}")
    value = known[layer].output[0]
    if value.dim() < 2:
        return LineChart(f"features-{layer}", _make_bar_panels(value.reshape(-1), int(batch.index[0])), 1, PANEL_WIDTH)
    maps = value.flatten(0, -3) if value.dim() > 2 else value[None]
    shown = maps[:MAX_CHANNELS]
    tiles = [ImageTile(one[None], f"{number}" if len(maps) > 1 else "") for number, one in enumerate(shown)]
    own = [ImageTile(batch.inputs[name][0], name, bounds=bounds) for name in pictures]
    return ImageGrid(f"features-{layer}", [*own, *tiles], GRID_COLUMNS, is_shared=False)


def _make_bar_panels(values: Tensor, row: int) -> list[PlotPanel]:
    """The numbers (N,) of a row, some in each panel, as far as there is room."""
    panels = []
    for first in range(0, min(len(values), UNITS_PER_PANEL * MAX_PANELS), UNITS_PER_PANEL):
        part = values[first : first + UNITS_PER_PANEL]
        title = f"row {row}, units {first} to {first + len(part) - 1} of {len(values)}"
        panels.append(PlotPanel(title, "unit", "output", bars=(torch.arange(first, first + len(part)), part)))
    return panels


def make_sample_grid(train: Loader, count: int, names: Sequence[str], bounds: Bounds | None = None) -> ImageGrid:
    """The first training rows, each as it is and as the first epochs see it, on one scale.

    bounds: what black and white are; without them, the least and the largest value of the rows as they are, so that
    these look the same whatever augmentation does to the others.
    """
    index, tiles, rows = torch.arange(count), [], train.split.get_row_names(first=0)
    batches = [train.load_rows(index), *(train.load_augmented_rows(index, epoch) for epoch in range(PREVIEW_EPOCHS))]
    shown_in = {name: bounds or _value_range(batches[0].inputs[name]) for name in train.image_inputs}
    for row in range(count):
        for column, batch in enumerate(batches):
            caption = f"{caption_row(rows, row)}{_format_class(batch, row, names)}" if not column else f"epoch {column}"
            target = batch.target
            classes = target[row] if target is not None and target.dim() == 3 else None
            tiles += [
                ImageTile(batch.inputs[name][row], caption, class_map=classes, bounds=shown_in[name])
                for name in train.image_inputs
            ]
    return ImageGrid("samples", tiles, len(tiles) // count, class_names=names)


def _value_range(x: Tensor) -> Bounds:
    """The least and the largest value of all channels."""
    return [float(x.min())], [float(x.max())]


def _format_class(batch: Batch, row: int, names: Sequence[str]) -> str:
    """The class of a row at rest, in words where there are some."""
    target = batch.target
    if target is None or target.dim() != 1:
        return ""
    return f": {names[int(target[row])] if names else target[row].item()}"
