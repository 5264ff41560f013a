"""Image grids: colors, value ranges, overlays and legends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import mask_folders
from tests.helpers.artifacts import make_artifacts
from tests.helpers.lab import lab
from trainer.core.artifacts import ImageGrid, ImageTile
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.dataset import Dataset
from trainer.data.datasets.image.image_folder import ImageFolder
from trainer.data.datasets.image.segmentation_folder import SegmentationFolder
from trainer.engine import dataset_info_state, dataset_state
from trainer.tasks.evaluation.classification_plots import ImageInput, make_plots
from trainer.viz import feature_maps, image_grid
from trainer.viz.image_grid import GAP, TARGET_SIZE

SHADES = {"dark": (9, 4, 6), "gray": (129, 129, 129), "green": (70, 150, 60)}


def write_images(folder: Path, is_gray: bool = False) -> Path:
    """Write images of one color per class, those of class ``gray`` (with ``is_gray`` all) with one channel."""
    for kind, color in SHADES.items():
        (folder / kind).mkdir(parents=True)
        for number in range(10):
            pixel = np.uint8(color[0]) if is_gray or kind == "gray" else np.array(color, np.uint8)
            pixels = np.zeros((8, 8, *pixel.shape), np.uint8) + pixel
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    return folder


def make_overrides(folder: Path) -> tuple[str, ...]:
    return "model=cnn", "model.channels=[2]", "model.dilations=[1]", "model.pools=[max]", "data=image_folder", (
        f"data.path={folder}"
    ), "data.size=8", "max_steps=1", "batch_size=30"  # fmt: skip


def read_tile_colors(grid: ImageGrid, path: Path) -> list[list[int]]:
    """Return the color in the middle of each tile."""
    image_grid.draw_image_grid(grid, path)
    image = np.asarray(Image.open(path))
    rows = -(-len(grid.tiles) // grid.columns)
    width, height = (image.shape[1] - GAP) // grid.columns, (image.shape[0] - GAP) // rows
    positions = (divmod(index, grid.columns) for index in range(len(grid.tiles)))
    return [
        image[GAP + row * height + TARGET_SIZE // 2, GAP + column * width + TARGET_SIZE // 2].tolist()
        for row, column in positions
    ]


def get_file_colors(captions: list[str], is_gray: bool = False) -> list[list[int]]:
    """Return the color of the file that each caption names."""
    kinds = [next(kind for kind in SHADES if f"{kind}/" in caption) for caption in captions]
    return [[SHADES[kind][0]] * 3 if is_gray else list(SHADES[kind]) for kind in kinds]


def predict_equal_logits(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return equal logits (B, 3) for all classes, and the first class."""
    logits = 0 * batch.inputs["x"].mean((1, 2, 3))[:, None].expand(-1, 3)
    return logits, logits.argmax(1)


@pytest.mark.parametrize("is_gray", [False, True])
def test_misclassified_images_have_the_colors_of_their_files(tmp_path: Path, is_gray: bool) -> None:
    run = lab(*make_overrides(write_images(tmp_path / "kinds", is_gray)))
    test = run.data.test
    image_input = ImageInput("x", run.data.pixel_bounds(), test.get_row_names(first=0))
    batch = run.loaders["test"].load_rows(torch.arange(len(test)))
    artifacts = make_artifacts(make_plots(predict_equal_logits, [batch], [*SHADES], image_input))
    mistakes = artifacts["mistakes"]
    assert isinstance(mistakes, ImageGrid)
    captions = [tile.caption for tile in mistakes.tiles]
    assert len(captions) > 2
    assert read_tile_colors(mistakes, tmp_path / "m.png") == get_file_colors(captions, is_gray)


def test_task_artifacts_have_the_value_range_of_the_data(tmp_path: Path) -> None:
    run = lab(*make_overrides(write_images(tmp_path / "kinds")))
    artifacts = make_artifacts(run.task.eval().make_artifacts(run.loaders["test"].iter_epoch(0)))
    bounds = run.data.pixel_bounds()
    assert bounds is not None
    for name in ("mistakes", "saliency"):
        grid = artifacts[name]
        assert isinstance(grid, ImageGrid)
        assert all(tile.bounds == bounds for tile in grid.tiles)


