"""Training curves and charts, read from the matplotlib figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from trainer.core.artifacts import ConfusionMatrix, LineChart, PlotPanel
from trainer.viz import artifact_writer, matplotlib_figures, plots


@pytest.fixture
def draw_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that gives the figure that a call draws and saves."""
    figures: list[Figure] = []
    save = matplotlib_figures.save_figure

    def save_and_record(figure: Figure, path: Path) -> None:
        save(figure, path)
        figures.append(figure)

    monkeypatch.setattr(plots, "save_figure", save_and_record)

    def draw(call: Callable[[Path], None]) -> Figure:
        call(tmp_path / "x.png")
        assert (tmp_path / "x.png").stat().st_size > 1000
        return figures[-1]

    return draw


def make_history(count: int, scale: float = 1.0, **more: float) -> list[dict[str, float]]:
    return [
        {"epoch": k + 1, "step": 10 * (k + 1), "train_loss": scale / (k + 1), "lr_model": 0.1, "val_mse": scale * k}
        | more
        for k in range(count)
    ]


@pytest.mark.slow
def test_losses_share_a_panel_and_the_best_epoch_is_marked(draw_figure: Any) -> None:
    history = make_history(4, val_loss=0.5)
    figure = draw_figure(lambda path: plots.draw_training_curves(history, "mse", path, best_epoch=3))
    losses, scores, _ = figure.axes
    assert [line.get_label() for line in losses.lines] == ["training", "validation", "chosen: epoch 3"]
    assert [float(x) for x in losses.lines[2].get_xdata()] == [30, 30]
    assert scores.lines[0].get_ydata().tolist() == [0, 1, 2, 3]  # type: ignore[union-attr]


def test_one_epoch_shows_the_rate_of_every_step_and_values(draw_figure: Any) -> None:
    rates = {"model": [(step, step / 10) for step in range(10)]}
    figure = draw_figure(lambda path: plots.draw_training_curves(make_history(1), "mse", path, rates, 1))
    assert len(figure.axes[2].lines[0].get_xdata()) == 10
    assert [text.get_text() for text in figure.axes[0].texts] == ["1"]


def test_large_numbers_have_no_offset_text(draw_figure: Any) -> None:
    figure = draw_figure(lambda path: plots.draw_training_curves(make_history(3, 1e10), "mse", path))
    for axes in figure.axes:
        assert axes.yaxis.get_offset_text().get_text() == ""
    assert any("e+10" in label.get_text() for label in figure.axes[0].get_yticklabels())


def test_dollar_signs_are_not_mathematics(draw_figure: Any, tmp_path: Path) -> None:
    """A single one, unfinished mathematics and an empty pair would each be a parse error."""
    x = torch.arange(3.0)
    panel = PlotPanel("$$ and $\\frac", "$", "a_{$", lines=[("$$$", x, x)], points=[("\\$x$", x, x)], diagonal=True)
    draw_figure(lambda path: plots.draw_chart(LineChart("c", [panel], 1), path))
    counts = torch.eye(3, dtype=torch.long)
    (path,) = artifact_writer.write_artifacts([ConfusionMatrix("m", counts, ["$", "$$", "\x1b$\\alpha$"])], tmp_path)
    assert path.exists()


def test_axes_without_a_panel_are_hidden(draw_figure: Any) -> None:
    x = torch.arange(3.0)
    figure = draw_figure(
        lambda path: plots.draw_chart(LineChart("c", [PlotPanel("p", "x", "y", lines=[("", x, x)])] * 3, 2), path)
    )
    assert [axes.axison for axes in figure.axes] == [True, True, True, False]


def test_no_curves_are_drawn_without_a_validation(tmp_path: Path) -> None:
    plots.draw_training_curves([], "mse", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_bars_are_at_their_positions(draw_figure: Any) -> None:
    panel = PlotPanel("a", "unit", "b", bars=(torch.arange(3, 6), torch.tensor([1.0, -2.0, 0.5])))
    figure = draw_figure(lambda path: plots.draw_chart(LineChart("c", [panel], 1, width=9.0), path))
    bars = figure.axes[0].patches
    assert [(round(bar.get_x() + bar.get_width() / 2), bar.get_height()) for bar in bars] == [(3, 1), (4, -2), (5, 0.5)]
    assert figure.get_figwidth() == 9
    assert all(float(tick).is_integer() for tick in figure.axes[0].get_xticks())
