"""Image decoding: color modes, orientation, resizing, and errors that name the file."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from trainer.data.readers import image_duplicates
from trainer.data.readers.image_file import ImageView, decode, map_in_threads, read_header
from trainer.data.readers.lazy_images import LazyImages
from trainer.utils.errors import DataError, SystemFault

RAMP = np.arange(0, 256, 8, dtype=np.uint8)[:, None].repeat(24, 1)  # 32 x 24, dark above
"""A gray image with a vertical gradient."""
SLOPE = RAMP // 2 + np.arange(0, 120, 5, dtype=np.uint8)
"""A gray image that every flip and rotation changes."""
COLORS = np.stack((RAMP, 255 - RAMP, RAMP // 2), -1)


def save_image(folder: Path, image: Image.Image, name: str = "a.png", **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


def read_pixels(path: Path, channels: int = 3, size: int | None = None, fit: str = "cut") -> Tensor:
    """(C, H, W), or (H, W) for one channel."""
    pixels = decode(path, ImageView(channels, size, fit))  # type: ignore[arg-type]
    assert pixels.dtype == torch.uint8
    return pixels[0] if channels == 1 else pixels


def to_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).movedim(-1, 0) if pixels.ndim == 3 else torch.from_numpy(pixels)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "webp", "ppm", "PNG"])
def test_color_pixels_are_decoded_exactly(tmp_path: Path, suffix: str) -> None:
    path = save_image(
        tmp_path, Image.fromarray(COLORS), f"a.{suffix}", **{"lossless": True} if suffix == "webp" else {}
    )
    assert torch.equal(read_pixels(path), to_tensor(COLORS))
    assert not read_header(path).is_gray
    assert (read_header(path).width, read_header(path).height) == (24, 32)


@pytest.mark.parametrize("suffix", ["png", "pgm", "gif", "tif", "bmp"])
def test_gray_image_decodes_to_one_or_three_equal_channels(tmp_path: Path, suffix: str) -> None:
    path = save_image(tmp_path, Image.fromarray(RAMP), f"a.{suffix}")
    assert read_header(path).is_gray
    assert torch.equal(read_pixels(path, 1), to_tensor(RAMP))
    assert torch.equal(read_pixels(path, 3), to_tensor(RAMP).expand(3, -1, -1))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_values_are_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    deep = RAMP.astype(np.uint16) * 257
    path = save_image(tmp_path, Image.fromarray(deep), f"a.{suffix}")
    assert read_header(path).is_gray
    assert torch.equal(read_pixels(path, 1), to_tensor(RAMP))
    with Image.open(path) as image:
        assert (np.asarray(image.convert("L")) == 255).mean() > 0.9, "what scaling guards against"


def test_1_bit_image_decodes_to_black_and_white(tmp_path: Path) -> None:
    path = save_image(tmp_path, Image.fromarray(RAMP > 100))
    assert read_header(path).is_gray
    assert torch.equal(read_pixels(path, 1), to_tensor(np.where(RAMP > 100, 255, 0).astype(np.uint8)))


def test_float_image_raises(tmp_path: Path) -> None:
    path = save_image(tmp_path, Image.fromarray(RAMP.astype(np.float32)), "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: values are not of 8 or 16 bits \(float32 from 0.0 to 248.0\)"):
        read_pixels(path)


def test_palette_is_applied(tmp_path: Path) -> None:
    palette_image = Image.fromarray((RAMP > 100).astype(np.uint8), "L").convert("P")
    palette_image.putpalette([10, 20, 30, 200, 100, 0])
    path = save_image(tmp_path, palette_image)
    with Image.open(path) as image:
        assert image.mode == "P"
    assert not read_header(path).is_gray
    assert read_pixels(path)[:, 0, 0].tolist() == [10, 20, 30]
    assert read_pixels(path)[:, -1, 0].tolist() == [200, 100, 0]
    palette_image.putpalette([10, 10, 10, 200, 200, 200])
    assert read_header(save_image(tmp_path, palette_image)).is_gray


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P bytes", "RGB", "L"])
def test_transparent_pixels_become_white(tmp_path: Path, mode: str) -> None:
    options: dict[str, object] = {}
    image = Image.new(mode.split()[0], (8, 8))  # black, or the palette's first
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(np.full((8, 8), 51, np.uint8)))
    else:
        if mode[0] == "P":
            image.putpalette([0, 0, 0, 9, 9, 9])
        options["transparency"] = {"P": 0, "P bytes": bytes([51, 255]), "RGB": (0, 0, 0), "L": 0}[mode]
    path = save_image(tmp_path, image, **options)
    shade = 204 if mode in ("RGBA", "LA", "P bytes") else 255
    assert (read_pixels(path, 3) == shade).all()
    assert (read_pixels(path, 1) == shade).all()
    assert read_header(path).is_gray == (mode not in ("RGBA", "RGB"))


def test_cmyk_is_read_as_rgb(tmp_path: Path) -> None:
    path = save_image(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "a.jpg", quality=95)
    red, green, blue = read_pixels(path).float().mean((1, 2))
    assert red > 240 > 15 > max(green, blue)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    transpose = [None, 0, 3, 1, 5, 4, 6, 2][orientation - 1]  # Pillow's transpositions that correct the orientation
    inverse = {None: None, 0: 0, 3: 3, 1: 1, 5: 5, 4: 2, 6: 6, 2: 4}[transpose]
    image = Image.fromarray(SLOPE) if inverse is None else Image.fromarray(SLOPE).transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save_image(tmp_path, image, "a.jpg", quality=95, exif=exif)
    assert (read_header(path).width, read_header(path).height) == (24, 32)
    assert (read_pixels(path, 1).int() - to_tensor(SLOPE).int()).abs().max() <= 4


def test_first_frame_of_multi_frame_image_is_decoded(tmp_path: Path) -> None:
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    for name in ("a.gif", "a.tif"):
        path = save_image(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
        assert torch.equal(read_pixels(path, 1), to_tensor(RAMP))
    path = save_image(tmp_path, frames[0], "a.jpg", format="MPO", save_all=True, append_images=frames[1:], quality=95)
    assert (read_pixels(path, 1).int() - to_tensor(RAMP).int()).abs().max() <= 4


def test_image_is_resized_by_cut_pad_or_stretch(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, :20, 0], wide[:, 20:40, 1], wide[:, 40:, 2] = 255, 255, 255  # a red, a green and a blue square
    path = save_image(tmp_path, Image.fromarray(wide))
    cut, pad, stretch = (read_pixels(path, size=12, fit=fit) for fit in ("cut", "pad", "stretch"))
    assert cut.shape == pad.shape == stretch.shape == (3, 12, 12)
    assert cut[1].min() > 230
    assert cut[[0, 2]].max() < 30
    assert (pad[:, :4] == 0).all()
    assert (pad[:, 8:] == 0).all()
    assert pad[1, 4:8, 4:8].min() > 200
    assert stretch[0, :, 0].min() > 200 < stretch[2, :, -1].min()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_downscaling_is_antialiased(tmp_path: Path, suffix: str) -> None:
    stripes = np.zeros((480, 480), np.uint8)
    stripes[:, ::2] = 255
    path = save_image(tmp_path, Image.fromarray(stripes), f"a.{suffix}", **{"quality": 95} if suffix == "jpg" else {})
    pixels = read_pixels(path, 1, size=20).float()
    assert (pixels - 127.5).abs().max() < 6


def write_broken_files(folder: Path) -> dict[str, Path]:
    """Write invalid image files and return their paths by kind."""
    path = save_image(
        folder, Image.fromarray(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)), "w.png"
    )
    raw = path.read_bytes()
    files = {
        "text": b"not an image",
        "empty": b"",
        "short": raw[:-2000],
        "header": raw[:20],
        "flipped": raw.replace(b"IDAT", b"IDXT"),
    }
    files["program"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    for name, content in files.items():
        (folder / f"{name}.png").write_bytes(content)
    return {name: folder / f"{name}.png" for name in files}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("text", "is not an image of a supported format"),
        ("empty", "is empty"),
        ("short", "truncated"),
        ("header", ""),
        ("flipped", ""),
        ("program", "is not an image of a supported format"),
    ],
)
def test_invalid_image_error_names_the_file(tmp_path: Path, kind: str, reason: str) -> None:
    path = write_broken_files(tmp_path)[kind]
    with pytest.raises(DataError) as caught:
        read_pixels(path)
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)


def test_image_above_pixel_limit_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_image(tmp_path, Image.new("1", (300, 300)))
    for limit in (50_000, 10_000):  # Pillow warns above the limit and raises above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"1 of 1 files:\n  .*a\.png: Image size \(90000 pixels\) exceeds limit"):
            map_in_threads(read_header, [path])


def test_all_errors_are_counted_and_first_five_named(tmp_path: Path) -> None:
    good = save_image(tmp_path, Image.fromarray(RAMP))
    bad = [tmp_path / f"bad{number}.png" for number in range(9)]
    for path in bad:
        path.write_bytes(b"no")
    with pytest.raises(DataError) as caught:
        map_in_threads(read_header, [good, *bad, good])
    summary, *lines, remainder = str(caught.value).split("\n")
    assert summary == "path: 9 of 11 files:"
    assert lines == [f"  {path} is not an image of a supported format" for path in bad[:5]]
    assert remainder == "  and 4 more"


def test_lazy_images_index_like_a_tensor(tmp_path: Path) -> None:
    paths = [
        save_image(tmp_path, Image.fromarray(np.full((4, 6), value, np.uint8)), f"{value}.png") for value in range(9)
    ]
    files = LazyImages(paths, lambda path: decode(path, ImageView(1, None, "cut")), (1, 4, 6))
    tensor = files.load_all()
    assert files.nbytes == tensor.nbytes
    rows = torch.tensor([7, 0, 7])
    assert torch.equal(files[rows], tensor[rows])
    assert torch.equal(files.slice_rows(slice(1, 8, 3)).load_all(), tensor[1:8:3])
    paths[7].unlink()
    with pytest.raises(SystemFault, match=r"^path: .*7\.png: No such file"):
        files[rows]


def test_image_in_training_and_test_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [save_image(tmp_path, Image.fromarray(RAMP + value), f"{value}.png") for value in range(4)]
    with caplog.at_level(logging.WARNING):
        image_duplicates.warn_about_duplicates(paths, 2)
    assert not caplog.records
    (tmp_path / "again.png").write_bytes(paths[1].read_bytes())
    image_duplicates.warn_about_duplicates([*paths, tmp_path / "again.png"], 2)
    assert "1 validation or test images are also training images" in caplog.text
    assert "1.png and " in caplog.text
    assert "again.png" in caplog.text
