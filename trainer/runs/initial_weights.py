"""Initial weights of a run, ``init_from``: the weights of another run or of a file that fit its task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from trainer.config import ensemble_keys
from trainer.config.run_config import Config
from trainer.core.dataset import Dataset
from trainer.core.task import Task
from trainer.engine import (
    dataset_loading,
    factory,
    preprocessing_transfer,
    resized_parameters,
    safetensors_file,
    weight_transfer,
)
from trainer.engine.weight_source import WeightSource, check_tensors
from trainer.runs import consistency, hub_folder, recovery
from trainer.runs.run_command import format_saved_command
from trainer.runs.run_files import MEMBERS_DIR
from trainer.utils.errors import ConfigError
from trainer.utils.paths import describe_missing_path

FIT_HINT = "init_preprocessing=fit fits the preprocessing on this data instead of reusing that of the source"


def with_input_digests(config: Config) -> Config:
    """Return the configuration with the fingerprint of the user's data files and the digest of the initial weights."""
    return add_source_digest(dataset_loading.add_fingerprint(config))


def add_source_digest(config: Config) -> Config:
    """Return the configuration with the digest of the source of its initial weights, if it has one."""
    source = load_source(config)
    return config if source is None else replace(config, source_digest=source.digest)


def load_source(config: Config) -> WeightSource | None:
    """Load what ``init_from`` names; None if it names nothing.

    Raises:
        ConfigError: It does not exist, is neither a run nor a file of weights, or is damaged.
    """
    name = config.settings.init_from
    if name is None:
        return None
    path = Path(config.working_dir, Path(name).expanduser())
    if path.is_file() and path.suffix == safetensors_file.SUFFIX:
        return WeightSource(path, "file", safetensors_file.read_weights(path))
    if path.is_dir() and recovery.read_results(path):
        return _load_run(path)
    if (file := path / hub_folder.WEIGHTS_FILE).is_file():  # of another program
        return WeightSource(path, file.name, safetensors_file.read_weights(file))
    if not path.exists():
        raise ConfigError(f"init_from: {describe_missing_path(path)}")
    is_in_run = path.is_file() and bool(recovery.read_results(path.parent))
    hint = f"; init_from={path.parent} takes the best weights of its run" if is_in_run else ""
    raise ConfigError(
        f"init_from: {path} is neither a run directory, nor a file FILE{safetensors_file.SUFFIX}, nor a folder with"
        f" {hub_folder.WEIGHTS_FILE}{hint}"
    )


def _load_run(path: Path) -> WeightSource:
    """Load the best weights of a run, by which it is evaluated; an unfinished run has those of its validations."""
    status = recovery.read_results(path).get("status")
    if not consistency.find_best(path).exists():
        raise ConfigError(
            f"init_from: {path} ({status}) has no best weights, as no validation was completed;"
            f" {format_saved_command('resume', path)} continues it"
        )
    try:
        best = consistency.load_best(path)
    except ConfigError as error:
        raise ConfigError(*(f"init_from: {problem}" for problem in error.problems)) from error
    if best["run_metadata"]["config"].get(ensemble_keys.KEY) is not None:
        raise ConfigError(
            f"init_from: {path} is an ensemble of several models; name a member, such as {path / MEMBERS_DIR / '0'}"
        )
    status_text = "" if status == "finished" else f" so far, as the run is {status}"
    description = f"best weights, epoch {best['epoch']}{status_text}"
    weights = check_tensors(best["task"], consistency.find_best(path))
    data_options = best["run_metadata"]["config"].get("data")
    return WeightSource(
        path, description, weights, data_options if isinstance(data_options, Mapping) else {}, best["data"] or {}
    )


def load_dataset(config: Config, source: WeightSource | None) -> Dataset:
    """Load the data set of a new run, with the preprocessing of its source where it applies.

    Args:
        config: Configuration of the run.
        source: Source of its initial weights, if any.

    Raises:
        ConfigError: The data cannot be read, or not be encoded as in the source.
    """
    if source is None or config.settings.init_preprocessing == "fit":
        return dataset_loading.load_dataset(config)
    kind = factory.find_dataset_class(config.tree)
    fitted = preprocessing_transfer.make_preprocessing(kind, config.tree["data"], source)
    try:
        return dataset_loading.load_dataset(replace(config, fitted=fitted))
    except ConfigError as error:
        raise ConfigError(*error.problems, *[FIT_HINT] * bool(fitted.reused)) from error


def initialize_task(task: Task, config: Config, data: Dataset, source: WeightSource) -> list[str]:
    """Copy the weights of a source that fit into the task of a new run.

    Args:
        task: The task, newly built.
        config: Configuration of the run.
        data: Its data set.
        source: The source.

    Returns:
        Lines that say what was copied, what stays fresh, and which preprocessing was reused.

    Raises:
        ConfigError: The source has changed since its digest was computed, or nothing fits.
    """
    if source.digest != config.source_digest:
        raise ConfigError(f"init_from: {source.path} has changed since this run was started; run the command again")
    changed_sizes = preprocessing_transfer.find_changed_sizes(source, data)
    fresh: dict[str, str] = {}
    for reason in dict.fromkeys(changed_sizes.values()):
        sizes = [size for size, each in changed_sizes.items() if each == reason]
        resized = resized_parameters.find_resized_parameters(config.tree, data, config.names, sizes)
        fresh |= dict.fromkeys(sorted(resized), reason)
    transfer = weight_transfer.transfer_weights(task, source, fresh, config.settings.init_skip)
    first, *others = transfer.describe()
    others += preprocessing_transfer.describe_unknown_classes(source, data)
    others += preprocessing_transfer.describe_preprocessing(data.fitted)
    others += preprocessing_transfer.describe_moved_features(source, data)
    return [f"init_from: {first} from {source.path} ({source.description})", *(f"  {line}" for line in others)]
