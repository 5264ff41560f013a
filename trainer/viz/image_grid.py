"""Sheets of small pictures with captions, drawn by Pillow: a second for hundreds of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core.artifacts import Bounds, Sheet, Tile
from trainer.core.batch import IGNORE
from trainer.utils.text import printable, shorten_label

SIDE = 112
"""Small pictures are enlarged to about so many pixels, large ones shrunk to at most three times as many."""
GAP, TEXT, LINE = 8, 13, 16
"""Pixels between pictures, of the letters of a caption, and from line to line."""
PAPER, INK = (255, 255, 255), (40, 40, 40)
COLOURS = torch.tensor(
    [
        *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0)),
        *((204, 121, 167), (148, 103, 189), (140, 86, 75), (23, 190, 207), (110, 110, 110), (188, 189, 34)),
    ]
)
"""Of classes in turn: the palette of Okabe and Ito 2008, which the colour-blind can tell apart, and a few more."""
DARK = torch.cat((COLOURS[:3], COLOURS[4:]))
"""Those that can be seen on paper as points."""
HOT = torch.tensor([220.0, 30, 30]).view(3, 1, 1)


def draw(sheet: Sheet, path: Path) -> None:
    """Writes a sheet as a PNG."""
    from PIL import Image, ImageDraw, ImageFont

    pictures = [_rgb(tile.picture) for tile in sheet.tiles]
    unbounded = [picture for picture, tile in zip(pictures, sheet.tiles, strict=True) if tile.bounds is None]
    shared = _range(unbounded) if unbounded and sheet.is_shared else None
    faces = [
        _face(picture, *(_given(tile.bounds) if tile.bounds else shared or _range([picture])), tile)
        for picture, tile in zip(pictures, sheet.tiles, strict=True)
    ]
    captions = [printable(tile.caption) for tile in sheet.tiles]
    lines = max(caption.count("\n") + 1 for caption in captions)
    font = ImageFont.load_default(TEXT)
    text = max(font.getlength(line) for caption in captions for line in caption.split("\n"))
    wide = max(math.ceil(text), *(face.shape[1] for face in faces)) + GAP
    high = max(face.shape[0] for face in faces) + lines * LINE + GAP
    width, height = sheet.columns * wide + GAP, math.ceil(len(faces) / sheet.columns) * high + GAP
    placed = _place_legend(legend_entries(sheet), font.getlength, width)
    width = max(width, *(left + math.ceil(font.getlength(label)) + GAP for left, _, label, _ in placed), 0)
    canvas = Image.new("RGB", (width, height + (placed[-1][1] + LINE + GAP if placed else 0)), PAPER)
    pen = ImageDraw.Draw(canvas)
    for left, top, label, color in placed:
        pen.rectangle((left - LINE, height + top + 2, left - LINE + 11, height + top + 13), color, (128, 128, 128))
        pen.text((left, height + top), label, INK, font)
    for place, (face, caption) in enumerate(zip(faces, captions, strict=True)):
        left, top = GAP + place % sheet.columns * wide, GAP + place // sheet.columns * high
        canvas.paste(Image.fromarray(face), (left, top))
        pen.multiline_text((left, top + face.shape[0]), caption, INK, font, spacing=LINE - TEXT)
    canvas.save(path)


def legend_entries(sheet: Sheet) -> list[tuple[str, tuple[int, ...]]]:
    """The name and the color of each class that lies over a tile; last that of pixels of none."""
    if not sheet.classes:
        return []
    maps = [tile.classes.cpu().unique() for tile in sheet.tiles if tile.classes is not None]
    found = torch.cat(maps).unique().tolist() if maps else []
    entries = [
        (shorten_label(printable(sheet.classes[label], one_line=True)), tuple(COLOURS[label % len(COLOURS)].tolist()))
        for label in found
        if label != IGNORE
    ]
    return entries + [("not counted (the picture as it is)", PAPER)] * (IGNORE in found)


def _place_legend(
    entries: Sequence[tuple[str, tuple[int, ...]]], measure: Callable[[str], float], width: int
) -> list[tuple[int, int, str, tuple[int, ...]]]:
    """Entries in lines of a width, each (left, top, label, color): left is where the label begins, behind its box."""
    placed: list[tuple[int, int, str, tuple[int, ...]]] = []
    left, top = GAP + LINE, 0
    for label, color in entries:
        long = math.ceil(measure(label))
        if placed and left + long + GAP > width:
            left, top = GAP + LINE, top + LINE + 2
        placed.append((left, top, label, color))
        left += long + LINE + 2 * GAP
    return placed


def _rgb(picture: Tensor) -> Tensor:
    """Three channels (3, H, W) of any number: one is grey, more than three are cut."""
    picture = picture.detach().float().cpu()
    return picture[:3] if len(picture) >= 3 else picture[:1].expand(3, -1, -1)


def _range(pictures: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The least and the largest value of all channels."""
    ends = [picture.aminmax() for picture in pictures]
    return torch.stack([end.min for end in ends]).min(), torch.stack([end.max for end in ends]).max()


def _given(bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Black and white as the three channels (3, 1, 1) that are drawn."""
    black, white = (_rgb(torch.tensor(list(end)).view(-1, 1, 1)) for end in bounds)
    return black, white


def _face(picture: Tensor, low: Tensor, high: Tensor, tile: Tile) -> np.ndarray:
    """Bytes (h, w, 3) of a picture with what lies over it."""
    colour = 255 * (picture - low) / (high - low).clamp(min=1e-12)
    size = _size(picture.shape[-2], picture.shape[-1])
    colour = F.interpolate(colour[None], size, mode="nearest" if size[0] >= picture.shape[-2] else "area")[0]
    if tile.heat is not None:
        heat = F.interpolate(tile.heat.float().cpu()[None, None], size, mode="bilinear", align_corners=False)[0]
        colour = torch.lerp(colour.mean(0, keepdim=True), HOT, 0.8 * heat.clamp(0, 1))
    if tile.classes is not None:
        classes = F.interpolate(tile.classes.float().cpu()[None, None], size, mode="nearest")[0, 0].long()
        shown = COLOURS[classes.clamp(min=0) % len(COLOURS)].permute(2, 0, 1).float()
        colour = torch.where(classes == IGNORE, colour, torch.lerp(colour, shown, 0.55))
    return colour.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


def _size(height: int, width: int) -> tuple[int, int]:
    """What a picture is shown at: whole multiples of it, or a part."""
    longest = max(height, width)
    factor = max(1, round(SIDE / longest)) if longest <= 3 * SIDE else 3 * SIDE / longest
    return max(1, round(height * factor)), max(1, round(width * factor))
