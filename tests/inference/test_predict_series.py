"""``train predict`` with models of series: the next steps after a file, in its units and its rhythm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

import trainer
from tests.helpers.commands import train
from tests.helpers.marks import mark_slow_after
from tests.helpers.prediction_tables import predict
from tests.helpers.real_data import FOLDER, needs
from tests.helpers.stored_runs import copy_runs
from trainer.cli import main
from trainer.config import compose
from trainer.inference import prediction_files, serve
from trainer.runs import train as train_module
from trainer.utils.errors import UserError

HISTORY, HORIZON, COUNT = 24, 6, 200
MODELS = ("dlinear", "gru_forecaster", "patch_transformer")


def make_frame() -> pd.DataFrame:
    """Return two series in different units, by month."""
    steps = np.arange(COUNT)
    noise = np.random.default_rng(0).normal(size=(COUNT, 2))
    return pd.DataFrame(
        {
            "month": pd.date_range("1990-01-31", periods=COUNT, freq="ME").strftime("%d.%m.%Y"),
            "sales": (1e5 + 900 * steps + 2e4 * np.sin(steps * np.pi / 6) + 3e3 * noise[:, 0]).round(2),
            "price": (3 + np.cos(steps * np.pi / 6) + 0.2 * noise[:, 1]).round(4),
        }
    )


def train_series(folder: Path, model: str, *words: str) -> Path:
    """Train a run on a file that is deleted, and move its run directory."""
    folder.mkdir(parents=True)
    path = folder / "series.csv"
    make_frame().to_csv(path, index=False)
    keys = (f"data.path={path}", "data.time=month", "data.time_format=%d.%m.%Y", f"data.history={HISTORY}")
    run = ("max_steps=3", "val_every=50", "threads=1", "draw=false", f"hydra.run.dir={folder / 'before'}")
    train_module.run(
        compose.compose([f"model={model}", "data=csv_series", *keys, f"data.horizon={HORIZON}", *run, *words])
    )
    path.unlink()
    return (folder / "before").rename(folder / "run")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("series")
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def one_series(folder: Path) -> Path:
    return train_series(folder / "one", "dlinear", "data.columns=[sales]")


@pytest.fixture(scope="module")
def two_series(folder: Path) -> Path:
    return train_series(folder / "two", "dlinear")


def write_series(folder: Path, frame: pd.DataFrame | None = None) -> Path:
    path = folder / "new.csv"
    (make_frame() if frame is None else frame).to_csv(path, index=False)
    return path


def read_scores(run: Path) -> dict[str, float]:
    return json.loads((run / "results.json").read_text())["test"]


def check_scores(run: Path, truth: np.ndarray, predicted: np.ndarray, rel: float) -> None:
    scores = read_scores(run)
    assert mean_squared_error(truth, predicted) == pytest.approx(scores["mse"], rel=rel)
    assert mean_absolute_error(truth, predicted) == pytest.approx(scores["mae"], rel=rel)
    assert r2_score(truth, predicted) == pytest.approx(scores["r2"], rel=rel)


@pytest.mark.slow
def test_forecast_continues_the_file(two_series: Path, tmp_path: Path) -> None:
    found = predict(two_series, f"input={write_series(tmp_path)}")
    assert list(found) == ["origin", "step", "time", "sales", "price"]
    ahead = pd.date_range("1990-01-31", periods=COUNT + HORIZON, freq="ME")[COUNT:]
    assert found["time"].tolist() == ahead.strftime("%d.%m.%Y").tolist()
    assert found["step"].tolist() == list(range(1, HORIZON + 1))
    assert set(found["origin"]) == {"31.08.2006"}
    assert found["sales"].between(5e4, 5e5).all()
    assert found["price"].between(-10, 20).all()


@pytest.mark.slow
def test_scores_outside_are_those_of_the_run(one_series: Path, two_series: Path, tmp_path: Path) -> None:
    """In the units of the file for one series, in standard deviations of the training rows for several."""
    frame = make_frame()
    path = write_series(tmp_path, frame.iloc[int(0.8 * COUNT) - HISTORY :])
    truth = frame.set_index("month")
    moments = truth.iloc[: int(0.6 * COUNT)].agg(["mean", lambda column: column.std(ddof=0)])
    for run, names in ((one_series, ["sales"]), (two_series, ["sales", "price"])):
        found = predict(run, f"input={path}", "rolling=true")
        found = found[found.groupby("origin")["time"].transform(lambda times: times.isin(truth.index).all())]
        assert len(found) == (int(0.2 * COUNT) - HORIZON + 1) * HORIZON
        true, predicted = truth.loc[found["time"], names].to_numpy(), found[names].to_numpy()
        if len(names) > 1:
            mean, std = moments[names].to_numpy()
            true, predicted = (true - mean) / std, (predicted - mean) / std
        check_scores(run, true.ravel(), predicted.ravel(), rel=1e-5)


@pytest.mark.slow
def test_test_rows_have_exactly_the_reported_scores(folder: Path) -> None:
    run = train_series(folder / "kept", "gru_forecaster", "data.columns=[price]")
    path = folder / "kept" / "series.csv"
    make_frame().to_csv(path, index=False)
    found = predict(run)
    assert list(found) == ["origin", "step", "time", "price", "target"]
    assert found["origin"].iloc[0] == make_frame()["month"].iloc[int(0.8 * COUNT) - 1]
    check_scores(run, found["target"], found["price"], rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("model", mark_slow_after(1, MODELS))
def test_predictions_depend_on_the_history_alone(folder: Path, two_series: Path, tmp_path: Path, model: str) -> None:
    """Whatever the batch size, with other windows around it, from a file that ends there, from a table in memory."""
    run = two_series if model == MODELS[0] else train_series(folder / model, model)
    frame = make_frame()
    path = write_series(tmp_path, frame)
    found = {size: predict(run, f"input={path}", "rolling=true", f"batch_size={size}") for size in (1, 7, 64)}
    for size in (7, 64):
        assert found[size][["origin", "step", "time"]].equals(found[1][["origin", "step", "time"]])
        assert np.allclose(found[size][["sales", "price"]], found[1][["sales", "price"]], rtol=1e-6, atol=1e-6)
    end = 100
    alone = predict(run, f"input={write_series(tmp_path, frame[:end])}")
    rows = found[7][found[7]["origin"] == frame["month"][end - 1]]
    forecast = pd.DataFrame(trainer.load(run).forecast(frame[:end]))
    for each in (alone, forecast):
        assert each["time"].tolist() == rows["time"].tolist()
        assert np.allclose(each[["sales", "price"]], rows[["sales", "price"]], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_arrays_are_forecast(one_series: Path) -> None:
    values = make_frame()["sales"].to_numpy()
    found = trainer.load(one_series).forecast(values)
    assert list(found) == ["origin", "step", "row", "sales"]
    assert list(found["row"]) == list(range(COUNT + 1, COUNT + 1 + HORIZON))
    assert trainer.load(one_series).predict(values).shape == (1, HORIZON)


@pytest.mark.slow
def test_rolling_forecasts_in_memory_are_those_of_the_file(two_series: Path, tmp_path: Path) -> None:
    model, frame = trainer.load(two_series), make_frame()
    expected = predict(two_series, f"input={write_series(tmp_path)}", "rolling=true", "stride=50")
    found = model.forecast(frame, rolling=True, stride=50)
    assert len(expected) > HORIZON
    np.testing.assert_allclose(found["sales"], expected["sales"])
    assert list(map(str, found["time"])) == list(expected["time"])
    for rows in (frame, tmp_path / "new.csv"):
        with pytest.raises(UserError, match=r"stride is the distance of rolling forecasts; it needs rolling=true"):
            model.forecast(rows, stride=50)


@pytest.mark.slow
def test_requests_are_histories(two_series: Path, tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    model, frame = trainer.load(two_series), make_frame()
    expected = predict(two_series, f"input={write_series(tmp_path)}", folder=tmp_path)
    with TestClient(serve.make_app(model)) as client:
        answer = client.post("/predict", json={"rows": frame.to_dict("records")})
        assert pd.DataFrame(answer.json()["predictions"]).equals(expected)
        short = client.post("/predict", json={"rows": frame[:9].to_dict("records")})
        assert (short.status_code, short.json()["detail"]) == (
            422,
            "input: rows has 9 rows; the history of this run is 24",
        )
        row = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
    schema = row["application/json"]["schema"]["properties"]["rows"]["items"]
    assert list(schema["properties"]) == ["sales", "price", "month"]


@pytest.mark.slow
def test_another_process_predicts_the_same(two_series: Path, tmp_path: Path) -> None:
    path = write_series(tmp_path)
    here = predict(two_series, f"input={path}", folder=tmp_path)
    done = train("predict", str(two_series), f"input={path}", "output=there.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there.csv").read_text() == (tmp_path / "predicted.csv").read_text()
    assert len(here) == HORIZON


@pytest.mark.slow
def test_all_formats_hold_the_same_forecast(two_series: Path, tmp_path: Path) -> None:
    path = write_series(tmp_path)
    expected = predict(two_series, f"input={path}", "rolling=true", "stride=50")
    for suffix in prediction_files.WRITERS:
        main.run_command(
            [
                "predict",
                str(two_series),
                f"input={path}",
                "rolling=true",
                "stride=50",
                f"output={tmp_path / 'f'}{suffix}",
            ]
        )
    arrays = np.load(tmp_path / "f.npz")
    found = {
        ".npz": pd.DataFrame({name: arrays[name] for name in arrays}),
        ".jsonl": pd.DataFrame(map(json.loads, (tmp_path / "f.jsonl").read_text().splitlines())),
        ".parquet": pd.read_parquet(tmp_path / "f.parquet"),
    }
    for name, frame in found.items():
        assert list(frame) == list(expected), name
        assert frame["time"].tolist() == expected["time"].tolist(), name
        assert np.allclose(frame[["sales", "price"]], expected[["sales", "price"]], rtol=1e-12), name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sales", "sale", "input: no column 'sales' in new.csv; did you mean sale?"),
        ("30.09.2005", "30.09.05", "row 189 (line 190), column 'month': '30.09.05' does not match data.time_format"),
        ("30.09.2005", "31.08.2005", "31.08.2005 is not later than 31.08.2005 in the previous row"),
        ("30.09.2005,", "30.09.2005,x", "column 'sales': 'x"),
        ("30.09.2005", "30.09.2005,3,,\n30.09.2005", "has 4 cells, the first has 3"),
    ],
)
def test_bad_files_are_refused_and_nothing_is_written(
    two_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_series(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError) as caught:
        main.run_command(["predict", str(two_series), "input=new.csv", "output=out.csv"])
    assert message in str(caught.value)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) <= 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["new.csv"]


def test_options_of_the_file_need_a_file(two_series: Path) -> None:
    with pytest.raises(UserError, match=r"predict rolling: it is about the file that input=PATH names"):
        main.run_command(["predict", str(two_series), "rolling=true"])
    with pytest.raises(UserError, match=r"stride: '0' given; it must be a whole number >= 1"):
        main.run_command(["predict", str(two_series), "input=new.csv", "stride=0"])


REAL = {
    "classic_series": ("data.name=airline", "data.history=12", "data.horizon=3"),
    "etth1": ("data.history=48", "data.horizon=6"),
    "chickenpox": ("data.history=4",),
}


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in REAL])
def test_test_rows_of_built_in_series_have_the_reported_scores(name: str) -> None:
    model = "gcn_lstm" if name == "chickenpox" else "dlinear"
    keys = (f"data_dir={FOLDER}", "max_steps=2", "threads=1", "draw=false", *REAL[name])
    run = Path(trainer.run(trainer.compose([f"model={model}", f"data={name}", *keys]), quiet=True).run_dir)
    found = predict(run, f"data_dir={FOLDER}")
    data = trainer.load(run).data
    names = list(data.info.target.channel_names)
    targets = ["target"] if len(names) == 1 else [f"target_{each}" for each in names]
    assert list(found) == ["origin", "step", "row" if name == "chickenpox" else "time", *names, *targets]
    scale = 1.0 if data.info.target.channel_moments is None else np.array(data.info.target.channel_moments[1])
    truth, predicted = found[targets].to_numpy() / scale, found[names].to_numpy() / scale
    scores = read_scores(run)
    assert mean_squared_error(truth.ravel(), predicted.ravel()) == pytest.approx(scores["mse"], rel=1e-9)
    assert mean_absolute_error(truth.ravel(), predicted.ravel()) == pytest.approx(scores["mae"], rel=1e-9)
    first = {"classic_series": "1958-07", "etth1": "2017-10-23 23:00:00"}
    assert str(found["origin"].iloc[0]) == first.get(name, "416")


def test_run_of_version_0_1_0_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_runs(Path(__file__).parents[1] / "formats" / "train_0_1_0", tmp_path, monkeypatch)
    found = predict(Path("series_dlinear"), "input=load.csv")
    assert found["time"].tolist() == [f"2024-01-13 {hour}:00" for hour in range(12, 16)]
