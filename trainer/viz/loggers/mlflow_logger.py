"""Logger for MLflow, with an SQLite store next to the run directory or a server."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.viz.loggers.logger import LoggedRun, Logger

STORE_FILE = "mlflow.db"
MAX_PARAM_LENGTH = 500
MAX_PARAMS_PER_CALL = 100
STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflowLogger(Logger):
    """Logger for MLflow.

    Args:
        tracking_uri: Tracking server; default: ``mlflow.db`` in the parent of the run directory.
        experiment: Name of the experiment.
    """

    package, extra = "mlflow", "mlflow"

    def __init__(self, tracking_uri: str | None = None, experiment: str = "train"):
        self.tracking_uri, self.experiment = tracking_uri, experiment
        self._client: Any = None

    def open(self, run: LoggedRun, run_id: str | None, step: int) -> str:
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        parent = run.run_dir.absolute().parent
        self._client = MlflowClient(tracking_uri=self.tracking_uri or f"sqlite:///{parent / STORE_FILE}")
        if run_id is not None:
            self._client.set_terminated(run_id, "RUNNING")
            return run_id
        artifacts = None if self.tracking_uri else (parent / "mlruns").as_uri()
        experiment = self._client.get_experiment_by_name(self.experiment)
        experiment_id = (
            experiment.experiment_id if experiment else self._client.create_experiment(self.experiment, artifacts)
        )
        created = self._client.create_run(
            experiment_id, run_name=run.name, tags={"run_dir": str(run.run_dir.absolute())}
        )
        self._log_config(str(created.info.run_id), run.flatten_config())
        return str(created.info.run_id)

    def _log_config(self, run_id: str, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(key, str(value)[:MAX_PARAM_LENGTH]) for key, value in config.items()]
        for start in range(0, len(params), MAX_PARAMS_PER_CALL):
            self._client.log_batch(run_id, params=params[start : start + MAX_PARAMS_PER_CALL])

    def read_logged_steps(self) -> dict[str, int]:
        names = self._client.get_run(self.run_id).data.metrics
        return {name: max(point.step for point in self._client.get_metric_history(self.run_id, name)) for name in names}

    def write_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, metrics=[Metric(name, v, now, step) for name, v in metrics.items()])

    def write_images(self, files: Sequence[Path], step: int) -> None:
        for file in files:
            self._client.log_artifact(self.run_id, str(file), "images")

    def close(self, status: str) -> None:
        self._client.set_terminated(self.run_id, STATUS[status])
