"""The configuration of a run, without the means to compose it: a saved run is read without importing Hydra."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainer.config import budget_keys, debug_keys, ensemble_keys, init_keys, migrations, parallel_keys
from trainer.config.registry import OBJECT_GROUPS
from trainer.config.schema import Settings

if TYPE_CHECKING:
    from trainer.core.preprocessing import Preprocessing

RUNTIME_ONLY_KEYS = {
    "resume",
    "resume_allow",
    "debug",
    "verbose",
    "device",
    "devices",
    "strategy",
    "process_timeout",
    "deterministic",
    "shard_optimizer",
    "checkpoint_activations",
    "threads",
    "num_workers",
    "worker_timeout",
    "save_every",
    "save_every_steps",
    "keep_last",
    "keep_every",
    "keep_best",
    "data_dir",
    "jobs",
    "jobs_per_device",
    "members",
    "fingerprint",
    "allow_changed_data",
    "draw",
    "draw_seconds",
    "logger",
    "log_every",
    "on_nonfinite",
    "match",
    "target",
    "match_keys",
}
"""Keys that do not affect training: runs that differ only in these have the same configuration hash.

Those of ``match`` are replaced by the widths that they lead to.
"""


def repeats_runtime_key(key: str, value: object, tree: Mapping[str, Any]) -> bool:
    """Return whether a key of a group only repeats a runtime key, as in ``data_dir: ${data_dir}``.

    Args:
        key: Key in the group, without the group.
        value: Its value.
        tree: Configuration with the global keys.
    """
    return key in RUNTIME_ONLY_KEYS and key in tree and value in (tree[key], f"${{{key}}}")


def drop_neutral_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the keys that earlier versions did not have, where they change nothing.

    Args:
        tree: Configuration with a node for each group.
    """
    return {
        group: {key: value for key, value in node.items() if key not in added or value != added[key]}
        if (added := migrations.find_added_keys(node))
        else node
        for group, node in tree.items()
    }


def drop_runtime_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without runtime keys and the keys of groups that only repeat one."""
    return {
        key: {name: item for name, item in value.items() if not repeats_runtime_key(name, item, tree)}
        if isinstance(value, Mapping)
        else value
        for key, value in tree.items()
        if key not in RUNTIME_ONLY_KEYS
    }


@dataclass(frozen=True)
class Config:
    """Composed and validated configuration.

    Attributes:
        tree: Plain values with every interpolation resolved.
        raw: The same, but with values from the environment left as ``${oc.env:...}``; this is what is saved.
        names: Chosen option of each group.
        overrides: Overrides of the command line.
        run_dir: Run directory.
        sweep_dir: Directory of the sweep that the run belongs to.
        settings: Values of the global keys.
        working_dir: Directory that relative paths refer to.
        moved_paths: Current paths of data files that were moved, by key.
        fingerprint: Fingerprint of the user's data files; None before it is computed.
        fingerprint_time: Time at which it was computed, in seconds.
        fitted: Preprocessing of another run, if rows are to be encoded in the same way.
        checkpoint: Checkpoint of the run whose weights a command uses; None for the best ones.
        changes: Changes with which the run continued another one, in order.
        config_dirs: Directories of YAML files that ``--config-dir`` has named; a saved run is read without them.
        source_digest: Digest of what ``init_from`` names; None without it, or before it is computed.
        pause_step: Number of steps after which a search pauses the run at the end of an epoch; None for never.
    """

    tree: Mapping[str, Any]
    raw: Mapping[str, Any]
    names: Mapping[str, str]
    overrides: Sequence[str]
    run_dir: str
    sweep_dir: str
    settings: Settings = field(repr=False)
    working_dir: str = field(default_factory=os.getcwd)
    moved_paths: Mapping[str, str] = field(default_factory=dict)
    fingerprint: Mapping[str, Any] | None = field(default=None, repr=False)
    fingerprint_time: float = field(default=0.0, repr=False)
    fitted: Preprocessing | None = field(default=None, repr=False, compare=False)
    source_digest: str | None = None
    changes: Sequence[str] = ()
    checkpoint: str | None = None
    pause_step: int | None = None
    config_dirs: Sequence[str] = ()

    @property
    def data_digest(self) -> str | None:
        """Digest of the contents of the user's data files, or None if there are none."""
        return None if self.fingerprint is None else str(self.fingerprint["digest"])

    @property
    def exact_data_digest(self) -> str | None:
        """Digest of every byte of the files; None if there are none, or with ``fingerprint=sampled``."""
        return None if self.fingerprint is None else self.fingerprint.get("exact_digest")

    @property
    def config_hash(self) -> str:
        """Hash of everything that affects training: the keys and the contents of the user's data files."""
        return self.compute_config_hash(self.data_digest)

    def compute_config_hash(self, data_digest: str | None) -> str:
        """Return the configuration hash for a given digest of the user's data files.

        Args:
            data_digest: Digest of the contents; None if there are no files.
        """
        training_config = drop_neutral_keys(drop_runtime_keys(self.tree))
        training_config = init_keys.select_identity(training_config, self.source_digest)
        training_config = budget_keys.select_identity(parallel_keys.select_identity(training_config))
        training_config = debug_keys.select_identity(self.tree, ensemble_keys.select_identity(training_config))
        if not training_config["callbacks"]:  # as in runs that were saved before there was this group
            del training_config["callbacks"]
        training_config["plugins"] = self._list_training_plugins()
        if self.changes:
            training_config["changes"] = list(self.changes)
        if data_digest is not None:
            training_config["data_digest"] = data_digest
        return hashlib.sha256(json.dumps(training_config, sort_keys=True).encode()).hexdigest()[:16]

    def _list_training_plugins(self) -> list[str]:
        """Return the plugins without those that define only loggers."""
        loggers = self.tree["logger"].values()
        others = [*self.tree["callbacks"].values(), *(self.tree[group] for group in OBJECT_GROUPS)]
        logger_modules, other_modules = (
            {str(node["_target_"]).partition(".")[0] for node in nodes} for nodes in (loggers, others)
        )
        return [name for name in self.tree["plugins"] if name not in logger_modules - other_modules]
