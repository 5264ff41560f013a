"""Windows of images: positions, weights, and blended predictions without seams."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.data.splits import window_blending
from trainer.data.splits.image_windows import ImageWindows, MapImage
from trainer.data.splits.pixel_scale import PixelScale

SCALE = PixelScale(torch.zeros(1, 1, 1), torch.full((1, 1, 1), 255.0))
KERNEL = torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(1))


def make_windows(pixels: Tensor, side: int, overlap: float = 0.5, target: Tensor | None = None) -> ImageWindows:
    image = MapImage(pixels, "a.png", "a", (pixels.shape[1], pixels.shape[2]), target)
    stride = max(1, round(side * (1 - overlap)))
    return ImageWindows([image], SCALE, (side, side), (stride, stride))


def predict(x: Tensor) -> dict[str, Tensor]:
    """Predict by a convolution with zero padding, which is equivariant except at the borders of what it is given."""
    probabilities = F.conv2d(x, KERNEL, padding=2).softmax(1)
    return {"label": probabilities.argmax(1), "probabilities": probabilities}


def choose_labels(probabilities: Tensor) -> Tensor:
    return probabilities.argmax(1)


def predict_windows(split: ImageWindows, batch_size: int = 4) -> Tensor:
    order = torch.arange(len(split)).split(batch_size)
    batches = [split.to_model_inputs(batch) for batch in split.iter_batches(order, 0)]
    outputs = split.collect_outputs(((batch.index, predict(batch.inputs["x"])) for batch in batches), choose_labels)
    return outputs["label"][0]


@pytest.mark.parametrize(
    ("length", "window", "stride"), [(40, 16, 8), (41, 16, 8), (16, 16, 8), (5, 16, 8), (33, 16, 1)]
)
def test_windows_cover_a_line_and_score_each_position_once(length: int, window: int, stride: int) -> None:
    starts = window_blending.place_windows(length, window, stride)
    parts = window_blending.find_scored_parts(starts, window)
    covered = [start + offset for start, part in zip(starts, parts, strict=True) for offset in range(*part)]
    assert covered == list(range(max(length, window)))
    assert starts[-1] + window == max(length, window)
    for start, part in zip(starts, parts, strict=True):
        for position in (start + part[0], start + part[1] - 1):
            distances = [abs(position - other - (window - 1) / 2) for other in starts]
            assert abs(position - start - (window - 1) / 2) <= min(distances) + 1


@pytest.mark.parametrize(("length", "window"), [(5, 9), (1, 6), (2, 7), (3, 20), (8, 8)])
def test_reflected_positions_equal_padding_with_numpy(length: int, window: int) -> None:
    import numpy as np

    before = (window - length) // 2
    expected = np.pad(np.arange(length), (before, window - length - before), "reflect")
    assert window_blending.reflect_positions(length, window).tolist() == expected.tolist()


def test_weights_of_windows_with_half_overlap_sum_to_one() -> None:
    weights = window_blending.make_weights((16, 16))
    assert float(weights.min()) > 0
    total = torch.zeros(48, 48)
    for top in range(0, 33, 8):
        for left in range(0, 33, 8):
            total[top : top + 16, left : left + 16] += weights
    torch.testing.assert_close(total[8:40, 8:40], torch.ones(32, 32))


def test_blended_labels_equal_those_of_the_whole_image() -> None:
    """The border of a window, where a convolution is wrong, has almost no weight; cut windows show that it matters."""
    pixels = torch.randint(256, (1, 75, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = predict(SCALE(pixels)[None])["label"][0]
    blended = predict_windows(make_windows(pixels, 32))
    cut = predict_windows(make_windows(pixels, 32, overlap=0.0))
    assert float((blended != whole).float().mean()) < 0.002
    assert float((cut != whole).float().mean()) > 0.01
    single = make_windows(pixels, 90)
    assert len(single) == 1


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_labels_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    pixels = torch.randint(256, (1, 40, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        predict_windows(make_windows(pixels, 16), batch_size), predict_windows(make_windows(pixels, 16), 2)
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (50, 3), (16, 16), (7, 16)])
def test_images_smaller_than_a_window_keep_their_size(size: tuple[int, int]) -> None:
    pixels = torch.randint(256, (1, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = predict_windows(make_windows(pixels, 16))
    assert labels.shape == size
    if max(size) <= 16:
        rows, columns = (window_blending.reflect_positions(length, 16) for length in size)
        padded = predict(SCALE(pixels[:, rows][:, :, columns])[None])["label"][0]
        top, left = ((16 - length) // 2 for length in size)
        assert torch.equal(labels, padded[top : top + size[0], left : left + size[1]].to(labels.dtype))


@pytest.mark.parametrize("size", [(40, 33), (16, 16), (9, 40)])
def test_every_target_is_scored_in_one_window(size: tuple[int, int]) -> None:
    target = torch.arange(size[0] * size[1]).remainder(100).to(torch.int8).view(size)
    split = make_windows(torch.zeros(1, *size, dtype=torch.uint8), 16, target=target)
    batch = split.to_model_inputs(split.batch(torch.arange(len(split)), 0))
    scored = batch.require_target()[batch.require_target() != IGNORE_INDEX]
    assert scored.sort().values.tolist() == target.long().flatten().sort().values.tolist()
    assert set(scored.tolist()) <= set(split.get_targets()[0].tolist())  # type: ignore[index]


def test_resized_probabilities_equal_bilinear_interpolation() -> None:
    probabilities = torch.rand(3, 9, 12, generator=torch.Generator().manual_seed(0))
    for size in ((23, 40), (9, 12), (1, 1), (5, 30)):
        expected = F.interpolate(probabilities[None], size, mode="bilinear", align_corners=False).argmax(1)[0]
        labels = window_blending.resize_to_labels(probabilities, size, choose_labels)
        assert float((labels == expected).float().mean()) > 0.999


def test_resizing_in_strips_equals_resizing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = torch.rand(3, 9, 12, generator=torch.Generator().manual_seed(0))
    at_once = window_blending.resize_to_labels(probabilities, (50, 31), choose_labels)
    monkeypatch.setattr(window_blending, "STRIP_PIXELS", 100)
    assert torch.equal(window_blending.resize_to_labels(probabilities, (50, 31), choose_labels), at_once)
