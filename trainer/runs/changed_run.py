"""A run that continues another one with changes, in a directory of its own, so that the other stays as it was."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.config import migrations, secret_masking
from trainer.config.override_parser import parse_overrides
from trainer.config.run_config import Config
from trainer.config.schema import Settings
from trainer.config.validation import check_config
from trainer.engine import checkpoint
from trainer.runs import consistency, run_dir
from trainer.runs.results import create_result
from trainer.runs.resume import load_saved_state, with_saved_fingerprint
from trainer.runs.resume_changes import Change, explain_model_change, list_model_keys
from trainer.runs.run_files import make_sibling_path
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError, SystemFault
from trainer.utils.yaml_writer import to_yaml
from trainer.viz.console import print_line

SUFFIX = "-changed"
"""Suffix of the name of a run whose command line names another model or data set, and so no name for it."""


@contextmanager
def create_changed_run(
    saved_config: Config, new_config: Config, changes: Sequence[Change]
) -> Iterator[tuple[Config, run_dir.ClaimedRunDir]]:
    """Create the directory of a run that continues another one with changes; its execution is the block.

    It is removed if the run is rejected before it has saved anything itself.

    Args:
        saved_config: Configuration of the other run.
        new_config: Configuration of the command line.
        changes: The changes, which are allowed.

    Yields:
        Configuration of the new run, and its directory.

    Raises:
        ConfigError: The other run has no state to continue from, or does not fit the changed configuration.
    """
    source = Path(saved_config.run_dir)
    mmap = new_config.settings.strategy == "fsdp"
    state = load_saved_state(source, fall_back=False, mmap=mmap)
    if state is None:
        raise ConfigError(f"resume: {source} has no checkpoint; start a new run with the changed configuration")
    best = None if state["best"]["step"] is None else consistency.load_best(source, mmap=mmap)
    step = state["position"]["step"]
    config = _change_config(with_saved_fingerprint(saved_config, state), new_config, changes)
    texts = [secret_masking.hide_values(str(change), new_config.raw) for change in changes]
    config = replace(config, changes=[*config.changes, *(f"{text} at step {step}" for text in texts)])
    is_named_alike = all(saved_config.names[group] == new_config.names[group] for group in ("model", "data"))
    claimed = run_dir.claim_run(new_config.run_dir if is_named_alike else str(make_sibling_path(source, SUFFIX)))
    config = replace(config, run_dir=str(claimed.path), sweep_dir=str(claimed.path))
    for line in (f"{source} continues at step {step} as a new run, in {claimed.path}", *texts):
        print_line(line)
    last_path, first_state = claimed.path / checkpoint.LAST, None
    try:
        _write_files(config, claimed.path, state, best)
        first_state = last_path.stat()
        del state, best  # this frame lives as long as the run
        yield config, claimed
    except (ConfigError, SystemFault) as error:
        if first_state is None or os.path.samestat(first_state, last_path.stat()):
            run_dir.remove_rejected(claimed.path)
            if isinstance(error, consistency.ForeignWeightsError) and (keys := list_model_keys(changes)):
                raise ConfigError(*error.problems, explain_model_change(keys, source)) from error
        raise


def _change_config(config: Config, new_config: Config, changes: Sequence[Change]) -> Config:
    """Return the configuration of a saved run with changes.

    Raises:
        ConfigError: The changed configuration is invalid.
    """
    raw, tree = copy.deepcopy(dict(config.raw)), copy.deepcopy(dict(config.tree))
    names = {**config.names, **{change.key: change.new for change in changes if change.key in config.names}}
    for change in changes:
        for target, source in ((raw, new_config.raw), (tree, new_config.tree)):
            _copy_key(target, source, change.key.split("."))
    problems = check_config(tree, names)
    if problems:
        raise ConfigError(*problems)
    changed_keys = {change.key for change in changes}
    texts = [word for word in new_config.overrides if parse_overrides([word])[0].key_or_group in changed_keys]
    settings = Settings(**{key: tree[key] for key in Settings.__dataclass_fields__})
    return replace(config, tree=tree, raw=raw, names=names, settings=settings, overrides=[*config.overrides, *texts])


def _copy_key(target: dict[str, Any], source: Mapping[str, Any], path: Sequence[str]) -> None:
    """Copy the value of a key, which may be in a group, from one configuration to another."""
    for part in path[:-1]:
        target, source = target.setdefault(part, {}), source[part]
    target[path[-1]] = copy.deepcopy(source[path[-1]])


def _write_files(config: Config, path: Path, state: Mapping[str, Any], best: Mapping[str, Any] | None) -> None:
    """Write the files of an interrupted run; the results come last, without which it is no run directory."""
    result = create_result(config, path)
    result.status = "interrupted"
    metadata = {
        "config": secret_masking.mask_tree(config.raw),
        "identity": result.identity,
        "options": dict(config.names),
        "overrides": result.overrides,
        "changes": list(config.changes),
    }
    # Loggers start a run of their own.
    callbacks = {name: value for name, value in state["callbacks"].items() if not name.startswith("logger.")}
    if best is not None:
        best = {**best, "run_metadata": best["run_metadata"] | metadata}
        checkpoint.save_checkpoint(best, path / checkpoint.BEST)
    write_config(config, path)
    # The callbacks of the new run decide whether it has ended, such as early stopping with another patience.
    changed = {"callbacks": callbacks, "should_stop": False, "run_metadata": state["run_metadata"] | metadata}
    state = {**state, **changed}
    checkpoint.save_checkpoint(state, path / checkpoint.LAST)
    result.write()


def write_config(config: Config, path: Path) -> None:
    """Write ``config.yaml``, without the values of secrets.

    Args:
        config: Configuration of the run.
        path: The run directory.

    Raises:
        SystemFault: The file cannot be written.
    """
    saved = {migrations.KEY: migrations.FORMAT_VERSION} | secret_masking.mask_tree(config.raw)
    atomic_write.write_text(path / run_dir.CONFIG_FILE, to_yaml(saved))
