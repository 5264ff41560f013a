"""Pictures show what they are given: looked at pixel by pixel."""

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


def drawn(item: ImageGrid | ConfusionMatrix | GraphPlot, folder: Path) -> np.ndarray:
    (path,) = artifact_writer.write_artifacts([item], folder)
    assert path == folder / f"{item.name}.png"
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def at(shown: np.ndarray, column: int = 0, wide: int = TARGET_SIZE + GAP) -> np.ndarray:
    """The face of a tile of the first row."""
    left = GAP + column * wide
    return shown[GAP : GAP + TARGET_SIZE, left : left + TARGET_SIZE]


def test_tiles_are_enlarged_and_on_one_scale(tmp_path: Path) -> None:
    low, high = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]), torch.full((1, 2, 2), 6.0)
    face = at(drawn(ImageGrid("a", [ImageTile(low, "low"), ImageTile(high, "")], 2), tmp_path))
    assert [int(face[y, x, 0]) for y in (9, 99) for x in (9, 99)] == [0, 42, 85, 128]
    own = at(drawn(ImageGrid("b", [ImageTile(low, "low"), ImageTile(high, "")], 2, is_shared=False), tmp_path))
    assert [int(own[y, x, 0]) for y in (9, 99) for x in (9, 99)] == [0, 85, 170, 255]


def test_colors_stay_what_they_are(tmp_path: Path) -> None:
    face = at(drawn(ImageGrid("c", [ImageTile(torch.eye(3)[:, :, None].expand(3, 3, 3), "")], 1), tmp_path))
    for row, y in enumerate((9, 55, 100)):
        assert face[y, 50].tolist() == (255 * np.eye(3)[row]).astype(int).tolist()


def test_classes_lie_over_the_image_and_heat_where_it_is_hot(tmp_path: Path) -> None:
    grey = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
    classes = torch.tensor([[IGNORE_INDEX, IGNORE_INDEX], [0, 1]])
    heat = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    tiles = [ImageTile(grey, "", class_map=classes), ImageTile(grey, "", heatmap=heat)]
    shown = drawn(ImageGrid("d", tiles, 2), tmp_path)
    face = at(shown)
    assert face[9, 9].tolist() == [0, 0, 0]
    for x, label in ((9, 0), (99, 1)):
        wanted = 0.45 * 255 + 0.55 * CLASS_COLORS[label].numpy()
        assert np.abs(face[99, x] - wanted).max() <= 1
    hot = at(shown, 1)
    assert hot[110, 110, 0] > hot[110, 110, 1] + 100
    assert hot[2, 110].tolist() == [255, 255, 255]


def test_a_large_image_is_shrunk_and_rows_are_broken(tmp_path: Path) -> None:
    shown = drawn(ImageGrid("e", [ImageTile(torch.rand(1, 900, 600), "one\ntwo")] * 3, 2), tmp_path)
    assert shown.shape[1] == 2 * (224 + GAP) + GAP
    assert shown.shape[0] > 2 * 336


def test_a_matrix_is_dark_where_rows_are(tmp_path: Path) -> None:
    counts = torch.tensor([[90, 10, 0], [0, 5, 5], [0, 0, 0]])
    assert drawn(ConfusionMatrix("m", counts, ["a", "b", "never"]), tmp_path).min() < 60


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels_is_drawn(channels: int, tmp_path: Path) -> None:
    assert drawn(ImageGrid("f", [ImageTile(torch.rand(channels, 4, 9), "")], 1), tmp_path).std() > 10


def test_a_network_has_its_nodes_at_one_place_and_its_classes_in_one_block(tmp_path: Path) -> None:
    classes = torch.arange(20) % 2
    within = torch.combinations(torch.arange(0, 20, 2))  # all of class 0, which is sorted to the front
    empty = torch.zeros(0, 2, dtype=torch.long)
    shown = drawn(GraphPlot("n", 20, [("one", within), ("none", empty)], classes), tmp_path)
    height, width = shown.shape[:2]
    of_class = np.abs(shown - DARK_CLASS_COLORS[0].numpy()).max(-1) < 3
    upper, lower = of_class[: height // 2], of_class[height // 2 :]
    left, right = (np.argwhere(half) for half in (upper[:, : width // 2], upper[:, width // 2 :]))
    assert np.abs(left.mean(0) - right.mean(0)).max() < 4
    assert not lower[:, width // 2 :].any()
    rows, columns = np.argwhere(lower[:, : width // 2]).T
    assert rows.max() < height // 4 + 10
    assert columns.max() < width // 4 + 10


@pytest.mark.parametrize(("classes", "is_told"), [(3, True), (12, True), (13, False)])
def test_a_small_matrix_says_where_nothing_was_counted(
    classes: int, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = texts(
        ConfusionMatrix("m", torch.eye(classes, dtype=torch.long) * 7, ["c"] * classes), tmp_path, monkeypatch
    )
    assert found.count("7") == classes
    assert found.count("0") == is_told * classes * (classes - 1)


def test_a_name_that_is_taken_is_numbered(tmp_path: Path) -> None:
    item = ConfusionMatrix("m", torch.eye(2, dtype=torch.long), ["a", "b"])
    names = [artifact_writer.write_artifacts([item], tmp_path, replace=False)[0].name for _ in range(3)]
    assert names == ["m.png", "m-2.png", "m-3.png"]
    assert artifact_writer.write_artifacts([item], tmp_path)[0].name == "m.png"


def texts(item: ScatterPlot | ConfusionMatrix, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written in a figure."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    figures: list[Figure] = []
    for module in (plots, scatter_plots):
        monkeypatch.setattr(module, "save_figure", lambda figure, _: figures.append(figure))
    artifact_writer.WRITERS[type(item)](item, folder / "a.png")
    return [text.get_text() for text in figures[0].findobj(Text) if isinstance(text, Text)]


GREY = {"training rows", "generated rows"}


def test_points_of_a_few_columns_name_them_and_say_what_is_grey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = torch.rand(9, 2)
    named = texts(ScatterPlot("a", [("made", points)], points, ("length", "weight")), tmp_path, monkeypatch)
    assert {"length", "weight", "made", *GREY} <= set(named)
    unnamed = texts(ScatterPlot("a", [("made", points)], points), tmp_path, monkeypatch)
    assert {"column 1", "column 2", *GREY} <= set(unnamed)
    one = texts(ScatterPlot("a", [("made", points[:, :1])], points[:, :1], ("length",)), tmp_path, monkeypatch)
    assert {"length", *GREY} <= set(one)


def test_points_of_many_columns_name_those_that_vary_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 500, 1, generator=random)
    points = torch.cat((0.1 * torch.randn(500, 1, generator=random), 3 * first, 2 * first, 2 * second), 1)
    found = texts(ScatterPlot("a", [("", points)], points, ("a", "b", "c", "d")), tmp_path, monkeypatch)
    across, up = (next(text for text in found if text.startswith(f"direction {n}")) for n in (1, 2))
    assert across.endswith("% of the variance\nmostly b, c")
    assert "\nmostly d" in up
    assert int(across.split()[2].rstrip("%")) > 60


def test_rows_of_a_table_are_drawn_under_the_names_of_its_columns() -> None:
    words = ("model=vae", "data=csv", f"data.path={table()}", "data.target=null", "task.classifier=null", "max_steps=1")
    run = lab(*words)
    width = run.data.info.sizes["in_features"]
    (cloud,) = run.task.render_preview("new", [("", torch.zeros(3, width))])
    assert isinstance(cloud, ScatterPlot)
    assert [*cloud.columns][:2] == ["a", "b"]
    assert len(cloud.columns) == width
