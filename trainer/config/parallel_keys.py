"""Keys of training on several processes: ``devices``, ``shards``, ``exact``, ``strategy``, ``shard_optimizer``."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trainer.utils import gpus
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count

IDENTITY_KEYS = ("shards", "exact")
"""Keys that affect training, but only with several shards."""


def count_launched_processes() -> int:
    """Return how many processes torchrun, or a launcher with its environment variables, has started; 1 without one."""
    size = os.environ.get("WORLD_SIZE", "") if "RANK" in os.environ else ""
    return int(size) if size.isdecimal() and int(size) else 1


def count_processes(tree: Mapping[str, Any]) -> int:
    """Return the number of processes of a run.

    Args:
        tree: Resolved configuration; ``devices=auto`` counts the CUDA devices.
    """
    devices = tree.get("devices")
    if devices != "auto":
        return devices or 1
    if tree.get("device") not in ("auto", "cuda"):
        return 1
    return max(1, gpus.count_cuda_devices())


def find_parallel_problems(tree: Mapping[str, Any]) -> list[str]:
    """Return the problems of these keys with each other, each of which has been checked on its own.

    Args:
        tree: Resolved configuration.
    """
    device, size = str(tree.get("device")), count_processes(tree)
    shards = tree.get("shards") or size
    problems = []
    if size > 1 and device not in ("auto", "cpu", "cuda"):
        problems.append(f"device: {device} cannot be used by {size} processes; it must be auto, cpu or cuda")
    if shards != size and not tree.get("exact", True):
        problems.append(
            f"devices: with exact=false each process has one part; shards={shards} needs devices={shards}, {size} given"
        )
    elif shards % size:
        counts = _list_process_counts(shards)[tree.get("strategy") == "fsdp" :] or ["1, with strategy=data_parallel"]
        one_of = "one of " if len(counts) > 1 else ""
        problems.append(
            f"shards: {format_count(shards, 'part')} of a batch cannot be shared equally by {size} processes; with"
            f" shards={shards}, devices must be {one_of}{', '.join(counts)}"
        )
    return problems + (_find_fsdp_problems(tree) if size > 1 and tree.get("strategy") == "fsdp" else [])


def find_ineffective_keys(tree: Mapping[str, Any], keys: Collection[str]) -> list[str]:
    """Return the problems of keys that divide something among several processes, if there is only one.

    They are problems of a command line: a saved run with these keys may be resumed, evaluated, ... by one process.
    ``shard_optimizer`` may be set with ``devices=auto``, which counts the GPUs of another machine elsewhere.

    Args:
        tree: Resolved configuration.
        keys: Keys that the command line sets; a YAML file may be for other machines, too.
    """
    if count_processes(tree) > 1:
        return []
    shards = tree.get("shards")
    counts = "2 or more" if shards is None else " or ".join(_list_process_counts(shards)[1:])
    remedy = f"set devices={counts}" if counts else "leave it out"
    reasons = {
        "strategy": ("fsdp shards a model over several processes", tree.get("strategy") == "fsdp"),
        "shard_optimizer": (
            "it divides the state of the optimizer among several processes",
            tree.get("shard_optimizer") and tree.get("devices") != "auto",
        ),
    }
    return [f"{key}: {reason}; {remedy}" for key, (reason, applies) in reasons.items() if applies and key in keys]


def _list_process_counts(shards: int) -> list[str]:
    """Return which numbers of processes can share the parts of a batch equally."""
    return [str(number) for number in range(1, shards + 1) if not shards % number]


def _find_fsdp_problems(tree: Mapping[str, Any]) -> list[str]:
    reasons = {
        "compile: true cannot be combined with strategy=fsdp": tree["compile"],
        "channels_last: true cannot be combined with strategy=fsdp": tree["channels_last"],
        "shard_optimizer: true is part of strategy=fsdp; set shard_optimizer=false": tree.get("shard_optimizer"),
        "exact: false cannot be combined with strategy=fsdp": not tree.get("exact", True),
        "keep_best: strategy=fsdp keeps only the best weights": (tree.get("keep_best") or 1) > 1,
    }
    return [reason for reason, applies in reasons.items() if applies]


def with_launched_processes(words: Sequence[str]) -> list[str]:
    """Return a command line with the number of processes that torchrun has started, if it has.

    Args:
        words: Overrides of the command line.

    Raises:
        ConfigError: They name another number.
    """
    launched = count_launched_processes()
    values = [word.partition("=")[2] for word in words if word.startswith("devices=")]
    if launched == 1:
        return [*words]
    if values and values[-1] not in (str(launched), "auto", "null"):
        raise ConfigError(f"devices: {values[-1]} given, but torchrun has started {launched} processes; leave it out")
    return [*(word for word in words if not word.startswith("devices=")), f"devices={launched}"]


def check_not_launched() -> None:
    """Raise ConfigError if torchrun has started this program, which is not the command ``train``."""
    if count_launched_processes() > 1:
        raise ConfigError(
            "devices: torchrun starts the command alone (-m trainer); in a program, set devices=N instead"
        )


def with_resolved_shards(tree: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the number of shards, so that another number of processes can resume the run.

    Args:
        tree: Configuration as it is saved, or resolved.
        resolved: The same with all interpolations resolved.
    """
    size = count_processes(resolved)
    return {**tree, "shards": size} if size > 1 and resolved.get("shards") is None else dict(tree)


def select_identity(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that identifies a run: one shard counts as none, as in runs without these keys.

    Args:
        tree: Resolved configuration.
    """
    if (tree.get("shards") or 1) == 1:
        return {key: value for key, value in tree.items() if key not in IDENTITY_KEYS}
    return dict(tree)