def test_input_of_feature_maps_has_the_color_of_its_file(tmp_path: Path) -> None:
    run = lab(*make_overrides(write_images(tmp_path / "kinds")))
    for row in range(3):
        batch = run.loaders["test"].load_rows(torch.tensor([row]))
        grid = feature_maps.make_feature_maps(run.task, batch, "trunk.0", ("x",), run.data.pixel_bounds())
        assert isinstance(grid, ImageGrid)
        name = str(run.data.test.get_row_names(first=0)[1][row])
        assert read_tile_colors(grid, tmp_path / "f.png")[:1] == get_file_colors([name])


@pytest.mark.slow
def test_unaugmented_rows_do_not_depend_on_the_augmentation(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "kinds")
    colors = []
    for augment in ("none", "photos"):
        run = lab(*make_overrides(folder), f"augment={augment}")
        grid = feature_maps.make_sample_grid(run.loaders["train"], 4, list(SHADES), run.data.pixel_bounds())
        colors.append(read_tile_colors(grid, tmp_path / "s.png")[:: grid.columns])
        assert colors[-1] == get_file_colors([tile.caption for tile in grid.tiles[:: grid.columns]])
    assert colors[0] == colors[1]


def test_rows_without_a_value_range_do_not_depend_on_the_augmentation() -> None:
    bounds = []
    for augment in ("none", "slides"):
        run = lab("model=cnn", "data=gratings", "data.rows=60", f"augment={augment}", "max_steps=1")
        bounds.append([tile.bounds for tile in feature_maps.make_sample_grid(run.loaders["train"], 2, []).tiles])
    assert bounds[0] == bounds[1]
    assert None not in bounds[0]


def test_images_without_a_value_range_keep_their_hue(tmp_path: Path) -> None:
    color = torch.tensor([0.1, 0.3, 0.2]).view(3, 1, 1)
    tiles = [ImageTile(color.expand(3, 4, 4), ""), ImageTile(color.expand(3, 4, 4) * 2, "")]
    for is_shared in (True, False):
        first, second = read_tile_colors(ImageGrid("a", tiles, 2, is_shared), tmp_path / "a.png")
        assert first[0] < first[2] < first[1]
        assert second[0] < second[2] < second[1]


def test_segmentation_data_restores_its_value_range(tmp_path: Path) -> None:
    data = mask_folders.read(mask_folders.write(tmp_path / "marked"))
    restored = dataset_state.restore_from_state(SegmentationFolder, dataset_state.make_dataset_state(data), {})
    assert restored.pixel_bounds() == data.pixel_bounds() is not None
    x = data.test.to_model_inputs(data.test.batch(torch.tensor([0]), 0)).inputs["x"]
    raw = data.test.batch(torch.tensor([0]), 0).inputs["x"]
    assert data.pixel_bounds() is not None
    low, high = (torch.tensor(end) for end in data.pixel_bounds() or ())
    torch.testing.assert_close((x - low) / (high - low) * 255, raw.float())


def test_image_folder_restores_its_value_range(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "kinds")
    run = lab(*make_overrides(folder))
    state = dataset_state.make_dataset_state(run.data)
    restored = dataset_state.restore_from_state(ImageFolder, state, {})
    bounds = run.data.pixel_bounds()
    assert bounds is not None
    assert restored.pixel_bounds() == [*bounds]
    assert set(state["dataset_info"]) == set(dataset_info_state.STORED_FIELDS), "nothing new is stored"


def test_data_without_pixels_has_no_value_range() -> None:
    assert isinstance(data := lab("model=mlp", "data=moons", "max_steps=1").data, Dataset)
    assert data.pixel_bounds() is None


