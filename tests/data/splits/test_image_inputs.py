"""Images for a trained classifier: same preprocessing as training images, names, labels and errors."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.own_files import pictures
from trainer.data.datasets.image.digits import Digits
from trainer.data.datasets.image.idx_files import IdxFiles
from trainer.data.datasets.image.image_folder import ImageFolder
from trainer.data.splits import image_inputs
from trainer.data.splits.image_inputs import NamedPixelSplit
from trainer.data.splits.pixel_scale import PixelScale
from trainer.utils.errors import DataError


def load_inputs(split: NamedPixelSplit) -> torch.Tensor:
    return split.to_model_inputs(split.batch(torch.arange(len(split)), 0)).inputs["x"]


@pytest.fixture(scope="module")
def kinds() -> ImageFolder:
    return ImageFolder(str(pictures() / "kinds"), 12, "cut", None, 0.2, 0.2, 0, 1.0)


def test_reading_training_folder_reproduces_training_inputs(kinds: ImageFolder) -> None:
    folder = pictures() / "kinds"
    split = kinds.read(str(folder))
    label, names = split.get_row_names(1)
    assert (label, len(names)) == ("file", 40)
    assert {"dark/0.png", "light/19.png"} <= set(names)
    training_inputs = {
        name: row.inputs["x"][0]
        for part in (kinds.train, kinds.val, kinds.test)
        for index, name in enumerate(part.get_row_names(0)[1])
        for row in [part.to_model_inputs(part.batch(torch.tensor([index]), 0))]
    }
    for name, x in zip(names, load_inputs(split), strict=True):
        assert torch.equal(x, training_inputs[name])
    single_image = kinds.read(str(folder / "dark" / "3.png"))
    assert single_image.get_row_names(1) == ("file", ["3.png"])
    assert torch.equal(load_inputs(single_image)[0], load_inputs(split)[list(names).index("dark/3.png")])


def test_chunks_contain_all_images_in_order(kinds: ImageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(pictures() / "kinds")
    whole = kinds.read(path)
    monkeypatch.setattr(image_inputs, "MAX_CHUNK_IMAGES", 7)
    chunks = list(kinds.read_chunks(path))
    assert [len(chunk) for chunk in chunks] == [7, 7, 7, 7, 7, 5]
    assert torch.equal(torch.cat([chunk.inputs["x"] for chunk in chunks]), whole.inputs["x"])
    assert [name for chunk in chunks for name in chunk.get_row_names(1)[1]] == whole.get_row_names(1)[1]


def test_images_in_memory_equal_their_files(kinds: ImageFolder, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    color = draw.integers(256, size=(15, 22, 3)).astype(np.uint8)
    for name, image in {
        "color.png": Image.fromarray(color),
        "gray.png": Image.fromarray(color[..., 0]),
        "opacity.png": Image.fromarray(np.dstack((color, color[..., :1]))),
        "cmyk.tif": Image.fromarray(color).convert("CMYK"),
        "palette.png": Image.fromarray(color).quantize(16),
        "deep.png": Image.fromarray(256 * color[..., 1].astype(np.uint16)),
        "bits.png": Image.fromarray(color[..., 0] > 99),
        "photo.jpg": Image.fromarray(color),
    }.items():
        path = tmp_path / name
        image.save(path)
        expected = load_inputs(kinds.read(str(path)))
        with Image.open(path) as stored:
            objects = [stored, [stored]] + ([np.asarray(stored)] if stored.mode not in ("P", "CMYK") else [])
            for given in (*objects, path, [path]):
                assert torch.equal(load_inputs(kinds.encode_rows(given)), expected), name
    rotated = Image.Exif()
    rotated[0x0112] = 6
    Image.fromarray(color).save(tmp_path / "rotated.jpg", exif=rotated)
    with Image.open(tmp_path / "rotated.jpg") as stored:
        assert torch.equal(
            load_inputs(kinds.encode_rows(stored)), load_inputs(kinds.read(str(tmp_path / "rotated.jpg")))
        )


def test_arrays_are_one_image_or_a_stack(kinds: ImageFolder) -> None:
    gray = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
    stack = kinds.encode_rows(gray)
    assert (len(stack), stack.get_row_names(1)) == (5, ("row", range(1, 6)))
    for given in (list(gray), gray[..., None], torch.from_numpy(gray), gray.tolist()):
        assert torch.equal(load_inputs(kinds.encode_rows(given)), load_inputs(stack))
    color = np.repeat(gray[:1, ..., None], 3, axis=-1)
    assert torch.equal(load_inputs(kinds.encode_rows(color)), load_inputs(stack)[:1])
    assert len(kinds.encode_rows(color[0])) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((4, 4)), "image 1: shape .4, 4. of float64; .*multiply values from 0 to 1 by 255"),
        ([np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8)], r"image 2: shape \(4, 4, 2\)"),
        (np.zeros((0, 4), np.uint8), "image 1: shape"),
        (np.full((3, 4), -1), "image 1: values from -1 to -1"),
        ([], "no images given"),
        (np.zeros(3, np.uint8), r"an array of shape \(3,\)"),
        ({"a": 1}, "a dict given; it must be a Pillow image"),
        ([Path("nope.png")], "image 1: .*nope.png: No such file"),
        ([None], "image 1: shape"),
        (["/etc/hosts"], "image 1: shape"),
        ("/etc/hosts", "a str given"),
        (5, "a int given"),
    ],
)
def test_other_objects_are_refused(kinds: ImageFolder, rows: object, message: str) -> None:
    with pytest.raises(DataError, match=f"rows: {message}"):
        kinds.encode_rows(rows)


def test_new_image_gets_size_channels_and_scale_of_training(tmp_path: Path) -> None:
    data = Digits(8, 0)
    row = data.test.inputs["x"][5, 0]
    shades = np.asarray((row * 255).round(), dtype=np.uint8)
    large = np.stack([shades.repeat(4, 0).repeat(4, 1)] * 3, -1)
    Image.fromarray(large).save(tmp_path / "five.PNG")
    (tmp_path / "notes.txt").write_text("not an image")
    (image,) = load_inputs(data.read(str(tmp_path)))
    assert image.shape == (1, 8, 8)
    assert float((image[0] - row).abs().max()) < 0.2
    assert float(torch.corrcoef(torch.stack((image.flatten(), row.flatten())))[0, 1]) > 0.99


@pytest.mark.slow
def test_pixel_scale_is_restored_from_pixel_bounds() -> None:
    x = torch.randint(256, (20, 3, 4, 4), dtype=torch.uint8)
    scale = PixelScale.from_images(x)
    torch.testing.assert_close(PixelScale.from_range(*scale.pixel_bounds)(x), scale(x), atol=1e-5, rtol=1e-5)


def write_damaged(folder: Path) -> None:
    """Write two images that can be read, in odd places, and three files that cannot."""
    (folder / "a b" / "ü\nx").mkdir(parents=True)
    source = pictures() / "kinds" / "dark" / "0.png"
    for name in ("ok.png", "a b/ü\nx/ok.png", "cut.png"):
        (folder / name).write_bytes(source.read_bytes())
    (folder / "cut.png").write_bytes(source.read_bytes()[:-40])
    (folder / "a b" / "text.png").write_text("this is not an image")
    (folder / "a b" / "nothing.jpg").touch()
    (folder / "a b" / "loop").symlink_to(folder)
    (folder / "folder.png").mkdir()
    (folder / ".hidden.png").touch()


def test_unreadable_images_are_all_named(kinds: ImageFolder, tmp_path: Path) -> None:
    write_damaged(tmp_path)
    with pytest.raises(DataError) as caught:
        next(kinds.read_chunks(str(tmp_path)))
    message = str(caught.value)
    assert "input: 3 of 5 files:" in message
    for name, reason in {"text.png": "is not an image", "nothing.jpg": "is empty", "cut.png": "truncated"}.items():
        assert any(name in line and reason in line for line in message.splitlines()), message
    assert message.splitlines()[4:] == ["on_error=skip leaves these files out"]


def test_unreadable_images_are_skipped_and_listed(
    kinds: ImageFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_damaged(tmp_path)
    with caplog.at_level(logging.WARNING):
        names = [name for chunk in kinds.read_chunks(str(tmp_path), on_error="skip") for name in chunk.paths or ()]
    assert names == ["a b/ü\nx/ok.png", "ok.png"]
    (record,) = caplog.records
    assert record.getMessage().startswith("input: 3 of 5 files cannot be read and are skipped:\n")
    (tmp_path / "ok.png").unlink()
    (tmp_path / "a b" / "ü\nx" / "ok.png").unlink()
    with pytest.raises(DataError, match="input: 3 of 3 files:"):
        list(kinds.read_chunks(str(tmp_path), on_error="skip"))


def test_images_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    data = Digits(8, 0)
    (tmp_path / "bad.png").write_text("this is not an image")
    (tmp_path / "bare").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name, message in {
        "nope": "input: .*nope does not exist",
        "bare": r"input: .*bare has no images \(\.png, \.jpg",
        "bad.png": "(?s)input: 1 of 1 files:.*bad.png is not an image of a supported format",
        "pipe.png": "input: .*pipe.png is a pipe",
    }.items():
        with pytest.raises(DataError, match=message):
            list(data.read_chunks(str(tmp_path / name)))


def test_labeled_folders_have_the_classes_of_the_run(kinds: ImageFolder, tmp_path: Path) -> None:
    (split,) = kinds.read_chunks(str(pictures() / "kinds"), with_targets=True)
    names = split.get_row_names(1)[1]
    assert split.require_target().tolist() == [int(str(name).startswith("light")) for name in names]
    source = (pictures() / "kinds" / "dark" / "0.png").read_bytes()
    (tmp_path / "light").mkdir()
    (tmp_path / "light" / "5.png").write_bytes(source)
    (split,) = kinds.read_chunks(str(tmp_path), with_targets=True)
    assert split.require_target().tolist() == [1]
    (tmp_path / "ligth").mkdir()
    with pytest.raises(DataError, match="has the folder 'ligth', which is no class; did you mean light"):
        next(kinds.read_chunks(str(tmp_path), with_targets=True))
    with pytest.raises(DataError, match="is a file; it must be a folder with one subfolder per class"):
        next(kinds.read_chunks(str(tmp_path / "light" / "5.png"), with_targets=True))
    with pytest.raises(DataError, match="has no images in folders of the classes dark, light"):
        next(kinds.read_chunks(str(tmp_path / "light"), with_targets=True))


def test_idx_file_equals_the_test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = IdxFiles(str(pictures() / "idx"))
    monkeypatch.setattr(image_inputs, "MAX_CHUNK_IMAGES", 13)
    for with_targets in (False, True):
        chunks = list(data.read_chunks(str(pictures() / "idx" / "t10k-images"), with_targets))
        assert [len(chunk) for chunk in chunks] == [13, 13, 4]
        assert torch.equal(torch.cat([chunk.inputs["x"] for chunk in chunks]), data.test.inputs["x"])
        assert chunks[1].get_row_names(14) == ("row", range(14, 27))
        if with_targets:
            assert torch.equal(torch.cat([chunk.require_target() for chunk in chunks]), data.test.require_target())
    (tmp_path / "alone-images").write_bytes((pictures() / "idx" / "t10k-images").read_bytes())
    with pytest.raises(DataError, match="has no targets: there is no alone-labels next to it"):
        next(data.read_chunks(str(tmp_path / "alone-images"), with_targets=True))
    labels = bytearray((pictures() / "idx" / "t10k-labels").read_bytes())
    labels[-1] = 77
    (tmp_path / "alone-labels").write_bytes(labels)
    with pytest.raises(DataError, match=r"have the value 77, which is no class of this run \(0, 1, 2"):
        list(data.read_chunks(str(tmp_path / "alone-images"), with_targets=True))
    (tmp_path / "short-images").write_bytes((pictures() / "idx" / "t10k-images").read_bytes()[:-5])
    with pytest.raises(DataError, match=r"input: .*short-images declares 30 x 12 x 12 bytes but contains 4315"):
        list(data.read_chunks(str(tmp_path / "short-images")))


def test_oblong_images_are_read_in_their_shape(tmp_path: Path) -> None:
    from tests.helpers.idx_files import idx

    draw = np.random.default_rng(0)
    for part, rows in (("train", 40), ("t10k", 20)):
        pixels = draw.integers(256, size=(rows, 6, 9)).astype(np.uint8)
        (tmp_path / f"{part}-images").write_bytes(idx(pixels.tobytes(), *pixels.shape))
        (tmp_path / f"{part}-labels").write_bytes(idx((np.arange(rows) % 2).astype(np.uint8).tobytes(), rows))
    Image.fromarray(pixels[3]).save(tmp_path / "three.png")
    data = IdxFiles(str(tmp_path))
    assert torch.equal(data.read(str(tmp_path / "three.png")).inputs["x"][0], data.test.inputs["x"][3])
    with pytest.raises(DataError, match="are 12 x 12; this run was trained on 9 x 6"):
        next(data.read_chunks(str(pictures() / "idx" / "t10k-images")))
