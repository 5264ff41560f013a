"""Results of a run: ``results.json``, and the object that ``trainer.run`` returns."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from trainer.config import budget_keys, debug_keys, migrations, secret_masking
from trainer.config.run_config import Config
from trainer.core.types import Number, find_mismatches
from trainer.runs import recovery, run_dir
from trainer.utils import atomic_write
from trainer.utils.code_version import CodeVersion, read_code_version
from trainer.utils.errors import ConfigError, SystemFault

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer


@dataclass
class Result:
    """Status, settings, sizes and scores of one run.

    Attributes:
        run_dir: The run directory.
        identity: Hash of the configuration and the data.
        status: Waiting, running, finished, interrupted, paused by a search, or failed.
        options: Selected option of each configuration group.
        overrides: Overrides of the command line.
        model: Name of the model.
        data: Name of the data set.
        task: Name of the task.
        seed: Seed of the run.
        params: Number of parameters.
        epochs: Number of completed epochs.
        steps: Number of optimizer steps taken.
        skipped_updates: Number of updates that were skipped because their loss or gradient was not finite.
        seconds: Seconds of training and validation.
        device: Device of the run.
        threads: Number of CPU threads.
        monitor: Name of the monitored metric.
        higher_is_better: Whether higher is better, for each metric with a known direction.
        best_epoch: Epoch of the best weights, from 1; None if there are none.
        val: Validation metrics of the best weights.
        test: Test metrics of the best weights.
        baseline: Test metrics of a trivial predictor.
        best_possible: Bounds on the test metrics that no model can beat on average, where they are known.
        decisions: Values that were fitted on the validation rows after training, such as a threshold, with scores on
            these rows before and after.
        versions: Versions of Python and of the packages.
        git: Commit of the working directory; None outside a repository.
        config_dirs: Directories of YAML files that ``--config-dir`` has named.
        working_dir: Directory where the run was started, to which relative paths refer.
        reason: Why the run did not finish.
        artifacts: Names of the figures and tables of a finished run; None until all are written.
        data_digest: Digest of the user's data files; None if the data set reads none.
        exact_data_digest: Digest of every byte of them; None with ``fingerprint=sampled``.
        changes: Changes with which the run continued another one, in order.
        rows: Number of rows, or of outputs such as nodes, of each split; empty before they are known.
        budget_identity: Identity before a budget has fixed the number of steps; None without one.
        debug: ``fast`` for a run of one step and one batch of each split, which no leaderboard lists; else None.
        ensemble: Of an ensemble, mean and best test scores of its members (``mean``, ``best``), its ``gain`` over the
            mean, positive where that is better, and the ``diversity`` of its members; empty for one model.
        joint_runs: Number of runs that were trained as one model, this one included; None for a run trained alone.
        format_version: Version of the identity and of ``results.json``.
    """

    run_dir: str
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
    skipped_updates: int = 0
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
    decisions: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    git: str | None = None
    working_dir: str = ""
    config_dirs: list[str] = field(default_factory=list)
    reason: str | None = None
    artifacts: list[str] | None = None
    data_digest: str | None = None
    exact_data_digest: str | None = None
    changes: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    budget_identity: str | None = None
    debug: str | None = None
    ensemble: dict[str, dict[str, float]] = field(default_factory=dict)
    joint_runs: int | None = None
    format_version: int = 1

    @classmethod
    def read(cls, path: Path) -> Result:
        """Read the results of a run directory, which may have been moved; unknown fields are ignored.

        Raises:
            ConfigError: The file is not the results file of a run.
        """
        values = recovery.read_results(path) | {"run_dir": str(path)}
        problems = find_problems(values)
        if problems:
            name = run_dir.RESULTS_FILE if run_dir.read_results(path) else run_dir.CHECKPOINT_FILES[0]
            file = recovery.find_file(path, name)
            raise ConfigError(f"{file} is not a results file of a run: {'; '.join(problems[:MAX_PROBLEMS])}")
        migrations.check_version(values.get(migrations.KEY, 1), recovery.find_file(path, run_dir.RESULTS_FILE))
        return cls(**{name: values[name] for name in FIELD_TYPES if name in values})

    def write(self) -> None:
        """Write ``results.json``.

        Raises:
            SystemFault: The file cannot be written.
        """
        atomic_write.write_text(self.results_path, self._to_json())

    def write_in_place(self) -> None:
        """Write ``results.json``; on a full disk, overwrite the file in place."""
        try:
            self.write()
        except SystemFault:
            atomic_write.overwrite_text(self.results_path, self._to_json())

    @property
    def results_path(self) -> Path:
        """Path of ``results.json``."""
        return Path(self.run_dir) / run_dir.RESULTS_FILE

    def to_plain_values(self) -> dict[str, Any]:
        """Return values of JSON, with None for scores that are not finite, which ``run_dir.parse_results`` reads."""
        values = asdict(self)
        for name in OPTIONAL_FIELDS:
            if not values[name]:
                del values[name]
        for name in run_dir.SCORE_GROUPS:
            values[name] = {key: value if math.isfinite(value) else None for key, value in values[name].items()}
        return values

    def _to_json(self) -> str:
        return json.dumps(self.to_plain_values(), indent=2, allow_nan=False) + "\n"

    def update_progress(self, trainer: Trainer) -> None:
        """Update the position and the best scores from a trainer."""
        self.epochs, self.steps, self.seconds = trainer.epoch, trainer.step, round(trainer.elapsed_seconds, 3)
        self.skipped_updates = trainer.nan_guard.skipped()["total"]
        self.update_best(trainer.history, trainer.best.epoch)

    def update_best(self, history: list[dict[str, Any]], epoch: int | None) -> None:
        """Update the best epoch and its validation metrics.

        Args:
            history: Rows of the validations.
            epoch: The best epoch; None if there is none.
        """
        self.best_epoch = epoch
        best = next((row for row in history if row["epoch"] == epoch), {})
        self.val = {name.removeprefix("val_"): value for name, value in best.items() if name.startswith("val_")}

    @property
    def val_score(self) -> float:
        """The monitored validation score at the best epoch."""
        return self.val[self.monitor]


Status = Literal["waiting", "running", "finished", "interrupted", "paused", "failed"]
FIELD_TYPES = (
    get_type_hints(Result)
    | dict.fromkeys(run_dir.SCORE_GROUPS, dict[str, Number])
    | {"status": Status, "ensemble": dict[str, dict[str, Number]]}
)
REQUIRED_FIELDS = [f.name for f in fields(Result) if f.default is MISSING and f.default_factory is MISSING]
OPTIONAL_FIELDS = (
    *("skipped_updates", "exact_data_digest", "changes", "rows", "budget_identity", "debug", "ensemble", "joint_runs"),
    "config_dirs",
)
"""Fields that are only saved if there is something to save."""
MAX_PROBLEMS = 5


def find_problems(values: Mapping[str, Any]) -> list[str]:
    """List the keys of results that are missing or have the wrong type."""
    return [f"{key} is missing" for key in REQUIRED_FIELDS if key not in values] + find_wrong_types(values)


def find_wrong_types(values: Mapping[str, Any]) -> list[str]:
    """List the keys of results that have the wrong type."""
    return [
        problem
        for key, kind in FIELD_TYPES.items()
        if key in values
        for problem in find_mismatches(values[key], kind, key)
    ]


WAITING_STATUS = "waiting"
"""Status of a run before its first action."""


def create_result(config: Config, path: Path, code: CodeVersion | None = None) -> Result:
    """Create the result of a new run.

    Args:
        config: Configuration of the run.
        path: The run directory.
        code: Versions of the code; None to read them.
    """
    names, code = config.names, code or read_code_version()
    return Result(
        run_dir=str(path),
        identity=config.config_hash,
        status=WAITING_STATUS,
        options=dict(names),
        overrides=[secret_masking.mask_override(text) for text in config.overrides],
        model=names["model"],
        data=names["data"],
        task=names["task"],
        seed=config.settings.seed,
        versions=code.packages,
        git=code.commit,
        working_dir=config.working_dir,
        config_dirs=list(config.config_dirs),
        data_digest=config.data_digest,
        exact_data_digest=config.exact_data_digest,
        changes=list(config.changes),
        budget_identity=budget_keys.without_steps(config).config_hash if config.settings.budget is not None else None,
        debug=debug_keys.FAST if config.settings.debug == debug_keys.FAST else None,
        joint_runs=run_dir.read_results(path).get("joint_runs"),  # of a run that is resumed
        format_version=migrations.FORMAT_VERSION,
    )
