"""Number of steps of runs before they start, which depends on the rows of their data sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trainer.config import plugins
from trainer.config.run_config import Config
from trainer.search.rungs import RunLength
from trainer.utils import digests, forked_call

if TYPE_CHECKING:
    from trainer.core.dataset import Dataset


class LoadedData(NamedTuple):
    """What is known of a data set without loading it again.

    Attributes:
        num_batches: Number of batches of an epoch.
        scored_rows: Digest of the number and the targets of its validation rows.
    """

    num_batches: int
    scored_rows: str


def measure_lengths(configs: Sequence[Config], known: dict[str, LoadedData] | None = None) -> list[RunLength]:
    """Return the lengths of runs; a child process loads their data sets, and frees its memory when it ends.

    Args:
        configs: Their configurations.
        known: Data sets by what their batches depend on; those that are missing are loaded and added.

    Raises:
        ConfigError: A data set cannot be loaded.
        SystemFault: The child process was killed.
    """
    known = {} if known is None else known
    keys = [_find_loader_key(config) for config in configs]
    missing = {key: config for key, config in zip(keys, configs, strict=True) if key not in known}
    if missing:
        _preimport()
        names = ", ".join(dict.fromkeys(config.names["data"] for config in missing.values()))
        loaded = forked_call.call_in_fork(_measure_data, list(missing.values()), f"loading of data {names}")
        known.update(zip(missing, loaded, strict=True))
    return [_make_length(config, known[key].num_batches) for config, key in zip(configs, keys, strict=True)]


def _preimport() -> None:
    """Import once what the child process and the forks of runs would import."""
    import torch

    from trainer.engine import dataset_loading, factory  # noqa: F401

    # Before the first fork there must be one thread: a child inherits locks, but not the threads that hold them.
    torch.set_num_threads(1)


def _find_loader_key(config: Config) -> str:
    """Return what the number of batches depends on."""
    settings = config.settings
    values = [config.tree["data"], settings.batch_size, settings.drop_last, settings.seed]
    return json.dumps(values, sort_keys=True, default=str)


def _make_length(config: Config, batches: int) -> RunLength:
    settings = config.settings
    steps_per_epoch = max(1, -(-batches // settings.accumulate))
    return RunLength(settings.max_steps or settings.epochs * steps_per_epoch, steps_per_epoch, settings.val_every)


def _measure_data(configs: Sequence[Config]) -> list[LoadedData]:
    """Load the data set of each configuration."""
    import torch

    from trainer.engine import dataset_loading, factory

    datasets: dict[str, Dataset] = {}
    loaded = []
    for config in configs:
        plugins.declare_plugins(config.settings.plugins, Path(config.working_dir))
        key = json.dumps(config.tree["data"], sort_keys=True, default=str)
        if key not in datasets:
            datasets = {key: dataset_loading.load_dataset(config)}  # one at a time is in memory
        loaders = factory.make_loaders(config.tree, datasets[key], config.settings, torch.device("cpu"))
        val = datasets[key].val
        loaded.append(LoadedData(len(loaders["train"]), digests.digest_values([len(val), val.get_targets()])))
    return loaded
