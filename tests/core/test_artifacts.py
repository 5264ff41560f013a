"""Captions of rows: file names of user files, or row numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.lab import lab
from tests.helpers.own_files import pictures
from trainer.config import compose
from trainer.core.artifacts import NUMBERED_ROWS, ImageGrid, LazyArtifact, caption_row
from trainer.runs import train as runner
from trainer.viz import feature_maps


def test_caption_is_the_file_name_or_row_number() -> None:
    assert caption_row(NUMBERED_ROWS, 41) == "row 41"
    assert caption_row(("row", range(5, 9)), 2) == "row 7"
    files = ["cat/1.png", "a/very/long/way/to/the/cats/of/summer/12345.png", "cat/\x1b[31m\n2.png"]
    assert [caption_row(("file", files), row) for row in range(3)] == [
        *("cat/1.png", ".../cats/of/summer/12345.png", r"cat/\x1b[31m\n2.png")
    ]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("model=cnn", "data=image_folder", f"data.path={pictures() / 'kinds'}", "data.size=16"), "mistakes"),
        (("model=unet", "model.widths=[2,4]", "data=image_masks", f"data.path={pictures() / 'marked'}"), "overlays"),
        (
            ("model=conv_vae", "data=image_folder", f"data.path={pictures() / 'kinds'}", "data.size=8"),
            "reconstructions",
        ),
    ],
)
@pytest.mark.slow
def test_images_of_user_files_are_captioned_with_file_names(words: tuple[str, ...], name: str) -> None:
    run = lab(*words, "max_steps=1", "batch_size=4")
    items = [*run.task.eval().make_artifacts(run.loaders["test"].iter_epoch(0))]
    artifact = next(item for item in items if name in item.name)
    grid = artifact.make_artifact() if isinstance(artifact, LazyArtifact) else artifact
    assert isinstance(grid, ImageGrid)
    captions = {line for tile in grid.tiles for line in tile.caption.split("\n") if line.endswith(".png")}
    column, files = run.data.test.get_row_names(first=0)
    assert column == "file"
    assert captions
    assert captions <= set(map(str, files))


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_class_and_file_names_are_escaped_in_figures() -> None:
    for label, class_name in enumerate(("$$", "a_{", "[red]x")):
        Path("pics", class_name).mkdir(parents=True)
        for number in range(10):
            pixels = np.random.default_rng(10 * label + number).integers(256, size=(8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(Path("pics", class_name, f"$p_{{{number}\\frac.png"))
    words = ["model=cnn", "model.channels=[2,2,2]", "data=image_folder", "data.path=pics", "data.size=8", "epochs=1"]
    result = runner.run(compose.compose([*words, "threads=1"]))
    assert {"confusion.png", "mistakes.png"} <= {path.name for path in Path(result.run_dir).iterdir()}


def test_repeated_training_images_are_captioned_with_file_names() -> None:
    folder = pictures() / "marked"
    run = lab("model=unet", "model.widths=[2,4]", "data=image_masks", f"data.path={folder}", "data.repeats=2")
    train = run.loaders["train"]
    grid = feature_maps.make_sample_grid(train, 2, [])
    assert Path(folder / "images" / grid.tiles[0].caption).is_file()
    column, files = train.split.get_row_names(first=0)
    assert (column, len(files)) == ("file", len(train.split))
    assert torch.equal(train.load_rows(torch.tensor([0])).inputs["x"], train.load_rows(torch.tensor([12])).inputs["x"])
    assert files[0] == files[12]