def test_overlay_grid_shows_the_original_image(tmp_path: Path) -> None:
    data = mask_folders.read(mask_folders.write(tmp_path / "marked"))
    batch = data.test.to_model_inputs(data.test.batch(torch.arange(1), 0))
    assert batch.target is not None

    def predict_zeros(inputs: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        logits = torch.zeros(len(inputs), 3, *inputs.inputs["x"].shape[2:])
        return logits, logits.argmax(1)

    grid = make_artifacts(make_plots(predict_zeros, [batch], ["a", "b", "c"], ImageInput("x", data.pixel_bounds())))[
        "overlays"
    ]
    assert isinstance(grid, ImageGrid)
    middle = data.test.batch(torch.arange(1), 0).inputs["x"][0, 0, 4, 4]
    image_grid.draw_image_grid(grid, tmp_path / "o.png")
    image = np.asarray(Image.open(tmp_path / "o.png"))
    factor = round(TARGET_SIZE / 10)
    assert image[GAP + 4 * factor + factor // 2, GAP + 4 * factor + factor // 2].tolist() == [int(middle)] * 3


def test_generated_images_are_shown_in_the_full_value_range() -> None:
    task = lab("model=conv_vae", "data=digits", "data.size=8", "task.classifier=null", "max_steps=1").task
    (grid,) = task.render_preview("new", [("", torch.full((2, 1, 8, 8), 0.5))])
    assert isinstance(grid, ImageGrid)
    assert [tile.bounds for tile in grid.tiles] == [([0.0], [1.0])] * 2


def read_legend_colors(grid: ImageGrid, path: Path) -> list[list[int]]:
    """Return the colors of the boxes below the tiles in the order of classes."""
    image_grid.draw_image_grid(grid, path)
    legend = np.asarray(Image.open(path))[GAP + TARGET_SIZE + image_grid.LINE_HEIGHT + GAP + 8 :]
    pixels = legend.reshape(-1, 3)
    colors = [*image_grid.CLASS_COLORS.tolist(), [128, 128, 128]]
    return [color for color in colors if (pixels == color).all(1).sum() > 20]


def test_legend_has_the_overlaid_classes(tmp_path: Path) -> None:
    image = torch.zeros(1, 4, 4)
    first, second = torch.tensor([[0, 2], [0, 0]]), torch.tensor([[0, 0], [0, 0]])
    tiles = [ImageTile(image, ""), ImageTile(image, "", class_map=first), ImageTile(image, "", class_map=second)]
    edge, colors = [128, 128, 128], image_grid.CLASS_COLORS.tolist()
    names = ["sky", "sea", "sand"]
    assert read_legend_colors(ImageGrid("a", tiles, 3, class_names=names), tmp_path / "a.png") == [
        colors[0],
        colors[2],
        edge,
    ]
    assert read_legend_colors(ImageGrid("a", tiles[::2], 2, class_names=names), tmp_path / "a.png") == [colors[0], edge]
    assert read_legend_colors(ImageGrid("a", tiles[:1], 1, class_names=names), tmp_path / "a.png") == []
    assert read_legend_colors(ImageGrid("a", tiles, 3), tmp_path / "a.png") == []


def test_long_legend_has_the_width_of_its_grid(tmp_path: Path) -> None:
    names = [f"a class of the name {number}" for number in range(30)]
    tile = ImageTile(torch.zeros(1, 6, 6), "", class_map=torch.arange(36).view(6, 6).clamp(max=29))
    shapes = []
    for classes in ([], names):
        image_grid.draw_image_grid(ImageGrid("a", [tile] * 4, 4, class_names=classes), tmp_path / "a.png")
        shapes.append(np.asarray(Image.open(tmp_path / "a.png")).shape)
    assert shapes[0][1] == shapes[1][1]
    assert shapes[1][0] > shapes[0][0] + 10 * image_grid.LINE_HEIGHT


def test_legend_has_ignored_pixels() -> None:
    classes = torch.tensor([[IGNORE_INDEX, 1]])
    grid = ImageGrid("a", [ImageTile(torch.zeros(1, 1, 2), "", class_map=classes)], 1, class_names=["a", "b"])
    assert [label for label, _ in image_grid.collect_legend_entries(grid)] == [
        "b",
        "ignored pixels (no overlay)",
    ]
