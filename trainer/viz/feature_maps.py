"""Feature maps of a row, and augmented training images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.core.artifacts import Bounds, ImageGrid, ImageTile, LineChart, PlotPanel, caption_row
from trainer.core.batch import Batch
from trainer.core.task import Task
from trainer.engine.dataloader import Loader
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean
from trainer.viz.model_summary import summarize_layers

MAX_CHANNELS, GRID_COLUMNS, PREVIEW_EPOCHS = 64, 8, 5
"""Maximum number of feature maps, columns of the grid, and epochs in a preview of augmented rows."""
UNITS_PER_PANEL, MAX_PANELS, PANEL_WIDTH = 128, 8, 9.0
"""Bars per panel of a bar chart, maximum number of panels, and their width in inches."""


def make_feature_maps(
    task: Task, batch: Batch, layer: str, image_inputs: Sequence[str] = (), bounds: Bounds | None = None
) -> ImageGrid | LineChart:
    """Make a plot of a layer's output for the first row of a batch: bars of a vector, or maps of its channels.

    Args:
        task: Task with the model.
        batch: Batch of at least one row.
        layer: Dotted name of the layer.
        image_inputs: Names of inputs that are images; they are shown next to the feature maps.
        bounds: Black and white levels of these images.

    Raises:
        ConfigError: The model has no such layer; the message names the nearest one.
    """
    layers = {summary.name: summary for summary in summarize_layers(task, batch)}
    if layer not in layers:
        suggestion = did_you_mean(layer, layers)
        raise ConfigError(f"features: the model has no layer {layer!r}{suggestion or ';'} one of {', '.join(layers)}")
    value = layers[layer].output[0]
    if value.dim() < 2:
        return LineChart(f"features-{layer}", _make_bar_panels(value.reshape(-1), int(batch.index[0])), 1, PANEL_WIDTH)
    maps = value.flatten(0, -3) if value.dim() > 2 else value[None]
    visible_maps = maps[:MAX_CHANNELS]
    tiles = [
        ImageTile(feature_map[None], f"{channel}" if len(maps) > 1 else "")
        for channel, feature_map in enumerate(visible_maps)
    ]
    input_tiles = [ImageTile(batch.inputs[name][0], name, bounds=bounds) for name in image_inputs]
    return ImageGrid(f"features-{layer}", [*input_tiles, *tiles], GRID_COLUMNS, is_shared=False)


def _make_bar_panels(values: Tensor, row: int) -> list[PlotPanel]:
    """Make bar charts of a vector (N,), split over several panels."""
    panels = []
    for first in range(0, min(len(values), UNITS_PER_PANEL * MAX_PANELS), UNITS_PER_PANEL):
        part = values[first : first + UNITS_PER_PANEL]
        title = f"row {row}, units {first} to {first + len(part) - 1} of {len(values)}"
        panels.append(PlotPanel(title, "unit", "output", bars=(torch.arange(first, first + len(part)), part)))
    return panels


def make_sample_grid(train: Loader, count: int, class_names: Sequence[str], bounds: Bounds | None = None) -> ImageGrid:
    """Make an image grid of the first training rows, each without augmentation and as augmented in the first epochs.

    Args:
        train: Loader of the training rows.
        count: Number of rows.
        class_names: Names of the classes, for captions and the legend; may be empty.
        bounds: Black and white levels; default: minimum and maximum of the unaugmented rows, so that these look the
            same regardless of the augmentation.
    """
    index, tiles, rows = torch.arange(count), [], train.split.get_row_names(first=0)
    batches = [train.load_rows(index), *(train.load_augmented_rows(index, epoch) for epoch in range(PREVIEW_EPOCHS))]
    bounds_by_input = {name: bounds or _value_range(batches[0].inputs[name]) for name in train.image_inputs}
    for row in range(count):
        for column, batch in enumerate(batches):
            caption = (
                f"{caption_row(rows, row)}{_format_class(batch, row, class_names)}" if not column else f"epoch {column}"
            )
            target = batch.target
            classes = target[row] if target is not None and target.dim() == 3 else None
            tiles += [
                ImageTile(batch.inputs[name][row], caption, class_map=classes, bounds=bounds_by_input[name])
                for name in train.image_inputs
            ]
    return ImageGrid("samples", tiles, len(tiles) // count, class_names=class_names)


def _value_range(x: Tensor) -> Bounds:
    """Return the minimum and maximum over all channels."""
    return [float(x.min())], [float(x.max())]


def _format_class(batch: Batch, row: int, names: Sequence[str]) -> str:
    """Return the class of an unaugmented row, by name if there are class names."""
    target = batch.target
    if target is None or target.dim() != 1:
        return ""
    return f": {names[int(target[row])] if names else target[row].item()}"
