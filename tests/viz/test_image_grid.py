"""A picture of the user's is drawn in its own colors, whatever it was standardized by and whatever lies beside it."""

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

SHADES = {"dark": (9, 4, 6), "green": (70, 150, 60), "grey": (129, 129, 129)}


def written(folder: Path, is_grey: bool = False) -> Path:
    """Pictures of one color for each class; those of ``is_gray`` have one channel, as all have with ``is_grey``."""
    for kind, color in SHADES.items():
        (folder / kind).mkdir(parents=True)
        for number in range(10):
            one = np.uint8(color[0]) if is_grey or kind == "grey" else np.array(color, np.uint8)
            pixels = np.zeros((8, 8, *one.shape), np.uint8) + one
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    return folder


def words(folder: Path) -> tuple[str, ...]:
    return "model=cnn", "model.channels=[2]", "model.dilations=[1]", "model.pools=[max]", "data=image_folder", (
        f"data.path={folder}"
    ), "data.size=8", "max_steps=1", "batch_size=30"  # fmt: skip


def faces(sheet: ImageGrid, path: Path) -> list[list[int]]:
    """The color in the middle of each tile of a sheet."""
    image_grid.draw_image_grid(sheet, path)
    shown = np.asarray(Image.open(path))
    high = -(-len(sheet.tiles) // sheet.columns)
    wide, tall = (shown.shape[1] - GAP) // sheet.columns, (shown.shape[0] - GAP) // high
    places = (divmod(place, sheet.columns) for place in range(len(sheet.tiles)))
    return [
        shown[GAP + row * tall + TARGET_SIZE // 2, GAP + column * wide + TARGET_SIZE // 2].tolist()
        for row, column in places
    ]


def colors_of(captions: list[str], is_grey: bool = False) -> list[list[int]]:
    """The color that stands in the file whose name is in each caption."""
    kinds = [next(kind for kind in SHADES if f"{kind}/" in caption) for caption in captions]
    return [[SHADES[kind][0]] * 3 if is_grey else list(SHADES[kind]) for kind in kinds]


def undecided(batch: Batch) -> torch.Tensor:
    """Equal logits (B, 3) for all classes."""
    return 0 * batch.inputs["x"].mean((1, 2, 3))[:, None].expand(-1, 3)


@pytest.mark.parametrize("is_grey", [False, True])
def test_mistakes_and_looks_have_the_colors_of_their_files(tmp_path: Path, is_grey: bool) -> None:
    run = lab(*words(written(tmp_path / "kinds", is_grey)))
    test = run.data.test
    shown = ImageInput("x", run.data.pixel_bounds(), test.get_row_names(first=0))
    batch = run.loaders["test"].load_rows(torch.arange(len(test)))
    found = make_artifacts(make_plots(undecided, [batch], [*SHADES], shown))
    mistakes = found["mistakes"]
    assert isinstance(mistakes, ImageGrid)
    captions = [tile.caption for tile in mistakes.tiles]
    assert len(captions) > 2
    assert faces(mistakes, tmp_path / "m.png") == colors_of(captions, is_grey)


def test_the_task_draws_them_so(tmp_path: Path) -> None:
    run = lab(*words(written(tmp_path / "kinds")))
    found = make_artifacts(run.task.eval().make_artifacts(run.loaders["test"].iter_epoch(0)))
    bounds = run.data.pixel_bounds()
    assert bounds is not None
    for name in ("mistakes", "saliency"):
        sheet = found[name]
        assert isinstance(sheet, ImageGrid)
        assert all(tile.bounds == bounds for tile in sheet.tiles)


def test_the_input_above_feature_maps_has_the_color_of_its_file(tmp_path: Path) -> None:
    run = lab(*words(written(tmp_path / "kinds")))
    for row in range(3):
        batch = run.loaders["test"].load_rows(torch.tensor([row]))
        sheet = feature_maps.make_feature_maps(run.task, batch, "trunk.0", ("x",), run.data.pixel_bounds())
        assert isinstance(sheet, ImageGrid)
        name = str(run.data.test.get_row_names(first=0)[1][row])
        assert faces(sheet, tmp_path / "f.png")[:1] == colors_of([name])


def test_unaugmented_rows_do_not_depend_on_the_augmentation(tmp_path: Path) -> None:
    folder = written(tmp_path / "kinds")
    seen = []
    for augment in ("none", "photos"):
        run = lab(*words(folder), f"augment={augment}")
        sheet = feature_maps.make_sample_grid(run.loaders["train"], 4, list(SHADES), run.data.pixel_bounds())
        seen.append(faces(sheet, tmp_path / "s.png")[:: sheet.columns])
        assert seen[-1] == colors_of([tile.caption for tile in sheet.tiles[:: sheet.columns]])
    assert seen[0] == seen[1]


def test_rows_without_a_value_range_do_not_depend_on_the_augmentation() -> None:
    kept = []
    for augment in ("none", "slides"):
        run = lab("model=cnn", "data=gratings", "data.rows=60", f"augment={augment}", "max_steps=1")
        kept.append([tile.bounds for tile in feature_maps.make_sample_grid(run.loaders["train"], 2, []).tiles])
    assert kept[0] == kept[1]
    assert None not in kept[0]


def test_images_without_a_value_range_keep_their_hue(tmp_path: Path) -> None:
    color = torch.tensor([0.1, 0.3, 0.2]).view(3, 1, 1)
    tiles = [ImageTile(color.expand(3, 4, 4), ""), ImageTile(color.expand(3, 4, 4) * 2, "")]
    for is_shared in (True, False):
        first, second = faces(ImageGrid("a", tiles, 2, is_shared), tmp_path / "a.png")
        assert first[0] < first[2] < first[1]
        assert second[0] < second[2] < second[1]


def test_annotated_images_restore_their_value_range_from_the_run(tmp_path: Path) -> None:
    data = mask_folders.read(mask_folders.write(tmp_path / "marked"))
    told = dataset_state.restore_from_state(SegmentationFolder, dataset_state.make_dataset_state(data), {})
    assert told.pixel_bounds() == data.pixel_bounds() is not None
    x = data.test.to_model_inputs(data.test.batch(torch.tensor([0]), 0)).inputs["x"]
    raw = data.test.batch(torch.tensor([0]), 0).inputs["x"]
    assert data.pixel_bounds() is not None
    low, high = (torch.tensor(end) for end in data.pixel_bounds() or ())
    torch.testing.assert_close((x - low) / (high - low) * 255, raw.float())


def test_an_older_run_restores_its_value_range(tmp_path: Path) -> None:
    folder = written(tmp_path / "kinds")
    run = lab(*words(folder))
    state = dataset_state.make_dataset_state(run.data)
    told = dataset_state.restore_from_state(ImageFolder, state, {})
    bounds = run.data.pixel_bounds()
    assert bounds is not None
    assert told.pixel_bounds() == [*bounds]
    assert set(state["dataset_info"]) == set(dataset_info_state.STORED_FIELDS), "nothing new is stored"


def test_data_without_pixels_has_no_value_range() -> None:
    assert isinstance(data := lab("model=mlp", "data=moons", "max_steps=1").data, Dataset)
    assert data.pixel_bounds() is None


def test_overlays_lie_on_the_image_as_it_is(tmp_path: Path) -> None:
    data = mask_folders.read(mask_folders.write(tmp_path / "marked"))
    batch = data.test.to_model_inputs(data.test.batch(torch.arange(1), 0))
    assert batch.target is not None

    def nothing(given: Batch) -> torch.Tensor:
        return torch.zeros(len(given), 3, *given.inputs["x"].shape[2:])

    sheet = make_artifacts(make_plots(nothing, [batch], ["a", "b", "c"], ImageInput("x", data.pixel_bounds())))[
        "overlays"
    ]
    assert isinstance(sheet, ImageGrid)
    middle = data.test.batch(torch.arange(1), 0).inputs["x"][0, 0, 4, 4]
    image_grid.draw_image_grid(sheet, tmp_path / "o.png")
    shown = np.asarray(Image.open(tmp_path / "o.png"))
    factor = round(TARGET_SIZE / 10)
    assert shown[GAP + 4 * factor + factor // 2, GAP + 4 * factor + factor // 2].tolist() == [int(middle)] * 3


def test_generated_images_are_shown_in_the_full_value_range() -> None:
    task = lab("model=conv_vae", "data=digits", "data.size=8", "task.classifier=null", "max_steps=1").task
    (sheet,) = task.render_preview("new", [("", torch.full((2, 1, 8, 8), 0.5))])
    assert isinstance(sheet, ImageGrid)
    assert [tile.bounds for tile in sheet.tiles] == [([0.0], [1.0])] * 2


def colors_below(sheet: ImageGrid, path: Path) -> list[list[int]]:
    """The colors of the boxes under the tiles, from the first to the last."""
    image_grid.draw_image_grid(sheet, path)
    below = np.asarray(Image.open(path))[GAP + TARGET_SIZE + image_grid.LINE_HEIGHT + GAP + 8 :]
    drawn = below.reshape(-1, 3)
    known = [*image_grid.CLASS_COLORS.tolist(), [128, 128, 128]]
    return [color for color in known if (drawn == color).all(1).sum() > 20]


def test_a_legend_names_the_classes_that_lie_over_images(tmp_path: Path) -> None:
    picture = torch.zeros(1, 4, 4)
    first, second = torch.tensor([[0, 2], [0, 0]]), torch.tensor([[0, 0], [0, 0]])
    tiles = [ImageTile(picture, ""), ImageTile(picture, "", class_map=first), ImageTile(picture, "", class_map=second)]
    edge, colors = [128, 128, 128], image_grid.CLASS_COLORS.tolist()
    names = ["sky", "sea", "sand"]
    assert colors_below(ImageGrid("a", tiles, 3, class_names=names), tmp_path / "a.png") == [colors[0], colors[2], edge]
    assert colors_below(ImageGrid("a", tiles[::2], 2, class_names=names), tmp_path / "a.png") == [colors[0], edge]
    assert colors_below(ImageGrid("a", tiles[:1], 1, class_names=names), tmp_path / "a.png") == []
    assert colors_below(ImageGrid("a", tiles, 3), tmp_path / "a.png") == []


def test_a_long_legend_is_as_wide_as_its_sheet(tmp_path: Path) -> None:
    names = [f"a class of the name {number}" for number in range(30)]
    tile = ImageTile(torch.zeros(1, 6, 6), "", class_map=torch.arange(36).view(6, 6).clamp(max=29))
    shapes = []
    for classes in ([], names):
        image_grid.draw_image_grid(ImageGrid("a", [tile] * 4, 4, class_names=classes), tmp_path / "a.png")
        shapes.append(np.asarray(Image.open(tmp_path / "a.png")).shape)
    assert shapes[0][1] == shapes[1][1]
    assert shapes[1][0] > shapes[0][0] + 10 * image_grid.LINE_HEIGHT


def test_pixels_that_do_not_count_are_in_the_legend() -> None:
    classes = torch.tensor([[IGNORE_INDEX, 1]])
    sheet = ImageGrid("a", [ImageTile(torch.zeros(1, 1, 2), "", class_map=classes)], 1, class_names=["a", "b"])
    assert [label for label, _ in image_grid.collect_legend_entries(sheet)] == [
        "b",
        "ignored pixels (no overlay)",
    ]
