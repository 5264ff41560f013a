"""Gratings, digits, digit canvases and MNIST: contents, labels and baselines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.idx_files import idx, zipped
from tests.helpers.lab import lab
from tests.helpers.real_data import FOLDER, needs
from trainer.core.split import TensorSplit
from trainer.data.datasets.image.digits import BACKGROUND_CLASS, FOREGROUND_THRESHOLD, DigitCanvas, Digits, load_digits
from trainer.data.datasets.image.gratings import Gratings
from trainer.data.datasets.image.mnist import MNIST, SequentialMNIST
from trainer.data.reference import baselines
from trainer.utils.errors import DataError


def get_target(split: object) -> Tensor:
    assert isinstance(split, TensorSplit)
    assert split.target is not None
    return split.target


@pytest.mark.slow
def test_cnn_learns_gratings_and_linear_model_does_not() -> None:
    overrides = ("data=gratings", "data.rows=1500", "data.noise=0.5")
    convolution = lab("model=cnn", *overrides, "batch_size=32", "epochs=4")
    assert convolution.data.info.best_possible["accuracy"] == 1.0
    assert convolution.test()["accuracy"] > 0.9
    assert lab("model=mlp", "model.hidden=[]", "data=gratings").test()["accuracy"] < 0.2


def test_gratings_best_possible_accuracy_drops_under_noise() -> None:
    options = {"rows": 500, "size": 28, "classes": 10, "wavelength": 7.0, "seed": 0}
    assert Gratings(noise=30.0, **options).info.best_possible["accuracy"] < 0.5


def test_digits_splits_are_stratified_and_disjoint() -> None:
    data = Digits(size=8, seed=0)
    expected_shares = torch.bincount(load_digits(8)[1]) / 1797
    for split in (data.train, data.val, data.test):
        shares = torch.bincount(get_target(split)) / len(split)
        assert (shares - expected_shares).abs().max() < 0.005
    rows = torch.cat([split.inputs["x"].flatten(1) for split in (data.train, data.val, data.test)])
    assert len(rows.unique(dim=0)) == len(load_digits(8)[0].flatten(1).unique(dim=0))
    assert len(rows) == 1797
    assert not torch.equal(get_target(Digits(size=8, seed=1).test), get_target(data.test))


def make_canvas(**changes: int) -> DigitCanvas:
    options = {"rows": 50, "size": 32, "digits": 3, "digit_size": 12, "seed": 0}
    return DigitCanvas(**options | changes)  # type: ignore[arg-type]


def test_canvas_labels_cover_the_digit_pixels() -> None:
    data = make_canvas()
    x, y = data.train.inputs["x"][:, 0], get_target(data.train)
    assert torch.equal(y != BACKGROUND_CLASS, x > FOREGROUND_THRESHOLD)
    quarters = y.unfold(1, 16, 16).unfold(2, 16, 16).flatten(3)  # (N, 2, 2, 256)
    is_digit = quarters != BACKGROUND_CLASS
    assert (is_digit.any(-1).sum((1, 2)) == 3).all()
    lowest = quarters.masked_fill(~is_digit, 99).amin(-1)
    highest = quarters.masked_fill(~is_digit, -1).amax(-1)
    assert (lowest == highest)[is_digit.any(-1)].all()


def test_the_canvas_shows_its_labeled_digit() -> None:
    x, y = load_digits(16)
    data = make_canvas(digits=1, digit_size=16)
    images, labels = data.test.inputs["x"][:, 0], get_target(data.test)
    for image, label in zip(images, labels, strict=True):
        corner = label.ne(BACKGROUND_CLASS).nonzero().amin(0) // 16 * 16
        patch = image[corner[0] : corner[0] + 16, corner[1] : corner[1] + 16]
        nearest = (x[:, 0] - patch).abs().sum((1, 2)).argmin()
        assert y[nearest] == label.amin()


def test_digit_larger_than_canvas_quarter_raises() -> None:
    with pytest.raises(DataError, match=r"digit_size: 17 pixels exceed .* \(at most 16"):
        make_canvas(digit_size=17)


def test_canvas_baseline_predicts_background_and_skips_ignored_pixels() -> None:
    baseline = make_canvas(rows=500).info.baseline
    assert baseline["mean_iou"] == pytest.approx(0.071, abs=0.005)
    assert baseline["iou_background"] == pytest.approx(11 * baseline["mean_iou"])
    assert baseline["pixel_accuracy"] == pytest.approx(baseline["iou_background"])
    assert baseline["iou_3"] == 0
    ignored = torch.tensor([[-100, 0, 1], [-100, -100, 1]])
    split = TensorSplit({"x": torch.zeros(2, 1)}, ignored)
    assert baselines.majority_pixel_class(split, split, ["sky", "sea"])["iou_sea"] == pytest.approx(2 / 3)


@pytest.mark.slow
def test_unet_beats_background_baseline_and_reports_class_iou() -> None:
    overrides = ("model.widths=[16, 32]", "data.rows=400", "optimizer.lr=1e-2", "epochs=6")
    run = lab("model=unet", "data=digit_canvas", *overrides)
    scores = run.test()
    assert scores["iou_background"] > 0.93
    assert run.data.info.baseline["iou_background"] < 0.82
    assert {f"iou_{digit}" for digit in range(10)} < set(scores)


@pytest.fixture
def mnist_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Return a function that writes a small MNIST in its real layout and returns the root."""
    import hashlib

    from trainer.data.datasets.image import mnist

    def write(rows: int) -> Path:
        folder = tmp_path / "mnist" / mnist.RAW_DIR
        folder.mkdir(parents=True)
        random = torch.Generator().manual_seed(0)
        for name in mnist.SHA256:
            shape = (rows, 4, 4) if "images" in name else (rows,)
            values = torch.randint(256 if "images" in name else 10, shape, generator=random, dtype=torch.uint8)
            packed = zipped(idx(values.numpy().tobytes(), *shape))
            (folder / name).write_bytes(packed)
            monkeypatch.setitem(mnist.SHA256, name, hashlib.sha256(packed).hexdigest())
        return tmp_path

    return write


