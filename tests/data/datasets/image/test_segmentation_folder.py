"""Images and masks: pairs by name, classes from values, cache, baseline and errors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.lab import lab
from tests.helpers.mask_folders import make_image, make_mask, read, read_error, rows, write
from tests.helpers.real_data import FOLDER, needs
from trainer.core.batch import IGNORE_INDEX
from trainer.core.split import TensorSplit
from trainer.data.datasets.image.segmentation_folder import ISBI2012, SegmentationFolder
from trainer.data.reference import baselines
from trainer.data.splits.image_splits import RepeatedSplit
from trainer.engine.dataloader import Loader


@pytest.mark.parametrize("values", [(0, 255), (0, 7, 255), (3, 9, 300, 40000)])
def test_sorted_mask_values_are_the_classes(tmp_path: Path, values: tuple[int, ...]) -> None:
    data = read(write(tmp_path, values=values))
    assert data.info.class_names == [str(value) for value in values]
    assert data.info.sizes["out_features"] == (1 if len(values) == 2 else len(values))
    assert [len(split) for split in (data.train, data.val, data.test)] == [6, 2, 2]
    numbers = []
    for split in (data.train, data.val, data.test):
        for x, y in zip(*rows(split), strict=True):
            number = int(x[0, 0, 0])
            numbers.append(number)
            assert torch.equal(x[0], torch.from_numpy(make_image(number, values)))
            assert torch.equal(y, torch.from_numpy(make_mask(number, tuple(range(len(values))))))
    assert sorted(numbers) == list(range(10))


def rewrite_masks(folder: Path, kind: str) -> None:
    """Rewrite the masks in an equivalent image mode."""
    for path in sorted((folder / "masks").iterdir()):
        with Image.open(path) as image:
            values = np.array(image)
        path.unlink()
        if kind == "palette":
            image = Image.fromarray((values > 0).astype(np.uint8) + (values > 9)).convert("P")
            image.putpalette([200, 0, 0, 0, 90, 0, 5, 5, 5])
        elif kind == "one bit":
            image = Image.fromarray(values > 0)
        else:
            image = Image.fromarray(values).convert(kind)
        image.save(path)


@pytest.mark.parametrize("kind", ["palette", "RGB", "RGBA", "LA"])
def test_mask_image_modes_are_equivalent(tmp_path: Path, kind: str) -> None:
    original = read(write(tmp_path))
    rewrite_masks(tmp_path, kind)
    rewritten = read(tmp_path)
    assert torch.equal(rows(rewritten.train)[1], rows(original.train)[1])


def test_1_bit_masks_are_read(tmp_path: Path) -> None:
    original = read(write(tmp_path, values=(0, 255)))
    rewrite_masks(tmp_path, "one bit")
    rewritten = read(tmp_path, classes=["off", "on"])
    assert rewritten.info.class_names == ["off", "on"]
    assert torch.equal(rows(rewritten.train)[1], rows(original.train)[1])


def test_ignored_value_is_excluded_from_targets_and_baseline(tmp_path: Path) -> None:
    data = read(write(tmp_path), ignore=7, classes=["ground", "sky"])
    y = rows(data.train)[1]
    assert y.unique().tolist() == [IGNORE_INDEX, 0, 1]
    assert data.train.get_targets().tolist() == [[0, 1, IGNORE_INDEX]]  # type: ignore[union-attr]
    assert data.info.baseline.keys() == {"mean_iou", "pixel_accuracy", "nll", "iou_ground", "iou_sky"}
    assert data.info.baseline == pytest.approx(compute_baseline(data, ["ground", "sky"]))
    assert (
        lab("model=unet", "model.widths=[4]", *make_overrides(tmp_path), "data.ignore=7").test()["pixel_accuracy"] > 0
    )


def make_overrides(folder: Path) -> tuple[str, ...]:
    return "data=image_masks", f"data.path={folder}", "epochs=1"


def compute_baseline(data: SegmentationFolder, names: list[str]) -> dict[str, float]:
    """Return the baseline of all pixels at once."""
    splits = (TensorSplit({"x": torch.zeros(len(split))}, rows(split)[1]) for split in (data.train, data.test))
    return baselines.majority_pixel_class(*splits, names)


@pytest.mark.parametrize("changes", [{}, {"size": 5}, {"size": 16, "fit": "stretch"}])
def test_baseline_is_computed_on_resized_pixels(tmp_path: Path, changes: dict[str, object]) -> None:
    data = read(write(tmp_path), **changes)
    assert data.info.baseline == pytest.approx(compute_baseline(data, ["0", "7", "255"]))


def test_resized_mask_keeps_its_class_values(tmp_path: Path) -> None:
    write(tmp_path, values=(0, 200))
    x, y = rows(read(tmp_path, size=24).train)
    assert x.shape == (6, 1, 24, 24)
    assert y.unique().tolist() == [0, 1]
    assert len(x.unique()) > 10
    agree = (x[:, 0] > 30) == (y == 1)
    assert agree.float().mean() > 0.98, "image and mask are cropped alike"


@pytest.mark.parametrize("workers", [0, 2])
def test_cached_and_uncached_rows_are_equal_with_any_workers(tmp_path: Path, workers: int) -> None:
    write(tmp_path)
    cached, uncached = read(tmp_path, size=6, repeats=3), read(tmp_path, size=6, repeats=3, cache_gb=0.0)
    assert uncached.train.count_bytes() is None
    assert cached.info == uncached.info
    options: dict[str, Any] = {"batch_size": 4, "device": torch.device("cpu"), "train": True}
    cached_loader, uncached_loader = (
        Loader(cached.train, "train", **options),
        Loader(uncached.train, "train", workers=workers, **options),
    )
    for first, second in zip(cached_loader.iter_epoch(1), uncached_loader.iter_epoch(1), strict=True):
        assert torch.equal(first.inputs["x"], second.inputs["x"])
        assert torch.equal(first.target, second.target)  # type: ignore[arg-type]
        assert torch.equal(first.index, second.index)


def test_repeated_split_repeats_rows_under_new_indices() -> None:
    split = RepeatedSplit(TensorSplit({"x": torch.arange(3)}, torch.arange(3) * 10), 4)
    assert len(split) == 12
    index = torch.tensor([2, 5, 11, 0])
    batch = split.batch(index, 0)
    assert batch.inputs["x"].tolist() == [2, 2, 2, 0]
    assert batch.index.tolist() == [2, 5, 11, 0]
    for chunk, expected in zip(split.iter_batches([index, index + 1 - 1], 0), (batch, batch), strict=True):
        assert torch.equal(chunk.inputs["x"], expected.inputs["x"])
        assert torch.equal(chunk.index, expected.index)
    assert split.get_targets().tolist() == [0, 10, 20]  # type: ignore[union-attr]


def test_split_folders_define_the_splits(tmp_path: Path) -> None:
    for part, start, count in (("train", 0, 10), ("test", 10, 4), ("val", 14, 3)):
        write(tmp_path / part, count, start=start)
        if part == "test":
            data = read(tmp_path)
            assert [len(split) for split in (data.train, data.val, data.test)] == [8, 2, 4]
    data = read(tmp_path)
    assert [len(split) for split in (data.train, data.val, data.test)] == [10, 3, 4]


def test_incompatible_layouts_are_reported(tmp_path: Path) -> None:
    assert "must have images/ and masks/; found: nothing" in read_error(tmp_path)
    write(tmp_path)
    assert "is a file; it must be a folder with images/ and masks/" in read_error(tmp_path / "images" / "1.bmp")
    (tmp_path / "masks" / "3.png").rename(tmp_path / "masks" / "three.png")
    message = read_error(tmp_path)
    assert "2 files of " in message
    assert f"{tmp_path}/images/3.bmp, {tmp_path}/masks/three.png" in message
    (tmp_path / "masks" / "three.png").rename(tmp_path / "masks" / "4.gif")
    assert "4.gif and 4.png have the same name" in read_error(tmp_path)
    assert "the val split is empty (2 images in total)" in read_error(write(tmp_path / "few", 2))


def test_files_that_are_not_masks_are_reported(tmp_path: Path) -> None:
    write(tmp_path)
    mask = tmp_path / "masks" / "3.png"
    good = mask.read_bytes()
    ramp = np.arange(80, dtype=np.uint8).reshape(10, 8)
    Image.fromarray(ramp).save(mask)
    assert f"{mask} has 80 distinct values): shades" in read_error(tmp_path)
    Image.fromarray(np.repeat(np.arange(70, dtype=np.uint8), 3)[:, None].repeat(8, 1)).save(mask)
    Image.new("L", (8, 210)).save(tmp_path / "images" / "3.bmp")
    assert f"{mask} has 70 distinct values (at most 64)" in read_error(tmp_path)
    Image.new("L", (8, 10)).save(tmp_path / "images" / "3.bmp")
    Image.fromarray(np.stack((ramp, ramp, ramp + 1), -1)).save(mask)
    assert f"{mask}: color image; a mask must be" in read_error(tmp_path)
    Image.fromarray(ramp[:, :5] // 20).save(mask)
    assert f"{mask} is 5 x 10 pixels, its image 8 x 10" in read_error(tmp_path)
    mask.write_bytes(b"")
    assert f"1 of 10 files:\n  {mask} is empty" in read_error(tmp_path)
    image_path = tmp_path / "images" / "2.bmp"
    content = image_path.read_bytes()
    image_path.write_bytes(content[:-100])
    assert "2 of 10 files:" in read_error(tmp_path)
    mask.write_bytes(good)
    assert f"1 of 10 files:\n  {image_path}: " in read_error(tmp_path)
    image_path.write_bytes(content)
    message = read_error(tmp_path, classes=["a", "b"])
    assert "classes: 2 names (a, b), but the masks contain the values 0, 7, 255" in message
    assert "must be 2 to 64 classes" in read_error(write(tmp_path / "flat", values=(4,)))


def test_dropped_pairs_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path)
    for name in ("images", "masks"):
        (tmp_path / name / "more").mkdir()
        (tmp_path / name / "0.heic").touch()
        shutil.copy(tmp_path / "masks" / "1.png", tmp_path / name / "more" / "1.png")
    data = read(tmp_path)
    assert sum(map(len, (data.train, data.val, data.test))) == 10
    assert "2 in subfolders (images/more/1.png, ...); 2 .heic (images/0.heic, ...)" in caplog.text


def test_images_of_different_sizes_require_size(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("images/2.bmp", "masks/2.png"):
        with Image.open(tmp_path / name) as image:
            image.resize((20, 12), Image.Resampling.NEAREST).save(tmp_path / name)
    message = read_error(tmp_path)
    assert message.startswith("size: images differ in size: ")
    assert "20 x 12" in message
    assert read(tmp_path, size=8).info.sizes["height"] == 8


@pytest.mark.slow
def test_unet_with_one_output_learns_both_classes(tmp_path: Path) -> None:
    write(tmp_path, 20, values=(0, 200))
    options = ("model.widths=[8]", "data.classes=[sea, land]", "epochs=40", "optimizer.lr=1e-2")
    scores = lab("model=unet", *make_overrides(tmp_path), *options).test()
    assert {"mean_iou", "iou_sea", "iou_land", "pixel_accuracy"} < set(scores)
    assert scores["mean_iou"] > 0.9


@needs("isbi2012")
def test_isbi2012_sizes_and_baseline() -> None:
    data = ISBI2012(size=None, repeats=2, data_dir=str(FOLDER))
    assert [len(split) for split in (data.train, data.val, data.test)] == [40, 4, 6]
    assert data.info.class_names == ["membrane", "cell"]
    assert (data.info.sizes["in_channels"], data.info.sizes["height"], data.info.sizes["out_features"]) == (
        1,
        512,
        1,
    )
    share = torch.cat([rows(split)[1] for split in (data.train.split, data.val, data.test)]).float().mean()
    assert share == pytest.approx(0.78, abs=0.005)
    assert data.info.baseline["pixel_accuracy"] == pytest.approx(float(rows(data.test)[1].float().mean()))
    assert data.info.baseline["iou_membrane"] == 0
    with Image.open(FOLDER / "isbi2012/train/image/24.png") as image:
        assert torch.equal(rows(data.test)[0][0, 0], torch.from_numpy(np.array(image)))
