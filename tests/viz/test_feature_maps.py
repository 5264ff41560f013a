"""Layer summaries, feature maps and grids of training samples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from tests.helpers.in_process import run
from tests.helpers.lab import lab
from trainer.cli import main
from trainer.core.artifacts import ImageGrid, LineChart
from trainer.inference import inspection
from trainer.runs import saved_run
from trainer.utils.errors import ConfigError
from trainer.viz import feature_maps, model_summary

IMAGES = (
    "model=cnn",
    "data=gratings",
    "data.rows=60",
    "model.channels=[4]",
    "model.dilations=[1]",
    "model.pools=[max]",
)


def test_layer_summary_lists_called_layers_with_outputs() -> None:
    setup = lab(*IMAGES, "max_steps=1")
    layers = {
        layer.name: layer
        for layer in model_summary.summarize_layers(setup.task, setup.loaders["test"].load_rows(torch.arange(2)))
    }
    assert layers["trunk.0"].class_name == "Conv2d"
    assert layers["trunk.0"].output.shape == (2, 4, 28, 28)
    assert layers["trunk.0"].num_params == 4 * 9 + 4
    assert not [module for module in setup.task.modules() if module._forward_hooks], "a hook was not removed"


def test_feature_maps_are_the_output_of_a_layer() -> None:
    setup = lab(*IMAGES, "max_steps=1")
    batch = setup.loaders["test"].load_rows(torch.tensor([3]))
    grid = feature_maps.make_feature_maps(setup.task, batch, "trunk.0", ("x",))
    assert isinstance(grid, ImageGrid)
    with torch.no_grad():
        maps = setup.task.model.trunk[0](batch.inputs["x"])[0]  # type: ignore[union-attr, index]
    assert torch.equal(grid.tiles[0].image, batch.inputs["x"][0])
    for tile, expected in zip(grid.tiles[1:], maps, strict=True):
        torch.testing.assert_close(tile.image[0], expected)
    with pytest.raises(ConfigError, match=r"no layer 'trunk.9'; did you mean trunk.3\?"):
        feature_maps.make_feature_maps(setup.task, batch, "trunk.9")


def test_feature_maps_of_a_sequence_have_a_tile_per_step() -> None:
    setup = lab("model=conv_lstm", "model.channels=[2]", "data=moving_blob", "data.rows=40", "max_steps=1")
    batch = setup.loaders["test"].load_rows(torch.tensor([0]))
    grid = feature_maps.make_feature_maps(setup.task, batch, "layers.0")
    assert isinstance(grid, ImageGrid)
    assert len(grid.tiles) == 2 * batch.inputs["x"].shape[1]
    assert grid.tiles[0].image.shape[1:] == batch.inputs["x"].shape[3:]


@pytest.mark.parametrize(("width", "panels"), [(5, 1), (128, 1), (129, 2), (5000, 8)])
def test_a_vector_is_shown_as_bars(width: int, panels: int) -> None:
    setup = lab("model=mlp", f"model.hidden=[{width}]", "data=moons", "max_steps=1")
    batch = setup.loaders["test"].load_rows(torch.tensor([3]))
    chart = feature_maps.make_feature_maps(setup.task, batch, "layers.0")
    assert isinstance(chart, LineChart)
    assert len(chart.panels) == panels
    with torch.no_grad():
        expected = setup.task.model.layers[0](batch.inputs["x"])[0]  # type: ignore[union-attr, index]
    bars = [panel.bars for panel in chart.panels if panel.bars is not None]
    torch.testing.assert_close(torch.cat([heights for _, heights in bars]), expected[: 8 * 128])
    assert torch.equal(torch.cat([places for places, _ in bars]), torch.arange(min(width, 8 * 128)))
    assert chart.panels[0].title == f"row 3, units 0 to {min(width, 128) - 1} of {width}"


def test_sample_grid_shows_original_and_augmented_rows() -> None:
    train = lab(*IMAGES, "augment=slides", "max_steps=1").loaders["train"]
    grid = feature_maps.make_sample_grid(train, 3, ["a"] * 10)
    assert (len(grid.tiles), grid.columns) == (18, 6)
    assert grid.tiles[6].caption == "row 1: a"
    assert torch.equal(grid.tiles[6].image, train.load_rows(torch.tensor([1])).inputs["x"][0])
    assert torch.equal(grid.tiles[8].image, train.load_augmented_rows(torch.tensor([1]), 1).inputs["x"][0])


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.slow
def test_a_run_on_images_writes_figures_and_feature_maps(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(run(*IMAGES, "epochs=1", "model.hidden=[8]", "draw=true").run_dir)
    assert {"confusion.png", "mistakes.png", "saliency.png"} <= {path.name for path in folder.iterdir()}
    assert main.run_command(["show", str(folder)]) == 0
    assert re.search(r"^trunk\.0 +Conv2d +\(4, 28, 28\)", capsys.readouterr().out, re.MULTILINE)
    assert main.run_command(["show", str(folder), "features=trunk.0", "row=2"]) == 0
    assert (folder / "features-trunk.0.png").is_file()
    with pytest.raises(ConfigError, match=r"row: 99 given; the test split has rows 0 to 11"):
        inspection.draw_feature_maps(saved_run.load(folder), "trunk.0", 99)
    with pytest.raises(ConfigError, match=r"show feature: unknown key; did you mean features\?"):
        main.run_command(["show", str(folder), "feature=x"])


@pytest.mark.parametrize(("data", "is_named"), [("gratings", True), ("moons", False)])
def test_show_of_image_data_names_the_samples_command(
    data: str, is_named: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run_command(["show", f"data={data}"]) == 0
    assert (f"train show data={data} augment=NAME samples=8" in capsys.readouterr().out) is is_named


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_show_samples_draws_training_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run_command(["show", "data=gratings", "data.rows=60", "augment=photos", "samples=3"]) == 0
    assert Path(capsys.readouterr().out.strip()).is_file()
    for words, message in (
        (["data=gratings", "samples=none"], "samples: 'none' given; it must be a whole number >= 1"),
        (["samples=3"], "samples: needs data=NAME"),
        (["data=moons", "samples=3"], r"samples: draws images \(B, C, H, W\); data moons gives x \(B, F\)"),
        (["data=gratings", "augment.flp=none", "samples=3"], "augment.flp: unknown key"),
    ):
        with pytest.raises(ConfigError, match=message):
            main.run_command(["show", *words])
