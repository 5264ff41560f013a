"""What a run says of itself, in ``results.json`` and to Python."""

from __future__ import annotations

import json
import math
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from trainer.config import migrations
from trainer.core.types import Number, mismatches
from trainer.runs import recovery, run_dir
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError, SystemFault

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer


@dataclass
class Result:
    """Status, settings, sizes and scores of one run.

    status: running, finished, interrupted or failed; ``reason`` says why it did not finish. val, test: scores of the
    best weights. folder: where the run is. home: the folder it was started from, where relative paths begin.
    artifacts: names of the pictures and tables of the finished run; None until all of them are drawn. data_digest: of
    the user's own files that it was trained on, None where the data set reads none. format_version: of the identity and
    this file.
    """

    folder: str
    identity: str
    status: str
    options: Mapping[str, str]
    overrides: list[str]
    model: str
    data: str
    task: str
    seed: int
    params: int = 0
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    device: str = ""
    threads: int = 0
    monitor: str = ""
    best_epoch: int | None = None
    val: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    best_possible: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    git: str | None = None
    home: str = ""
    reason: str | None = None
    artifacts: list[str] | None = None
    data_digest: str | None = None
    format_version: int = 1

    @classmethod
    def read(cls, path: Path) -> Result:
        """The result in a run folder, wherever the folder is now.

        Raises ConfigError if it is not one of ours; what a later version added is left out.
        """
        found = recovery.read_results(path) | {"folder": str(path)}
        wrong = faults(found)
        if wrong:
            file = path / (run_dir.RESULTS if run_dir.read_results(path) else run_dir.STATES[0])
            raise ConfigError(f"{file} is not that of a run: {'; '.join(wrong[:MOST_PROBLEMS])}")
        migrations.check_version(found.get(migrations.KEY, 1), path / run_dir.RESULTS)
        return cls(**{name: found[name] for name in KINDS if name in found})

    def write(self) -> None:
        """Raises SystemFault where nothing can be written."""
        atomic_write.write_text(self.path, self._json())

    def write_last_word(self) -> None:
        """As ``write``, and on a full disk in the room that the file has already."""
        try:
            self.write()
        except SystemFault:
            atomic_write.overwrite_text(self.path, self._json())

    @property
    def path(self) -> Path:
        return Path(self.folder) / run_dir.RESULTS

    def _json(self) -> str:
        """JSON has no NaN: a score that is not finite becomes null, which ``folder.read_results`` reads as NaN."""
        said = asdict(self)
        for name in run_dir.SCORES:
            said[name] = {key: value if math.isfinite(value) else None for key, value in said[name].items()}
        return json.dumps(said, indent=2, allow_nan=False) + "\n"

    def take_progress(self, trainer: Trainer) -> None:
        """How far a run has come, and its best so far."""
        self.epochs, self.steps, self.seconds = trainer.epoch, trainer.step, round(trainer.seconds, 3)
        self.take_best(trainer.history, trainer.best.epoch)

    def take_best(self, history: list[dict[str, Any]], epoch: int | None) -> None:
        """The validation scores of the best epoch."""
        self.best_epoch = epoch
        best = next((row for row in history if row["epoch"] == epoch), {})
        self.val = {name.removeprefix("val_"): value for name, value in best.items() if name.startswith("val_")}

    @property
    def val_score(self) -> float:
        """The monitored score on the validation rows, at the best epoch."""
        return self.val[self.monitor]


STATUSES = Literal["waiting", "running", "finished", "interrupted", "failed"]
KINDS = get_type_hints(Result) | dict.fromkeys(run_dir.SCORES, dict[str, Number]) | {"status": STATUSES}
NEEDED = [f.name for f in fields(Result) if f.default is MISSING and f.default_factory is MISSING]
MOST_PROBLEMS = 5


def faults(found: Mapping[str, Any]) -> list[str]:
    """What in results that were read is missing, or not of the type that a run writes, by key."""
    return [f"{key} is missing" for key in NEEDED if key not in found] + wrong_types(found)


def wrong_types(found: Mapping[str, Any]) -> list[str]:
    """What in results that were read is not of the type that a run writes, by key."""
    return [fault for key, kind in KINDS.items() if key in found for fault in mismatches(found[key], kind, key)]


def versions() -> dict[str, str]:
    """What a run was made with."""
    found = {"python": platform.python_version()}
    for name in ("train-zoo", "torch", "hydra-core", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit() -> str | None:
    """The commit of the working folder, with ``+`` if files differ from it; None outside a repository."""
    try:
        command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
