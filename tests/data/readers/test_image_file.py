"""One picture: whatever it is stored as, it is seen as it was meant; what is none is refused by its name."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from trainer.data.readers import image_file
from trainer.data.readers.image_file import ImageView, decode, map_in_threads, read_header
from trainer.utils.errors import DataError, SystemFault

RAMP = np.arange(0, 256, 8, dtype=np.uint8)[:, None].repeat(24, 1)  # 32 x 24, dark above
"""A grey picture that is another when it is turned or mirrored."""
COLOURS = np.stack((RAMP, 255 - RAMP, RAMP // 2), -1)


def saved(folder: Path, image: Image.Image, name: str = "a.png", **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


def seen(path: Path, channels: int = 3, size: int | None = None, fit: str = "cut") -> Tensor:
    """(C, H, W), or (H, W) for one channel."""
    found = decode(path, ImageView(channels, size, fit))  # type: ignore[arg-type]
    assert found.dtype == torch.uint8
    return found[0] if channels == 1 else found


def expected(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).movedim(-1, 0) if pixels.ndim == 3 else torch.from_numpy(pixels)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "tiff", "webp", "ppm", "PNG"])
def test_colors_are_kept(tmp_path: Path, ending: str) -> None:
    path = saved(tmp_path, Image.fromarray(COLOURS), f"a.{ending}", **{"lossless": True} if ending == "webp" else {})
    assert torch.equal(seen(path), expected(COLOURS))
    assert not read_header(path).is_gray
    assert (read_header(path).width, read_header(path).height) == (24, 32)


@pytest.mark.parametrize("ending", ["png", "pgm", "gif", "tif", "bmp"])
def test_grey_is_one_channel_and_the_same_in_three(tmp_path: Path, ending: str) -> None:
    path = saved(tmp_path, Image.fromarray(RAMP), f"a.{ending}")
    assert read_header(path).is_gray
    assert torch.equal(seen(path, 1), expected(RAMP))
    assert torch.equal(seen(path, 3), expected(RAMP).expand(3, -1, -1))


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path, ending: str) -> None:
    deep = RAMP.astype(np.uint16) * 257
    path = saved(tmp_path, Image.fromarray(deep), f"a.{ending}")
    assert read_header(path).is_gray
    assert torch.equal(seen(path, 1), expected(RAMP))
    with Image.open(path) as image:
        assert (np.asarray(image.convert("L")) == 255).mean() > 0.9, "what scaling guards against"


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RAMP > 100))
    assert read_header(path).is_gray
    assert torch.equal(seen(path, 1), expected(np.where(RAMP > 100, 255, 0).astype(np.uint8)))


def test_real_numbers_have_no_white_and_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.float32)), "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: values are not of 8 or 16 bits \(float32 from 0.0 to 248.0\)"):
        seen(path)


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    two = Image.fromarray((RAMP > 100).astype(np.uint8), "L").convert("P")
    two.putpalette([10, 20, 30, 200, 100, 0])
    path = saved(tmp_path, two)
    with Image.open(path) as stored:
        assert stored.mode == "P"
    assert not read_header(path).is_gray
    assert seen(path)[:, 0, 0].tolist() == [10, 20, 30]
    assert seen(path)[:, -1, 0].tolist() == [200, 100, 0]
    two.putpalette([10, 10, 10, 200, 200, 200])
    assert read_header(saved(tmp_path, two)).is_gray


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
    path = saved(tmp_path, image, **options)
    shade = 204 if mode in ("RGBA", "LA", "P bytes") else 255
    assert (seen(path, 3) == shade).all()
    assert (seen(path, 1) == shade).all()
    assert read_header(path).is_gray == (mode not in ("RGBA", "RGB"))


def test_cmyk_is_read_as_rgb(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "a.jpg", quality=95)
    red, green, blue = seen(path).float().mean((1, 2))
    assert red > 240 > 15 > max(green, blue)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    turn = [None, 0, 3, 1, 5, 4, 6, 2][orientation - 1]  # Pillow's transpositions that undo what the camera will
    undone = {None: None, 0: 0, 3: 3, 1: 1, 5: 5, 4: 2, 6: 6, 2: 4}[turn]
    stored = Image.fromarray(RAMP) if undone is None else Image.fromarray(RAMP).transpose(Image.Transpose(undone))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, stored, "a.jpg", quality=95, exif=exif)
    assert (read_header(path).width, read_header(path).height) == (24, 32)
    assert (seen(path, 1).int() - expected(RAMP).int()).abs().max() <= 4


def test_the_first_of_several_frames_is_seen(tmp_path: Path) -> None:
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    for name in ("a.gif", "a.tif"):
        path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
        assert torch.equal(seen(path, 1), expected(RAMP))
    path = saved(tmp_path, frames[0], "a.jpg", format="MPO", save_all=True, append_images=frames[1:], quality=95)
    assert (seen(path, 1).int() - expected(RAMP).int()).abs().max() <= 4


def test_an_image_is_brought_to_its_size(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, :20, 0], wide[:, 20:40, 1], wide[:, 40:, 2] = 255, 255, 255  # a red, a green and a blue square
    path = saved(tmp_path, Image.fromarray(wide))
    cut, padded, stretched = (seen(path, size=12, fit=fit) for fit in ("cut", "pad", "stretch"))
    assert cut.shape == padded.shape == stretched.shape == (3, 12, 12)
    assert cut[1].min() > 230
    assert cut[[0, 2]].max() < 30
    assert (padded[:, :4] == 0).all()
    assert (padded[:, 8:] == 0).all()
    assert padded[1, 4:8, 4:8].min() > 200
    assert stretched[0, :, 0].min() > 200 < stretched[2, :, -1].min()


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_downscaling_is_antialiased(tmp_path: Path, ending: str) -> None:
    stripes = np.zeros((480, 480), np.uint8)
    stripes[:, ::2] = 255
    path = saved(tmp_path, Image.fromarray(stripes), f"a.{ending}", **{"quality": 95} if ending == "jpg" else {})
    small = seen(path, 1, size=20).float()
    assert (small - 127.5).abs().max() < 6


def broken(folder: Path) -> dict[str, Path]:
    """Files that are no pictures, by what is wrong with them."""
    whole = saved(
        folder, Image.fromarray(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)), "w.png"
    )
    raw = whole.read_bytes()
    files = {
        "text": b"no picture",
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
def test_a_file_that_is_not_an_image_is_refused_by_name(tmp_path: Path, kind: str, reason: str) -> None:
    path = broken(tmp_path)[kind]
    with pytest.raises(DataError) as caught:
        seen(path)
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, Image.new("1", (300, 300)))
    for limit in (50_000, 10_000):  # Pillow warns of a picture above the one, and refuses one twice the other
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"1 of 1 files:\n  .*a\.png: Image size \(90000 pixels\) exceeds limit"):
            map_in_threads(read_header, [path])


def test_all_errors_are_reported_at_once_and_a_few_by_name(tmp_path: Path) -> None:
    good = saved(tmp_path, Image.fromarray(RAMP))
    bad = [tmp_path / f"bad{number}.png" for number in range(9)]
    for path in bad:
        path.write_bytes(b"no")
    with pytest.raises(DataError) as caught:
        map_in_threads(read_header, [good, *bad, good])
    first, *named, last = str(caught.value).split("\n")
    assert first == "path: 9 of 11 files:"
    assert named == [f"  {path} is not an image of a supported format" for path in bad[:5]]
    assert last == "  and 4 more"


def test_files_are_rows_like_those_of_a_tensor(tmp_path: Path) -> None:
    paths = [saved(tmp_path, Image.fromarray(np.full((4, 6), value, np.uint8)), f"{value}.png") for value in range(9)]
    files = image_file.LazyImages(paths, lambda path: decode(path, ImageView(1, None, "cut")), (1, 4, 6))
    whole = files.load_all()
    assert files.nbytes == whole.nbytes
    rows = torch.tensor([7, 0, 7])
    assert torch.equal(files[rows], whole[rows])
    assert torch.equal(files.slice_rows(slice(1, 8, 3)).load_all(), whole[1:8:3])
    paths[7].unlink()
    with pytest.raises(SystemFault, match=r"^path: .*7\.png: No such file"):
        files[rows]


def test_an_image_in_training_and_test_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [saved(tmp_path, Image.fromarray(RAMP + value), f"{value}.png") for value in range(4)]
    with caplog.at_level(logging.WARNING):
        image_file.warn_about_duplicates(paths, 2)
    assert not caplog.records
    (tmp_path / "again.png").write_bytes(paths[1].read_bytes())
    image_file.warn_about_duplicates([*paths, tmp_path / "again.png"], 2)
    assert "1 validation or test images are also training images" in caplog.text
    assert "1.png and " in caplog.text
    assert "again.png" in caplog.text
