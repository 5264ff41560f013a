"""Results of a run: ``results.json``, and the object that ``trainer.run`` returns."""

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

from trainer.config import migrations, secret_masking
from trainer.config.compose import Config
from trainer.core.types import Number, find_mismatches
from trainer.runs import recovery, run_dir
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError, SystemFault

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer


@dataclass
class Result:
    """Status, settings, sizes and scores of one run.

    Attributes:
        folder: the run directory.
        status: waiting, running, finished, interrupted or failed; ``reason`` says why it did not finish.
        val: validation scores of the best weights.
        test: test scores of the best weights.
        higher_is_better: direction of each score, where it is known.
        baseline: test scores of a trivial predictor.
        best_possible: test scores that no model can beat on average, where they are known.
        home: the directory the run was started from, to which relative paths refer.
        artifacts: names of the figures and tables of a finished run; None until all are drawn.
        data_digest: digest of the user's data files it was trained on; None where the data set reads none.
        format_version: version of the identity and of ``results.json``.
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
        """Read the results of a run directory, wherever it is now; fields of a later version are ignored.

        Raises:
            ConfigError: The file is not one that a run writes.
        """
        values = recovery.read_results(path) | {"folder": str(path)}
        problems = find_problems(values)
        if problems:
            file = path / (run_dir.RESULTS_FILE if run_dir.read_results(path) else run_dir.CHECKPOINT_FILES[0])
            raise ConfigError(f"{file} is not that of a run: {'; '.join(problems[:MAX_PROBLEMS])}")
        migrations.check_version(values.get(migrations.KEY, 1), path / run_dir.RESULTS_FILE)
        return cls(**{name: values[name] for name in FIELD_TYPES if name in values})

    def write(self) -> None:
        """Write ``results.json``. Raises SystemFault where nothing can be written."""
        atomic_write.write_text(self.results_path, self._to_json())

    def write_in_place(self) -> None:
        """Write like ``write``, on a full disk by overwriting the file in place."""
        try:
            self.write()
        except SystemFault:
            atomic_write.overwrite_text(self.results_path, self._to_json())

    @property
    def results_path(self) -> Path:
        return Path(self.folder) / run_dir.RESULTS_FILE

    def _to_json(self) -> str:
        """Return JSON, with null for scores that are not finite, which ``run_dir.read_results`` reads as NaN."""
        values = asdict(self)
        for name in run_dir.SCORE_GROUPS:
            values[name] = {key: value if math.isfinite(value) else None for key, value in values[name].items()}
        return json.dumps(values, indent=2, allow_nan=False) + "\n"

    def update_progress(self, trainer: Trainer) -> None:
        """Update the position and the best scores."""
        self.epochs, self.steps, self.seconds = trainer.epoch, trainer.step, round(trainer.elapsed_seconds, 3)
        self.update_best(trainer.history, trainer.best.epoch)

    def update_best(self, history: list[dict[str, Any]], epoch: int | None) -> None:
        """Update the validation scores of the best epoch."""
        self.best_epoch = epoch
        best = next((row for row in history if row["epoch"] == epoch), {})
        self.val = {name.removeprefix("val_"): value for name, value in best.items() if name.startswith("val_")}

    @property
    def val_score(self) -> float:
        """The monitored validation score at the best epoch."""
        return self.val[self.monitor]


Status = Literal["waiting", "running", "finished", "interrupted", "failed"]
FIELD_TYPES = get_type_hints(Result) | dict.fromkeys(run_dir.SCORE_GROUPS, dict[str, Number]) | {"status": Status}
REQUIRED_FIELDS = [f.name for f in fields(Result) if f.default is MISSING and f.default_factory is MISSING]
MAX_PROBLEMS = 5


def find_problems(values: Mapping[str, Any]) -> list[str]:
    """List what is missing or of the wrong type in results, by key."""
    return [f"{key} is missing" for key in REQUIRED_FIELDS if key not in values] + find_wrong_types(values)


def find_wrong_types(values: Mapping[str, Any]) -> list[str]:
    """List what is of the wrong type in results, by key."""
    return [
        problem
        for key, kind in FIELD_TYPES.items()
        if key in values
        for problem in find_mismatches(values[key], kind, key)
    ]


def collect_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages."""
    versions = {"python": platform.python_version()}
    for name in ("train-zoo", "torch", "hydra-core", "numpy"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def get_git_commit() -> str | None:
    """Return the commit of the working directory, with ``+`` if files differ from it; None outside a repository."""
    try:
        command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        process = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() or None


WAITING_STATUS = "waiting"
"""The status of a run that nothing was done for yet."""


def create_result(config: Config, path: Path) -> Result:
    """Create the result of a run that has not begun."""
    names = config.names
    return Result(
        folder=str(path),
        identity=config.config_hash,
        status=WAITING_STATUS,
        options=dict(names),
        overrides=[secret_masking.mask_override(text) for text in config.overrides],
        model=names["model"],
        data=names["data"],
        task=names["task"],
        seed=config.settings.seed,
        versions=collect_versions(),
        git=get_git_commit(),
        home=config.working_dir,
        data_digest=config.data_digest,
        format_version=migrations.FORMAT_VERSION,
    )
