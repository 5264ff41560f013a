"""The weights that a command uses: the best ones of a run, or those of a checkpoint that it has kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.config.run_config import Config
from trainer.engine import checkpoint, checkpoint_retention
from trainer.engine.checkpoint_retention import STATE_PREFIX, WEIGHTS_PREFIX
from trainer.engine.param_group import get_averaged_weights
from trainer.runs import consistency
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean


def find_weights(config: Config) -> Path:
    """Return the file of the weights: ``best.pt``, that of a hub folder, or the one that ``checkpoint`` names.

    Args:
        config: Configuration of the run.

    Raises:
        ConfigError: The run has no such checkpoint.
    """
    path, name = Path(config.run_dir), config.checkpoint
    if name is None:
        return consistency.find_best(path)
    names = [file.stem for file in (path / checkpoint.BEST, path / checkpoint.LAST) if file.is_file()]
    for prefix in (STATE_PREFIX, WEIGHTS_PREFIX):
        names += [f"{prefix}{step}" for step in checkpoint_retention.find_steps(path, prefix)]
    if name not in names:
        hint = did_you_mean(name, names)
        raise ConfigError(f"checkpoint: {path} has no {name}.pt{hint or ''}; it has {', '.join(names) or 'none'}")
    return path / f"{name}.pt"


def load_weights(config: Config) -> dict[str, Any]:
    """Load the checkpoint of the weights, checked against the run.

    The weights of a state are the average ones, if there are any, as in a validation; it has no decisions.

    Args:
        config: Configuration of the run.

    Raises:
        ConfigError: There is no such checkpoint, it is damaged, or it belongs to another run.
    """
    if config.checkpoint is None:
        return consistency.load_best(Path(config.run_dir))
    file = find_weights(config)
    state = checkpoint.migrate_state(checkpoint.load_checkpoint(file), file)
    consistency.check_run(file.parent, state, file)
    if "position" not in state:
        return state
    groups = state["param_groups"].values() if isinstance(state["param_groups"], dict) else ()
    averages = [group["ema"] for group in groups if isinstance(group, dict) and isinstance(group.get("ema"), dict)]
    weights = dict(state["task"])
    for average in averages:
        weights |= get_averaged_weights(average)
    return {**state, "task": weights, "decisions": {}}
