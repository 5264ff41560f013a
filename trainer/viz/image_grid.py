"""Image grids with captions, drawn by Pillow (hundreds of images per second)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core import class_colors
from trainer.core.artifacts import Bounds, ImageGrid, ImageTile
from trainer.core.batch import IGNORE_INDEX
from trainer.utils.text import escape_control_chars, shorten_label

TARGET_SIZE = 112
"""Size in pixels to which small images are enlarged; large ones are reduced to at most three times this size."""
GAP, FONT_SIZE, LINE_HEIGHT = 8, 13, 16
"""Pixels between images, font size of captions, and distance between lines."""
BACKGROUND_COLOR, TEXT_COLOR = (255, 255, 255), (40, 40, 40)
CLASS_COLORS = torch.tensor(class_colors.CLASS_COLORS)
DARK_CLASS_COLORS = torch.cat((CLASS_COLORS[:3], CLASS_COLORS[4:]))
"""The same without yellow, which is hard to see as points on white."""
HEATMAP_COLOR = torch.tensor([220.0, 30, 30]).view(3, 1, 1)


def draw_image_grid(grid: ImageGrid, path: Path) -> None:
    """Draw an image grid as a PNG, with captions and a legend of the classes that are overlaid.

    Args:
        grid: Images (C, H, W) with captions and optional overlays.
        path: File to write.
    """
    from PIL import Image, ImageDraw, ImageFont

    images = [_to_rgb(tile.image) for tile in grid.tiles]
    unbounded = [image for image, tile in zip(images, grid.tiles, strict=True) if tile.bounds is None]
    shared_range = _value_range(unbounded) if unbounded and grid.is_shared else None
    rendered = [
        _render_tile(
            image, *(_bounds_to_rgb(tile.bounds) if tile.bounds else shared_range or _value_range([image])), tile
        )
        for image, tile in zip(images, grid.tiles, strict=True)
    ]
    captions = [escape_control_chars(tile.caption) for tile in grid.tiles]
    num_lines = max(caption.count("\n") + 1 for caption in captions)
    font = ImageFont.load_default(FONT_SIZE)
    caption_width = max(font.getlength(line) for caption in captions for line in caption.split("\n"))
    cell_width = max(math.ceil(caption_width), *(tile_pixels.shape[1] for tile_pixels in rendered)) + GAP
    cell_height = max(tile_pixels.shape[0] for tile_pixels in rendered) + num_lines * LINE_HEIGHT + GAP
    width, height = grid.columns * cell_width + GAP, math.ceil(len(rendered) / grid.columns) * cell_height + GAP
    legend = _layout_legend(collect_legend_entries(grid), font.getlength, width)
    width = max(width, *(left + math.ceil(font.getlength(label)) + GAP for left, _, label, _ in legend), 0)
    canvas = Image.new("RGB", (width, height + (legend[-1][1] + LINE_HEIGHT + GAP if legend else 0)), BACKGROUND_COLOR)
    draw = ImageDraw.Draw(canvas)
    for left, top, label, color in legend:
        draw.rectangle(
            (left - LINE_HEIGHT, height + top + 2, left - LINE_HEIGHT + 11, height + top + 13), color, (128, 128, 128)
        )
        draw.text((left, height + top), label, TEXT_COLOR, font)
    for index, (tile_pixels, caption) in enumerate(zip(rendered, captions, strict=True)):
        left, top = GAP + index % grid.columns * cell_width, GAP + index // grid.columns * cell_height
        canvas.paste(Image.fromarray(tile_pixels), (left, top))
        draw.multiline_text(
            (left, top + tile_pixels.shape[0]), caption, TEXT_COLOR, font, spacing=LINE_HEIGHT - FONT_SIZE
        )
    canvas.save(path)


def collect_legend_entries(grid: ImageGrid) -> list[tuple[str, tuple[int, ...]]]:
    """Return the name and color of each class that is overlaid on a tile; ignored pixels last."""
    if not grid.class_names:
        return []
    maps = [tile.class_map.cpu().unique() for tile in grid.tiles if tile.class_map is not None]
    labels = torch.cat(maps).unique().tolist() if maps else []
    entries = [
        (
            shorten_label(escape_control_chars(grid.class_names[label], one_line=True)),
            tuple(CLASS_COLORS[label % len(CLASS_COLORS)].tolist()),
        )
        for label in labels
        if label != IGNORE_INDEX
    ]
    return entries + [("ignored pixels (no overlay)", BACKGROUND_COLOR)] * (IGNORE_INDEX in labels)


def _layout_legend(
    entries: Sequence[tuple[str, tuple[int, ...]]], measure: Callable[[str], float], width: int
) -> list[tuple[int, int, str, tuple[int, ...]]]:
    """Wrap legend entries to a width in pixels; each is (left, top, label, color), with the left edge of the label."""
    placed: list[tuple[int, int, str, tuple[int, ...]]] = []
    left, top = GAP + LINE_HEIGHT, 0
    for label, color in entries:
        label_width = math.ceil(measure(label))
        if placed and left + label_width + GAP > width:
            left, top = GAP + LINE_HEIGHT, top + LINE_HEIGHT + 2
        placed.append((left, top, label, color))
        left += label_width + LINE_HEIGHT + 2 * GAP
    return placed


def _to_rgb(image: Tensor) -> Tensor:
    """Convert an image (C, H, W) to three channels (3, H, W): gray is repeated, further channels are dropped."""
    image = image.detach().float().cpu()
    return image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)


def _value_range(images: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the minimum and maximum over all images and channels."""
    extrema = [image.aminmax() for image in images]
    return torch.stack([extremum.min for extremum in extrema]).min(), torch.stack(
        [extremum.max for extremum in extrema]
    ).max()


def _bounds_to_rgb(bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Expand black and white levels to three channels (3, 1, 1)."""
    black, white = (_to_rgb(torch.tensor(list(end)).view(-1, 1, 1)) for end in bounds)
    return black, white


def _render_tile(image: Tensor, low: Tensor, high: Tensor, tile: ImageTile) -> np.ndarray:
    """Render an image (3, H, W) with its overlay as bytes (h, w, 3)."""
    color = 255 * (image - low) / (high - low).clamp(min=1e-12)
    size = _display_size(image.shape[-2], image.shape[-1])
    color = F.interpolate(color[None], size, mode="nearest" if size[0] >= image.shape[-2] else "area")[0]
    if tile.heatmap is not None:
        heat = F.interpolate(tile.heatmap.float().cpu()[None, None], size, mode="bilinear", align_corners=False)[0]
        color = torch.lerp(color.mean(0, keepdim=True), HEATMAP_COLOR, 0.8 * heat.clamp(0, 1))
    if tile.class_map is not None:
        classes = F.interpolate(tile.class_map.float().cpu()[None, None], size, mode="nearest")[0, 0].long()
        overlay = CLASS_COLORS[classes.clamp(min=0) % len(CLASS_COLORS)].permute(2, 0, 1).float()
        color = torch.where(classes == IGNORE_INDEX, color, torch.lerp(color, overlay, class_colors.OVERLAY_OPACITY))
    return color.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


def _display_size(height: int, width: int) -> tuple[int, int]:
    """Return the size at which an image is drawn: enlarged by an integer factor, or reduced."""
    longest = max(height, width)
    factor = max(1, round(TARGET_SIZE / longest)) if longest <= 3 * TARGET_SIZE else 3 * TARGET_SIZE / longest
    return max(1, round(height * factor)), max(1, round(width * factor))
