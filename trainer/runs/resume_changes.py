"""Changes of the configuration with which a run is resumed, and which of them are allowed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from omegaconf import OmegaConf

from trainer.config.override_parser import parse_overrides
from trainer.config.run_config import RUNTIME_ONLY_KEYS, Config
from trainer.engine.factory import find_class
from trainer.optim.lr_schedules import LRSchedule
from trainer.optim.torch_schedules import depends_on_length
from trainer.runs import saved_run
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer

LENGTH_KEYS = ("epochs", "max_steps")
FIXED_KEYS = {
    *("model", "data", "task", "optimizer", "plugins"),
    *("batch_size", "bucket", "drop_last", "accumulate", "shards", "exact", "monitor"),
    *("init", "init_from", "init_skip", "init_preprocessing", "freeze", "ensemble"),
}
"""Keys on which the meaning of a saved state depends: tensors, position in the epoch, best score, first weights."""


class Change(NamedTuple):
    """A key of the command line whose value differs from that of the run it resumes."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {_format(self.old)} -> {_format(self.new)}"

    @property
    def is_longer(self) -> bool:
        """Whether the run only becomes longer."""
        is_length = isinstance(self.old, int) and isinstance(self.new, int)
        return self.key in LENGTH_KEYS and is_length and self.new > self.old

    @property
    def is_fixed(self) -> bool:
        """Whether no resumed run can have this change."""
        return self.key in FIXED_KEYS or self.key.startswith("data.")


def _format(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def find_changes(new_config: Config, saved_config: Config) -> list[Change]:
    """List the overrides of a command line that contradict the run it resumes; runtime keys may differ.

    Args:
        new_config: Configuration of the command line.
        saved_config: Configuration of the saved run.
    """

    def get(config: Config, key: str) -> Any:
        value = config.names[key] if key in config.names else OmegaConf.select(OmegaConf.create(dict(config.tree)), key)
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value

    keys = dict.fromkeys(item.key_or_group for item in parse_overrides(new_config.overrides))
    changes = (Change(key, get(saved_config, key), get(new_config, key)) for key in keys)
    return [each for each in changes if each.key.split(".")[0] not in RUNTIME_ONLY_KEYS and each.old != each.new]


def continues_itself(config: Config) -> bool:
    """Return whether the same command line continues the run that it has started, and does not start another one.

    Args:
        config: Configuration of the command line.
    """
    if config.settings.resume in (None, "auto"):
        return config.settings.resume == "auto"
    return not find_changes(config, saved_run.load(Path(config.settings.resume), config.settings.plugins))


def check_changes(changes: Sequence[Change], new_config: Config, saved_config: Config) -> None:
    """Check that a run may be resumed with changes.

    A run may become longer, unless its schedule depends on its length and is not given again. Other changes must be
    named by ``resume_allow``.

    Args:
        changes: The changes.
        new_config: Configuration of the command line.
        saved_config: Configuration of the saved run.

    Raises:
        ConfigError: A change is not allowed; all changes that are not are listed.
    """
    allowed_keys = new_config.settings.resume_allow
    unused = [name for name in allowed_keys if not any(_is_named(each, [name]) for each in changes)]
    if unused:
        changed_keys = [each.key for each in changes]
        raise ConfigError(
            *(f"resume_allow: {name} is not changed{did_you_mean(name, changed_keys) or ''}" for name in unused)
        )
    fixed = [each for each in changes if each.is_fixed]
    depends_on_length = not _is_schedule_given(new_config) and _has_schedule_of_length(saved_config)
    refused = [
        each
        for each in changes
        if not each.is_fixed and not _is_named(each, allowed_keys) and (depends_on_length or not each.is_longer)
    ]
    if not fixed and not refused:
        return
    hints = []
    if any(each.is_longer for each in refused):
        name = saved_config.names["scheduler"]
        hints.append(
            f"scheduler={name} depends on the length of the run: name the scheduler of the longer run, or allow it"
        )
    if refused:
        keys = ",".join(each.key for each in refused)
        hints.append(
            f"a resumed run continues as it was configured; resume_allow=[{keys}] continues it with"
            f" {'this change' if len(refused) == 1 else 'these changes'} as a new run"
        )
    if model_keys := list_model_keys(refused):
        hints.append(explain_model_change(model_keys, saved_config.run_dir))
    if fixed:
        keys = ", ".join(each.key for each in fixed)
        hints.append(
            f"{keys}: the saved state belongs to the former value; init_from={saved_config.run_dir} starts a new run"
            " from its best weights"
        )
    raise ConfigError(*map(str, [*fixed, *refused]), *hints)


def list_model_keys(changes: Sequence[Change]) -> list[str]:
    """Return the changed options of the model, on which the shapes of its weights may depend."""
    return [each.key for each in changes if each.key.startswith("model.")]


def explain_model_change(keys: Sequence[str], source: Path | str) -> str:
    """Return what to do with a change of the model.

    Args:
        keys: The changed options.
        source: Directory of the run to continue.
    """
    return (
        f"{', '.join(keys)}: if the shapes of weights depend on it, init_from={source} starts a new run from those of"
        " its best weights that fit"
    )


def describe_moved_schedules(trainer: Trainer, config: Config) -> list[str]:
    """Describe the schedules of the task that a new length of the run has moved, if it has just changed.

    Args:
        trainer: Trainer of the run, with its state.
        config: Configuration of the run, with its changes.
    """
    suffix = f" at step {trainer.step}"
    if not any(text.partition(":")[0] in LENGTH_KEYS and text.endswith(suffix) for text in config.changes):
        return []
    done = trainer.step / max(1, trainer.total_steps)
    options = config.tree["task"]  # a plugin may leave the default of an option to its class
    ends = {name: options[name] for name in trainer.task.progress_options if name in options}
    return [
        f"task.{name}={end} is a schedule over the length of the run, which has changed: it continues at {done:.0%} of"
        " the new length"
        for name, end in ends.items()
        if done < (1.0 if isinstance(end, str) else end)
    ]


def _is_named(change: Change, names: Sequence[str]) -> bool:
    """Return whether a key, or a group of keys, is among some names."""
    return any(change.key == name or change.key.startswith(f"{name}.") for name in names)


def _is_schedule_given(config: Config) -> bool:
    """Return whether the command line chooses or changes the scheduler."""
    return any(item.key_or_group.split(".")[0] == "scheduler" for item in parse_overrides(config.overrides))


def _has_schedule_of_length(config: Config) -> bool:
    """Return whether the learning rates of a run depend on its length."""
    node = config.tree["scheduler"]
    kind = find_class(node, LRSchedule, torch.optim.lr_scheduler.LRScheduler)
    return kind.depends_on_length if issubclass(kind, LRSchedule) else depends_on_length(kind, node)
