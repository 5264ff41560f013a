"""Logger for Trackio, with a local database: ``trackio show``."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from trainer.viz.loggers.logger import LoggedRun, Logger


class TrackioLogger(Logger):
    """Logger for Trackio.

    The local database is in ``TRACKIO_DIR``, or else in the cache directory of the user.

    Args:
        project: Name of the project.
        space_id: Space on the Hugging Face Hub to log to instead of the local database.
    """

    package, extra = "trackio", "trackio"

    def __init__(self, project: str = "train", space_id: str | None = None):
        self.project, self.space_id = project, space_id
        self._run: Any = None

    def open(self, run: LoggedRun, run_id: str | None, step: int) -> str:
        import trackio

        name = run_id or self._find_free_name(run.name)
        with contextlib.redirect_stdout(io.StringIO()):
            self._run = trackio.init(
                project=self.project,
                name=name,
                space_id=self.space_id,
                config=run.flatten_config(),
                resume="never" if run_id is None else "allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return str(self._run.name)

    def _find_free_name(self, name: str) -> str:
        """Return a name that no run in the local database has, because Trackio identifies runs by name."""
        from trackio.sqlite_storage import SQLiteStorage

        used_names = set() if self.space_id is not None else {*SQLiteStorage.get_runs(self.project)}
        return next(
            candidate for candidate in chain([name], (f"{name}-{n}" for n in count(2))) if candidate not in used_names
        )

    def read_logged_steps(self) -> dict[str, int]:
        from trackio.sqlite_storage import SQLiteStorage

        if self.space_id is not None:
            return {}
        rows = SQLiteStorage.get_logs(self.project, self.run_id)
        return {name: row["step"] for row in sorted(rows, key=lambda row: row["step"]) for name in row}

    def write_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log(dict(metrics), step=step)

    def write_images(self, files: Sequence[Path], step: int) -> None:
        import trackio

        self._run.log({f"images/{file.stem}": trackio.Image(str(file)) for file in files}, step=step)

    def close(self, status: str) -> None:
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()