def test_mnist_is_split_and_standardized(mnist_files: Callable[[int], Path]) -> None:
    root = mnist_files(50)
    data = MNIST(val_rows=10, data_dir=str(root))
    assert (len(data.train), len(data.val), len(data.test)) == (40, 10, 50)
    x = data.train.inputs["x"]
    assert x.shape == (40, 1, 4, 4)
    assert x.dtype == torch.uint8
    pixels = x.float()
    expected = (data.test.inputs["x"].float() - pixels.mean()) / pixels.std(correction=0)
    test_inputs = data.test.to_model_inputs(data.test.batch(torch.arange(50), 0)).inputs["x"]
    assert torch.allclose(test_inputs, expected, atol=1e-6)
    train_inputs = data.train.to_model_inputs(data.train.batch(torch.arange(40), 0)).inputs["x"]
    assert data.info.image.blank == [pytest.approx(float(train_inputs.min()))]
    with pytest.raises(DataError, match=r"val_rows: 50 leaves no training rows of 50"):
        MNIST(val_rows=50, data_dir=str(root))


def test_sequential_mnist_steps_are_image_rows(mnist_files: Callable[[int], Path]) -> None:
    root = str(mnist_files(50))
    images, sequences = MNIST(val_rows=10, data_dir=root), SequentialMNIST(val_rows=10, data_dir=root)
    for name in ("train", "val", "test"):
        image_split, sequence_split = (getattr(data, name) for data in (images, sequences))
        assert torch.equal(sequence_split.inputs["x"], image_split.inputs["x"][:, 0])
        assert torch.equal(get_target(sequence_split), get_target(image_split))
    assert {"seq_len": 4, "in_features": 4, "out_features": 10}.items() <= sequences.info.sizes.items()
    assert sequences.info.baseline == images.info.baseline


@needs("mnist")
def test_mnist_sizes_and_labels_match_publication() -> None:
    data = MNIST(val_rows=5000, data_dir=str(FOLDER))
    assert (len(data.train), len(data.val), len(data.test)) == (55000, 5000, 10000)
    assert get_target(data.train)[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert get_target(data.test)[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert data.info.sizes["flat_features"] == 784
    assert data.info.baseline["accuracy"] == pytest.approx(0.1135)
