"""Runs in Trackio's local database, read back by Trackio."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

# Trackio decides at its import where its database lies.
os.environ.setdefault("TRACKIO_DIR", tempfile.mkdtemp(prefix="trackio-"))
storage = pytest.importorskip("trackio.sqlite_storage")

from tests.helpers.logged_runs import Points, check_points, train_logged  # noqa: E402
from tests.helpers.tiny import StopAt  # noqa: E402
from trainer.viz.loggers.logger import Logger  # noqa: E402
from trainer.viz.loggers.trackio_logger import TrackioLogger  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def read(_: Path, logger: Logger) -> Points:
    points: dict[str, list[tuple[int, float]]] = {}
    for row in storage.SQLiteStorage.get_logs("train", logger.run_id):
        for name in row.keys() - {"step", "timestamp"}:
            points.setdefault(name, []).append((row["step"], row[name]))
    return points


def test_each_step_is_logged_once_after_any_interruption(tmp_path: Path) -> None:
    check_points(lambda _: TrackioLogger(), read, tmp_path)


def test_the_configuration_is_kept_and_a_name_that_is_taken_is_not_written_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = []
    for place in ("a", "b"):
        folder = tmp_path / place / "same"
        folder.mkdir(parents=True)
        logger = TrackioLogger("configs")
        train_logged(folder, logger, end=StopAt(3))
        ids.append(logger.run_id)
    assert ids[0] != ids[1]
    assert storage.SQLiteStorage.get_run_config("configs", ids[0])["model.api_key"] == "***"
    assert [len(storage.SQLiteStorage.get_logs("configs", name)) for name in ids] == [3, 3]
    assert "rackio" not in capsys.readouterr().out
