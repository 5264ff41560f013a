"""Label maps: paths of masks, padding, shares of classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.core import label_maps
from trainer.core.batch import IGNORE_INDEX
from trainer.core.prediction import IndexedImage


@pytest.mark.parametrize(
    ("names", "paths"),
    [
        (["a.png", "sub/b.jpg", "c"], ["a", "sub/b", "c"]),
        (["a.png", "a.jpg", "b.png"], ["a.png", "a.jpg", "b"]),
        (["a.png", "a.jpg", "a.png.png"], ["a.png", "a.jpg", "a.png.png"]),
        (["A.png", "a.bmp"], ["A.png", "a.bmp"]),
        (["x/a.png", "y/a.png"], ["x/a", "y/a"]),
        ([0, 1, 12], ["0", "1", "12"]),
        (["/etc/a.png", "../b.png", "x\\..\\c.png", "..", ""], [f"image-{number}" for number in range(5)]),
        (["v1.2 b", "a. b.png"], ["v1.2 b", "a. b"]),
        (["a", "a"], ["a-0", "a-1"]),
    ],
)
def test_paths_of_masks_are_distinct_and_relative(names: list[object], paths: list[str]) -> None:
    assert label_maps.make_mask_paths(names) == paths


def test_paths_are_distinct_whatever_the_suffixes() -> None:
    names = [f"{stem}{suffix}" for stem in ("a", "a.png", "A", "a.png.jpg") for suffix in (".png", ".jpg", ".JPG", "")]
    paths = label_maps.make_mask_paths(names)
    assert len({path.lower() for path in paths}) == len(names)


def test_label_maps_become_masks_and_shares() -> None:
    labels = torch.full((2, 3, 4), IGNORE_INDEX, dtype=torch.int16)
    labels[0] = torch.arange(12).view(3, 4) % 3
    labels[1, :2, :1] = 1
    target = torch.zeros(2, 3, 4, dtype=torch.long)
    target[0, 0] = IGNORE_INDEX
    decoded = label_maps.decode_label_maps(
        labels,
        {"file": ["a.png", "b.png"]},
        ["a", "b"],
        ["x", "y", "z"],
        lambda values: label_maps.encode_class_indices(values, 3),
        target,
    )
    columns = {name: list(cells) for name, cells in decoded.columns.items()}
    assert columns == {
        **{"file": ["a.png", "b.png"], "mask": ["masks/a.png", "masks/b.png"], "width": [4, 1], "height": [3, 2]},
        **{"share_x": [1 / 3, 0.0], "share_y": [1 / 3, 1.0], "share_z": [1 / 3, 0.0], "pixel_accuracy": [0.25, 0.0]},
    }
    mask = decoded.images["masks/a.png"]
    assert isinstance(mask, IndexedImage)
    assert np.array_equal(mask.indices, np.arange(12).reshape(3, 4) % 3)
    assert len({tuple(color) for color in mask.palette}) == 3
