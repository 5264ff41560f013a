"""Results of the scripts in examples/."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from trainer.config.plugins import declare_plugins

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.usefixtures("in_tmp")


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_script_has_a_test() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"csv_predictions", "own_model", "sweep_leaderboard"}


@pytest.mark.slow
def test_csv_predictions_match_the_generating_formula() -> None:
    predictions = load_example("csv_predictions").main([])
    with Path("new_houses.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    prices = [3000 * int(row["area"]) + 50_000 * (row["district"] == "south") for row in rows]
    assert "price" not in rows[0]
    assert predictions == pytest.approx(prices, abs=30_000)  # of prices that spread by 140,000


def test_wrong_number_of_arguments_prints_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        load_example("csv_predictions").main(["houses.csv"])
    assert "usage: csv_predictions.py [TRAINING_FILE TARGET_COLUMN NEW_FILE]" in capsys.readouterr().err


@pytest.mark.slow
def test_own_model_of_degree_3_reaches_noise_variance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)  # where Python looks when it is started with the script
    scores = load_example("own_model").main(tmp_path / "own_conf")
    declare_plugins([])
    sys.modules.pop("own_model", None)
    assert scores["degree 3"]["mse"] == pytest.approx(0.01, abs=0.005)  # the variance of the noise
    assert scores["degree 1"]["mse"] > 0.1


@pytest.mark.parametrize("has_pandas", [True, False])
def test_leaderboard_is_read_with_and_without_pandas(
    has_pandas: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_pandas:
        pytest.importorskip("pandas")
    else:
        monkeypatch.setitem(sys.modules, "pandas", None)
    path = tmp_path / "leaderboard.csv"
    path.write_text("overrides,test,std,baseline,best_possible\noptimizer.lr=0.01,0.97,0.001,0.5,0.971\n")
    assert load_example("sweep_leaderboard").read_leaderboard(path) == [("optimizer.lr=0.01", 0.97, 0.001)]


@pytest.mark.slow
def test_sweep_leaderboard_ranks_learning_rates(tmp_path: Path) -> None:
    leaderboard = load_example("sweep_leaderboard").main(tmp_path / "sweep")
    assert [overrides for overrides, _, _ in leaderboard] == ["optimizer.lr=0.01", "optimizer.lr=0.001"]
    assert all(0.9 < test < 1 and std < 0.05 for _, test, std in leaderboard)
