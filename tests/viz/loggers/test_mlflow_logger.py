"""Runs in an SQLite store, read back by MLflow's client."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.logged_runs import Points, check_points, describe_run, train_logged
from tests.helpers.tiny import StopAt
from trainer.viz.loggers.logger import Logger
from trainer.viz.loggers.mlflow_logger import MLflowLogger

tracking = pytest.importorskip("mlflow.tracking")
pytest.importorskip("sqlalchemy")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the store's own libraries


@pytest.fixture(autouse=True)
def _working_dir_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store without a place for artifacts puts them into the working directory."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store whose tables are there: making them takes seconds."""
    place = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{place}/mlflow.db"
    with contextlib.chdir(place):  # where it puts artifacts
        tracking.MlflowClient(tracking_uri=uri).search_experiments()
    return uri


def read_points(client: Any, run_id: str) -> Points:
    names = client.get_run(run_id).data.metrics
    return {name: [(p.step, p.value) for p in client.get_metric_history(run_id, name)] for name in names}


@pytest.mark.slow
def test_each_step_is_logged_once_after_any_interruption(tmp_path: Path, store: str) -> None:
    def read(_: Path, logger: Logger) -> Points:
        assert logger.run_id
        return read_points(tracking.MlflowClient(tracking_uri=store), logger.run_id)

    check_points(lambda _: MLflowLogger(store, "steps"), read, tmp_path)


@pytest.mark.slow
def test_status_configuration_and_figures_are_logged(tmp_path: Path, store: str) -> None:
    client = tracking.MlflowClient(tracking_uri=store)
    (tmp_path / "curves.png").write_bytes(b"picture")
    logger = MLflowLogger(store, "status")
    train_logged(tmp_path, logger, end=StopAt(5))
    (run,) = client.search_runs([client.get_experiment_by_name("status").experiment_id])
    assert run.info.status == "KILLED"
    assert run.info.run_name == tmp_path.name
    assert run.data.params == {"epochs": "3", "model.hidden": "[4]", "model.api_key": "***"}
    again = MLflowLogger(store, "status")
    train_logged(tmp_path, again)
    again._is_open = True
    again.log_images([tmp_path / "curves.png"], 12)
    again.end("finished")
    (run,) = client.search_runs([run.info.experiment_id])
    assert run.info.status == "FINISHED"
    assert [item.path for item in client.list_artifacts(run.info.run_id, "images")] == ["images/curves.png"]


@pytest.mark.slow
def test_the_store_is_next_to_the_run_directory(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    logger = MLflowLogger()
    logger.setup(describe_run(run), 1)
    logger._is_open = True
    logger._open(0)
    logger.end("finished")
    assert logger.run_id
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert tracking.MlflowClient(tracking_uri=uri).get_run(logger.run_id).info.status == "FINISHED"
    assert not Path("mlruns").exists()
    shutil.rmtree(tmp_path / "mlruns", ignore_errors=True)
