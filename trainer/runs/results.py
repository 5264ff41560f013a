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
from trainer.core.types import Number, find_mismatches
from trainer.runs import recovery, run_dir
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError, SystemFault

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer


@dataclass
class Result:
    """Status, settings, sizes and scores of one run.

    status: running, finished, interrupted or failed; ``reason`` says why it did not finish. val, test: scores of the
    best weights. higher_is_better: the direction of each score, where it is known. folder: where the run is. home: the
    folder it was started from, where relative paths begin. artifacts: names of the pictures and tables of the finished
    run; None until all of them are drawn. data_digest: of the user's own files that it was trained on, None where the
    data set reads none. format_version: of the identity and this file.
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
    higher_is_better: dict[str, bool] = field(default_factory=dict)
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
        wrong = find_faults(found)
        if wrong:
            file = path / (run_dir.RESULTS_FILE if run_dir.read_results(path) else run_dir.CHECKPOINT_FILES[0])
            raise ConfigError(f"{file} is not that of a run: {'; '.join(wrong[:MAX_PROBLEMS])}")
        migrations.check_version(found.get(migrations.KEY, 1), path / run_dir.RESULTS_FILE)
        return cls(**{name: found[name] for name in FIELD_TYPES if name in found})

    def write(self) -> None:
        """Raises SystemFault where nothing can be written."""
        atomic_write.write_text(self.results_path, self._to_json())

    def write_in_place(self) -> None:
        """As ``write``, and on a full disk in the room that the file has already."""
        try:
            self.write()
        except SystemFault:
            atomic_write.overwrite_text(self.results_path, self._to_json())

    @property
    def results_path(self) -> Path:
        return Path(self.folder) / run_dir.RESULTS_FILE

    def _to_json(self) -> str:
        """JSON has no NaN: a score that is not finite becomes null, which ``run_dir.read_results`` reads as NaN."""
        said = asdict(self)
        for name in run_dir.SCORE_GROUPS:
            said[name] = {key: value if math.isfinite(value) else None for key, value in said[name].items()}
        return json.dumps(said, indent=2, allow_nan=False) + "\n"

    def update_progress(self, trainer: Trainer) -> None:
        """How far a run has come, and its best so far."""
        self.epochs, self.steps, self.seconds = trainer.epoch, trainer.step, round(trainer.elapsed_seconds, 3)
        self.update_best(trainer.history, trainer.best.epoch)

    def update_best(self, history: list[dict[str, Any]], epoch: int | None) -> None:
        """The validation scores of the best epoch."""
        self.best_epoch = epoch
        best = next((row for row in history if row["epoch"] == epoch), {})
        self.val = {name.removeprefix("val_"): value for name, value in best.items() if name.startswith("val_")}

    @property
    def val_score(self) -> float:
        """The monitored score on the validation rows, at the best epoch."""
        return self.val[self.monitor]


Status = Literal["waiting", "running", "finished", "interrupted", "failed"]
FIELD_TYPES = get_type_hints(Result) | dict.fromkeys(run_dir.SCORE_GROUPS, dict[str, Number]) | {"status": Status}
REQUIRED_FIELDS = [f.name for f in fields(Result) if f.default is MISSING and f.default_factory is MISSING]
MAX_PROBLEMS = 5


def find_faults(found: Mapping[str, Any]) -> list[str]:
    """What in results that were read is missing, or not of the type that a run writes, by key."""
    return [f"{key} is missing" for key in REQUIRED_FIELDS if key not in found] + find_wrong_types(found)


def find_wrong_types(found: Mapping[str, Any]) -> list[str]:
    """What in results that were read is not of the type that a run writes, by key."""
    return [
        fault for key, kind in FIELD_TYPES.items() if key in found for fault in find_mismatches(found[key], kind, key)
    ]


def collect_versions() -> dict[str, str]:
    """What a run was made with."""
    found = {"python": platform.python_version()}
    for name in ("train-zoo", "torch", "hydra-core", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def get_git_commit() -> str | None:
    """The commit of the working folder, with ``+`` if files differ from it; None outside a repository."""
    try:
        command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
