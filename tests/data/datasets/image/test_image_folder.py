"""Images in class folders: splits, channels, cache, row names and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.image_folders import KINDS, read, read_error, rows, write
from tests.helpers.lab import lab
from trainer.data.splits import image_splits
from trainer.engine.dataloader import Loader
from trainer.utils.errors import DataError, SystemFault


def test_folders_are_classes_and_splits_are_stratified(tmp_path: Path) -> None:
    data = read(write(tmp_path))
    assert data.info.class_names == ["bad", "good"]
    sizes = {"in_channels": 3, "height": 8, "width": 8, "flat_features": 192, "num_classes": 2, "out_features": 1}
    assert data.info.sizes == sizes
    assert data.info.baseline["accuracy"] == 0.5
    shades = []
    for split, count in ((data.train, 6), (data.val, 2), (data.test, 2)):
        x, y = rows(split)
        assert y.bincount().tolist() == [count, count]
        assert torch.equal(x[:, 0, 0, 0] >= 100, y == 1)
        assert (x[:, 2] == 0).all()
        shades += x[:, 0, 0, 0].tolist()
    assert len(set(shades)) == 20


def test_split_folders_define_the_splits(tmp_path: Path) -> None:
    for start, (part, count) in enumerate((("train", 10), ("test", 3))):
        write(tmp_path / part, count, start=start)
    assert [len(split) for split in (read(tmp_path).train, read(tmp_path).val, read(tmp_path).test)] == [16, 4, 6]
    write(tmp_path / "val", 1, start=15)
    assert [len(split) for split in (read(tmp_path).train, read(tmp_path).val)] == [20, 2]


def test_train_and_val_folders_are_splits_without_test(tmp_path: Path) -> None:
    write(tmp_path / "train", 10)
    write(tmp_path / "val", 3, start=10)
    data = read(tmp_path)
    assert data.info.class_names == ["bad", "good"]
    assert [len(split) for split in (data.train, data.val, data.test)] == [16, 6, 4]


def test_folder_with_misspelled_split_name_raises(tmp_path: Path) -> None:
    for part in ("train", "vla", "test"):
        write(tmp_path / part)
    with pytest.raises(DataError, match=r"has train/ and vla/, which is not a split; did you mean val\?"):
        read(tmp_path)


@pytest.mark.parametrize("names", [("train", "valid"), ("Training", "validation", "testing")])
def test_split_folders_have_alternative_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    for start, part in enumerate(names):
        write(tmp_path / part, 10 - start, start=10 * start)
    data = read(tmp_path)
    assert data.info.class_names == ["bad", "good"]
    assert len(data.val) == 18
    write(tmp_path / "val")
    assert f"has val/ and {names[1]}/, which are the same split" in read_error(tmp_path)


def test_gray_images_have_one_channel(tmp_path: Path) -> None:
    gray = read(write(tmp_path, colour=False))
    assert gray.info.sizes["in_channels"] == 1
    assert read(tmp_path, channels=3).info.sizes["in_channels"] == 3
    write(tmp_path, 1, ("bad",))
    assert read(write(tmp_path / "two")).info.sizes["in_channels"] == 3
    assert rows(read(tmp_path / "two", channels=1).train)[0].shape[1] == 1


def test_color_mode_and_scale_are_fitted_on_training_images(tmp_path: Path) -> None:
    write(tmp_path / "train", colour=False)
    write(tmp_path / "test", 3, start=1)
    data = read(tmp_path)
    assert data.info.sizes["in_channels"] == 1
    x = rows(data.train)[0].float()
    assert float(data.train.scale.mean) == pytest.approx(float(x.mean()))
    assert float(data.train.scale.std) == pytest.approx(float(x.std(correction=0)))


def test_channels_are_standardized_separately(tmp_path: Path) -> None:
    data = read(write(tmp_path))
    x = data.train.to_model_inputs(data.train.batch(torch.arange(12), 0)).inputs["x"]
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-6)
    assert torch.allclose(x[:, :2].std((0, 2, 3), correction=0), torch.ones(2))
    assert (x[:, 2] == 0).all(), "a channel without spread"


@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
@pytest.mark.parametrize("workers", [0, 2])
def test_cached_and_uncached_rows_are_equal_with_any_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_gb: float, workers: int
) -> None:
    monkeypatch.setattr(image_splits, "MAX_SAMPLED_IMAGES", 5)
    write(tmp_path)
    reference, data = read(tmp_path), read(tmp_path, cache_gb=cache_gb)
    assert (data.train.count_bytes() is None) == (cache_gb == 0.0)
    assert data.info == reference.info
    for name in ("train", "val", "test"):
        options: dict[str, Any] = {"batch_size": 5, "device": torch.device("cpu"), "train": name == "train"}
        reference_loader = Loader(getattr(reference, name), name, **options)
        loader = Loader(getattr(data, name), name, workers=workers, timeout=30.0, **options)
        assert torch.equal(reference_loader.split.get_targets(), loader.split.get_targets())  # type: ignore[arg-type]
        for first, second in zip(reference_loader.iter_epoch(1), loader.iter_epoch(1), strict=True):
            assert torch.equal(first.inputs["x"], second.inputs["x"])
            assert torch.equal(first.target, second.target)  # type: ignore[arg-type]
            assert torch.equal(first.index, second.index)


def test_images_above_cache_limit_are_not_cached(tmp_path: Path) -> None:
    write(tmp_path)
    size = (20 * 3 * 8 * 8 + 20 * 8) / 1e9
    assert read(tmp_path, cache_gb=size).train.count_bytes() is not None
    assert read(tmp_path, cache_gb=size - 1e-9).train.count_bytes() is None


@pytest.mark.parametrize("workers", [0, 1])
def test_file_damaged_after_loading_raises(tmp_path: Path, workers: int) -> None:
    data = read(write(tmp_path), cache_gb=0.0)
    damaged_path = data.train.x.paths[3]
    damaged_path.write_bytes(damaged_path.read_bytes()[:-30])
    loader = Loader(data.train, "train", batch_size=4, device=torch.device("cpu"), workers=workers, timeout=30.0)
    with pytest.raises(SystemFault) as caught:
        list(loader.iter_epoch(0))
    assert str(caught.value).startswith(f"path: {damaged_path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
def test_broken_images_are_reported_before_training(tmp_path: Path, cache_gb: float) -> None:
    write(tmp_path)
    (tmp_path / "bad" / "004.png").write_bytes(b"no picture")
    (tmp_path / "good" / "005.PNG").write_bytes(b"")
    message = read_error(tmp_path, cache_gb=cache_gb)
    assert "2 of 20 files:" in message
    assert f"{tmp_path}/bad/004.png is not an image" in message
    assert f"{tmp_path}/good/005.PNG is empty" in message


def test_truncated_images_are_reported_before_training_with_the_others(tmp_path: Path) -> None:
    write(tmp_path)
    for number in (1, 3):
        path = tmp_path / "bad" / f"00{number}.PNG"
        path.write_bytes(path.read_bytes()[:-30])
    assert "2 of 20 files:" in read_error(tmp_path)
    (tmp_path / "good" / "004.png").write_bytes(b"no picture")
    assert "3 of 20 files:" in read_error(tmp_path)


def test_row_names_are_file_paths(tmp_path: Path) -> None:
    write(tmp_path / "train", 4)
    write(tmp_path / "test", 2, start=5)
    for cache_gb in (1.0, 0.0):
        data = read(tmp_path, cache_gb=cache_gb, val=0.25)
        label, names = data.test.get_row_names(0)
        assert label == "file"
        assert sorted(map(str, names)) == [f"test/{kind}/{name}" for kind in KINDS for name in ("000.png", "001.PNG")]
        for row, name in enumerate(names):
            with Image.open(tmp_path / str(name)) as image:
                assert int(rows(data.test)[0][row, 0, 0, 0]) == image.getpixel((0, 0))[0]  # type: ignore[index]
        assert data.test.to(torch.device("cpu")).get_row_names(0) == data.test.get_row_names(0)


def test_paths_that_are_not_folders_are_reported(tmp_path: Path) -> None:
    write(tmp_path / "pets")
    assert "did you mean pets?" in read_error(tmp_path / "pet")
    assert "must have CLASS/*.png" in read_error(tmp_path)
    (tmp_path / "pets" / "ugly").mkdir()
    (tmp_path / "pets" / "ugly" / "a.heic").touch()
    assert "ugly has no .png/.jpg/.jpeg/" in read_error(tmp_path / "pets")
    assert "files (a.heic)" in read_error(tmp_path / "pets")
    write(tmp_path / "pets", 2, ("ugly",))
    assert "class 'ugly' has 2 rows, none of them in the test split" in read_error(tmp_path / "pets")


def test_an_image_in_two_splits_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path)
    (tmp_path / "good" / "900.png").write_bytes((tmp_path / "good" / "000.png").read_bytes())
    for seed in range(9):
        read(tmp_path, seed=seed)
    assert 0 < len(caplog.records) < 9
    assert "000.png" in caplog.text
    assert "900.png" in caplog.text


@pytest.mark.slow
def test_cnn_learns_from_images_on_disk(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for kind, axis in (("lying", 1), ("standing", 0)):
        (tmp_path / kind).mkdir()
        for number in range(60):
            stripes = 60 * (np.arange(24) // 3 % 2) + draw.integers(100) + draw.normal(0, 9, (24, 24))
            Image.fromarray((stripes if axis == 0 else stripes.T).astype(np.uint8)).save(
                tmp_path / kind / f"{number}.jpg"
            )
    overrides = ("model=cnn", "data=image_folder", f"data.path={tmp_path}", "data.size=24", "data.cache_gb=0")
    assert lab(*overrides, "epochs=8", "batch_size=16").test()["accuracy"] > 0.9
