"""Images in IDX files: file names, labels, splits, and damaged or compressed files."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.idx_files import idx, zipped
from trainer.data.datasets.image.idx_files import IdxFiles
from trainer.data.readers import idx_format
from trainer.data.readers.idx_format import read, read_images_and_labels
from trainer.utils.errors import DataError


def write(folder: Path, rows: int = 40, first: int = 0, classes: int = 4, names: str = "{}-{}-idx") -> Path:
    """Write images whose first pixel is the label and whose second is the row number."""
    folder.mkdir(exist_ok=True)
    for part, count in (("train", rows), ("t10k", rows // 2)):
        y = (np.arange(count) % classes + first).astype(np.uint8)
        x = np.random.default_rng(count).integers(256, size=(count, 5, 3), dtype=np.uint8)
        x[:, 0, 0], x[:, 0, 1] = y, np.arange(count)
        (folder / names.format(part, "images")).write_bytes(idx(x.tobytes(), *x.shape))
        (folder / names.format(part, "labels")).write_bytes(idx(y.tobytes(), count))
    return folder


def load(folder: Path, **changes: object) -> IdxFiles:
    return IdxFiles(**{"path": str(folder), "prefix": "", "val": 0.25, "seed": 0} | changes)  # type: ignore[arg-type]


def get_error(folder: Path, **changes: object) -> str:
    with pytest.raises(DataError) as caught:
        load(folder, **changes)
    return str(caught.value)


def test_validation_is_stratified_share_of_training_file(tmp_path: Path) -> None:
    data = load(write(tmp_path), val=0.25)
    assert [len(split) for split in (data.train, data.val, data.test)] == [30, 10, 20]
    numbers = torch.cat([split.inputs["x"][:, 0, 0, 1] for split in (data.train, data.val)])
    assert sorted(numbers.tolist()) == list(range(40))
    for split in (data.train, data.val, data.test):
        assert torch.equal(split.inputs["x"][:, 0, 0, 0].long(), split.target)
        assert split.target.bincount().min() > 1
    assert (data.info.sizes["height"], data.info.sizes["width"]) == (5, 3)
    assert data.info.baseline["accuracy"] == 0.25
    other = load(tmp_path, seed=1)
    assert not torch.equal(other.val.inputs["x"], data.val.inputs["x"])


def test_pixels_are_standardized_by_the_training_rows(tmp_path: Path) -> None:
    data = load(write(tmp_path))
    x = data.train.inputs["x"].float()
    for split in (data.train, data.test):
        batch = split.to_model_inputs(split.batch(torch.arange(len(split)), 0))
        expected = (split.inputs["x"].float() - x.mean()) / x.std(correction=0)
        assert torch.allclose(batch.inputs["x"], expected, atol=1e-6)


def test_labels_may_start_at_one(tmp_path: Path) -> None:
    data = load(write(tmp_path, first=1))
    assert data.info.sizes["num_classes"] == 4
    assert data.info.class_names == ["1", "2", "3", "4"]
    assert sorted(data.train.target.unique().tolist()) == [0, 1, 2, 3]
    assert load(write(tmp_path, classes=2)).info.sizes["out_features"] == 1
    assert "every label" in get_error(write(tmp_path, classes=1))


def test_files_are_found_by_name_and_prefix(tmp_path: Path) -> None:
    write(tmp_path, names="emnist-letters-{}-{}-idx3-ubyte")
    for path in list(tmp_path.iterdir()):
        packed = path.with_name(path.name.replace("t10k", "test") + ".gz")
        packed.write_bytes(zipped(path.read_bytes()))
        if "t10k" in path.name:
            path.unlink()
    assert len(load(tmp_path).train) == 30  # a file and its compressed copy count once
    write(tmp_path, names="emnist-digits-{}-{}")
    message = get_error(tmp_path)
    assert "has several files of images for training" in message
    assert "emnist-digits-train-images, emnist-letters-train-images-idx3-ubyte" in message
    assert "data.prefix" in message
    assert len(load(tmp_path, prefix="emnist-letters").test) == 20


def test_missing_names_are_reported_with_the_available_ones(tmp_path: Path) -> None:
    write(tmp_path / "set")
    assert "sett does not exist" in get_error(tmp_path / "sett")
    assert "did you mean set?" in get_error(tmp_path / "sett")
    assert "is a file; it must be the folder" in get_error(tmp_path / "set" / "train-images-idx")
    (tmp_path / "set" / "t10k-labels-idx").unlink()
    message = get_error(tmp_path / "set")
    assert "no file of labels for test (a name with t10k or test and labels)" in message
    assert "found: t10k-images-idx, train-images-idx" in message
    assert "with prefix 'emnist'" in get_error(tmp_path / "set", prefix="emnist")
    assert "val: 0.99 of 40 rows leaves none for training" in get_error(write(tmp_path / "set"), val=0.99)
    assert "val: 0.01 of 40 rows leaves none for validation" in get_error(tmp_path / "set", val=0.01)


def test_test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    x = np.zeros((20, 6, 3), np.uint8)
    (tmp_path / "t10k-images-idx").write_bytes(idx(x.tobytes(), *x.shape))
    assert "are 5 x 3 for training but 6 x 3 for test" in get_error(tmp_path)


@pytest.mark.parametrize("name", ["a.gz", "a"])
def test_idx_files_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = idx(bytes(range(12)), 2, 3, 2)
    path.write_bytes(zipped(content) if name.endswith(".gz") else content)
    assert read(path, dims=3).tolist() == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (zipped(idx(bytes(12), 2, 3, 2))[:-9], "not a valid gzip file"),
        (b"not gzip at all", "not a valid gzip file"),
        (zipped(idx(bytes(12), 2, 3, 2, magic=b"\0\0\x0d")), "starts with 00000d03, not 00000803"),
        (zipped(idx(bytes(12), 12)), "not an IDX array of bytes with 3 dimensions"),
        (zipped(idx(bytes(12), 2, 3, 2)[:9]), "ends within its header, after 9 of 16 bytes"),
        (zipped(idx(bytes(11), 2, 3, 2)), "declares 2 x 3 x 2 bytes but contains 11"),
        (zipped(idx(bytes(13), 2, 3, 2)), "declares 2 x 3 x 2 bytes but contains 13"),
        (zipped(b""), "not an IDX array"),
    ],
)
def test_broken_idx_files_are_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=message):
        read(path, dims=3)


def test_decompression_stops_at_declared_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_sizes: list[int] = []
    original_read = gzip.GzipFile.read

    def record_read(self: gzip.GzipFile, size: int = -1) -> bytes:
        read_sizes.append(size)
        return original_read(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", record_read)
    path = tmp_path / "bomb.gz"
    path.write_bytes(zipped(idx(bytes(30_000_000), 2, 3, 2)))
    with pytest.raises(DataError, match="declares 2 x 3 x 2 bytes but contains 13 or more"):
        read(path, dims=3)
    assert read_sizes == [16, 12, 1]
    path.write_bytes(zipped(idx(bytes(12), 2**32 - 1, 2**32 - 1, 2**32 - 1)))  # declares more than it can contain
    with pytest.raises(DataError, match=r"times the \d+ of the file, which is implausible for images"):
        read(path, dims=3)
    assert max(read_sizes) < 100_000


def test_a_file_with_an_excessive_compression_ratio_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx_format, "LARGE", 1 << 20)
    path = tmp_path / "bomb.gz"
    path.write_bytes(zipped(idx(bytes(3 << 20), 3, 1 << 10, 1 << 10)))
    with pytest.raises(
        DataError,
        match=r"declares 3 x 1024 x 1024 bytes, [\d,]{3,} times the .*decompress it and remove bomb.gz",
    ):
        read(path, dims=3)
    path.write_bytes(zipped(idx(bytes(1 << 20), 1, 1 << 10, 1 << 10)))  # constant, but of ordinary size
    assert read(path, dims=3).shape == (1, 1024, 1024)
    noise = random.Random(0).randbytes(1 << 20)
    path.write_bytes(zipped(idx(noise * 3, 3, 1 << 10, 1 << 10)))  # large, of low compression ratio
    assert read(path, dims=3)[2].tobytes() == noise


def test_different_counts_of_images_and_labels_raise(tmp_path: Path) -> None:
    (tmp_path / "train-images").write_bytes(idx(bytes(8), 2, 2, 2))
    (tmp_path / "train-labels").write_bytes(idx(bytes(3), 3))
    with pytest.raises(DataError, match=r"2 images in .*train-images but 3 labels in train-labels"):
        read_images_and_labels(tmp_path / "train-images", tmp_path / "train-labels")
