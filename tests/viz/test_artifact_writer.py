"""Pixels and texts of written artifacts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.lab import lab
from tests.helpers.own_files import table
from trainer.core.artifacts import ConfusionMatrix, GraphPlot, ImageGrid, ImageTile, ScatterPlot
from trainer.core.batch import IGNORE_INDEX
from trainer.viz import artifact_writer, plots, scatter_plots
from trainer.viz.image_grid import CLASS_COLORS, DARK_CLASS_COLORS, GAP, TARGET_SIZE


def write_and_read(item: ImageGrid | ConfusionMatrix | GraphPlot, folder: Path) -> np.ndarray:
    (path,) = artifact_writer.write_artifacts([item], folder)
    assert path == folder / f"{item.name}.png"
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def crop_tile(image: np.ndarray, column: int = 0, tile_width: int = TARGET_SIZE + GAP) -> np.ndarray:
    """Return the image area of a tile of the first row."""
    left = GAP + column * tile_width
    return image[GAP : GAP + TARGET_SIZE, left : left + TARGET_SIZE]


def test_tiles_are_enlarged_and_on_one_scale(tmp_path: Path) -> None:
    low, high = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]), torch.full((1, 2, 2), 6.0)
    shared_scale = crop_tile(write_and_read(ImageGrid("a", [ImageTile(low, "low"), ImageTile(high, "")], 2), tmp_path))
    assert [int(shared_scale[y, x, 0]) for y in (9, 99) for x in (9, 99)] == [0, 42, 85, 128]
    own_scale = crop_tile(
        write_and_read(ImageGrid("b", [ImageTile(low, "low"), ImageTile(high, "")], 2, is_shared=False), tmp_path)
    )
    assert [int(own_scale[y, x, 0]) for y in (9, 99) for x in (9, 99)] == [0, 85, 170, 255]


def test_colors_are_preserved(tmp_path: Path) -> None:
    tile = crop_tile(
        write_and_read(ImageGrid("c", [ImageTile(torch.eye(3)[:, :, None].expand(3, 3, 3), "")], 1), tmp_path)
    )
    for row, y in enumerate((9, 55, 100)):
        assert tile[y, 50].tolist() == (255 * np.eye(3)[row]).astype(int).tolist()


def test_class_map_and_heatmap_are_overlaid(tmp_path: Path) -> None:
    gray = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
    classes = torch.tensor([[IGNORE_INDEX, IGNORE_INDEX], [0, 1]])
    heat = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    tiles = [ImageTile(gray, "", class_map=classes), ImageTile(gray, "", heatmap=heat)]
    image = write_and_read(ImageGrid("d", tiles, 2), tmp_path)
    tile = crop_tile(image)
    assert tile[9, 9].tolist() == [0, 0, 0]
    for x, label in ((9, 0), (99, 1)):
        expected = 0.45 * 255 + 0.55 * CLASS_COLORS[label].numpy()
        assert np.abs(tile[99, x] - expected).max() <= 1
    heat_tile = crop_tile(image, 1)
    assert heat_tile[110, 110, 0] > heat_tile[110, 110, 1] + 100
    assert heat_tile[2, 110].tolist() == [255, 255, 255]


def test_large_images_are_shrunk_and_tiles_wrap(tmp_path: Path) -> None:
    image = write_and_read(ImageGrid("e", [ImageTile(torch.rand(1, 900, 600), "one\ntwo")] * 3, 2), tmp_path)
    assert image.shape[1] == 2 * (224 + GAP) + GAP
    assert image.shape[0] > 2 * 336


def test_confusion_matrix_is_dark_at_high_counts(tmp_path: Path) -> None:
    counts = torch.tensor([[90, 10, 0], [0, 5, 5], [0, 0, 0]])
    names = ["a", "b", "never"]
    share, text_share = (
        float((write_and_read(ConfusionMatrix("m", values, names), tmp_path).min(-1) < 60).mean())
        for values in (counts, torch.zeros_like(counts))
    )
    assert share > 3 * text_share


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels_is_drawn(channels: int, tmp_path: Path) -> None:
    assert write_and_read(ImageGrid("f", [ImageTile(torch.rand(channels, 4, 9), "")], 1), tmp_path).std() > 10


@pytest.mark.slow
def test_graph_plot_aligns_nodes_and_sorts_them_by_class(tmp_path: Path) -> None:
    classes = torch.arange(20) % 2
    within = torch.combinations(torch.arange(0, 20, 2))  # all of class 0, which is sorted to the front
    empty = torch.zeros(0, 2, dtype=torch.long)
    image = write_and_read(GraphPlot("n", 20, [("one", within), ("none", empty)], classes), tmp_path)
    height, width = image.shape[:2]
    has_class_color = np.abs(image - DARK_CLASS_COLORS[0].numpy()).max(-1) < 3
    upper, lower = has_class_color[: height // 2], has_class_color[height // 2 :]
    left, right = (np.argwhere(half) for half in (upper[:, : width // 2], upper[:, width // 2 :]))
    assert np.abs(left.mean(0) - right.mean(0)).max() < 4
    assert not lower[:, width // 2 :].any()
    rows, columns = np.argwhere(lower[:, : width // 2]).T
    assert rows.max() < height // 4 + 10
    assert columns.max() < width // 4 + 10


@pytest.mark.parametrize(("classes", "shows_zeros"), [(3, True), (12, True), (13, False)])
def test_small_confusion_matrix_shows_zeros(
    classes: int, shows_zeros: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = collect_texts(
        ConfusionMatrix("m", torch.eye(classes, dtype=torch.long) * 7, ["c"] * classes), tmp_path, monkeypatch
    )
    assert cells.count("7") == classes
    assert cells.count("0") == shows_zeros * classes * (classes - 1)


def test_existing_file_name_is_numbered(tmp_path: Path) -> None:
    item = ConfusionMatrix("m", torch.eye(2, dtype=torch.long), ["a", "b"])
    names = [artifact_writer.write_artifacts([item], tmp_path, replace=False)[0].name for _ in range(3)]
    assert names == ["m.png", "m-2.png", "m-3.png"]
    assert artifact_writer.write_artifacts([item], tmp_path)[0].name == "m.png"


def collect_texts(item: ScatterPlot | ConfusionMatrix, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the texts of a figure."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    figures: list[Figure] = []
    for module in (plots, scatter_plots):
        monkeypatch.setattr(module, "save_figure", lambda figure, _: figures.append(figure))
    artifact_writer.WRITERS[type(item)](item, folder / "a.png")
    return [text.get_text() for text in figures[0].findobj(Text) if isinstance(text, Text)]


LEGEND = {"training rows", "generated rows"}


def test_scatter_plot_has_column_names_and_legend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.rand(9, 2)
    named = collect_texts(ScatterPlot("a", [("made", points)], points, ("length", "weight")), tmp_path, monkeypatch)
    assert {"length", "weight", "made", *LEGEND} <= set(named)
    unnamed = collect_texts(ScatterPlot("a", [("made", points)], points), tmp_path, monkeypatch)
    assert {"column 1", "column 2", *LEGEND} <= set(unnamed)
    one = collect_texts(ScatterPlot("a", [("made", points[:, :1])], points[:, :1], ("length",)), tmp_path, monkeypatch)
    assert {"length", *LEGEND} <= set(one)


def test_principal_directions_name_correlated_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 500, 1, generator=generator)
    points = torch.cat((0.1 * torch.randn(500, 1, generator=generator), 3 * first, 2 * first, 2 * second), 1)
    result = collect_texts(ScatterPlot("a", [("", points)], points, ("a", "b", "c", "d")), tmp_path, monkeypatch)
    across, up = (next(text for text in result if text.startswith(f"direction {n}")) for n in (1, 2))
    assert across.endswith("% of the variance\nmostly b, c")
    assert "\nmostly d" in up
    assert int(across.split()[2].rstrip("%")) > 60


def test_scatter_plot_of_a_table_has_its_column_names() -> None:
    words = ("model=vae", "data=csv", f"data.path={table()}", "data.target=null", "task.classifier=null", "max_steps=1")
    run = lab(*words)
    width = run.data.info.sizes["in_features"]
    (cloud,) = run.task.render_preview("new", [("", torch.zeros(3, width))])
    assert isinstance(cloud, ScatterPlot)
    assert [*cloud.columns][:2] == ["a", "b"]
    assert len(cloud.columns) == width
