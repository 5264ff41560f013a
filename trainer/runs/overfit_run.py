"""``debug=overfit``: train on one batch, without augmentation, dropout and decay, until its loss is almost zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.config import plugins
from trainer.config.run_config import Config
from trainer.data.augment.image_augment import Augment
from trainer.engine import overfit
from trainer.engine.config_errors import explain_errors
from trainer.engine.overfit import MAX_SHARE, OverfitResult
from trainer.engine.process_group import SingleProcess
from trainer.optim.lr_schedules import Constant
from trainer.runs import match_size
from trainer.runs.training_setup import build_training, refuse_nested_run
from trainer.utils import signals
from trainer.utils.text import format_count, join_names
from trainer.viz.console import print_line

NO_AUGMENTATION: Mapping[str, Any] = {"_target_": f"{Augment.__module__}.{Augment.__qualname__}"}
CONSTANT_RATE: Mapping[str, Any] = {"_target_": f"{Constant.__module__}.{Constant.__qualname__}", "warmup": 0}
DROPOUT = "dropout"
"""Part of the names of the options of a model that are probabilities of dropout."""
WEIGHT_DECAY = "weight_decay"
DEFAULT_STEPS = 1000
BARS = "▁▂▃▄▅▆▇█"
CURVE_WIDTH = 24
MAX_NAMES = 4


def check_overfit(config: Config) -> int:
    """Train each parameter group on one batch, and print whether it has memorized it; nothing is saved.

    Args:
        config: Configuration of the command line.

    Returns:
        0; 1 if the loss of a group is stuck.

    Raises:
        ConfigError: The configuration does not fit the data.
        Interrupted: A signal has stopped it.
    """
    plugins.declare_plugins(config.settings.plugins, Path(config.working_dir))
    steps = config.settings.max_steps or DEFAULT_STEPS
    config = make_overfit_config(match_size.with_matched_size(config), steps)
    with signals.capture_signals() as flag, explain_errors(config.tree, "model"):
        training = build_training(config, None, SingleProcess(), refuse_nested_run, lambda _: None)
        overfit.disable_dropout(training.task)
        trainer = training.make_trainer([])
        rows = min(overfit.MAX_ROWS, len(trainer.train_loader.make_batch_order(0)[0]))
        print_line(
            f"overfit: {config.names['model']} on one batch of {format_count(rows, 'row')} of {config.names['data']},"
            f" without augmentation, dropout and weight decay, at most {format_count(steps, 'step')}"
        )
        flag.defer_stop()
        results = overfit.overfit_groups(trainer, steps, lambda _: flag.raise_if_stopped())
    for result in results:
        print_line("\n".join(describe_result(result, is_only=len(results) == 1)))
    return int(not all(result.is_learned for result in results))


def make_overfit_config(config: Config, steps: int) -> Config:
    """Return a configuration with a constant rate, and without whatever keeps a loss from falling to zero.

    Args:
        config: Configuration of the command line.
        steps: Largest number of steps.
    """
    model = {key: 0.0 if _is_dropout(key, value) else value for key, value in config.tree["model"].items()}
    task = {key: None if key == "classifier" else value for key, value in config.tree["task"].items()}
    groups = {"model": model, "task": task, "augment": NO_AUGMENTATION, "scheduler": CONSTANT_RATE, "callbacks": {}}
    groups["optimizer"] = _without_weight_decay(config.tree["optimizer"])
    changes: dict[str, Any] = {"ema": None, "accumulate": 1, "max_steps": steps, "budget": None, "shards": None}
    changes["devices"] = None
    settings = replace(config.settings, **changes)
    return replace(config, tree={**config.tree, **changes, **groups}, settings=settings)


def _is_dropout(key: str, value: object) -> bool:
    return DROPOUT in key and isinstance(value, float | int) and not isinstance(value, bool)


def _without_weight_decay(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an optimizer without weight decay, by which a loss never reaches zero."""
    changed = {**optimizer, **({WEIGHT_DECAY: 0.0} if WEIGHT_DECAY in optimizer else {})}
    if changed.get("groups"):
        changed["groups"] = [{k: v for k, v in entry.items() if k != WEIGHT_DECAY} for entry in changed["groups"]]
    return changed


def describe_result(result: OverfitResult, *, is_only: bool) -> list[str]:
    """Return the curve of a parameter group and its verdict.

    Args:
        result: The result.
        is_only: Whether the task has no other group.
    """
    name = "" if is_only else f"{result.group}: "
    first, last, steps = result.losses[0], result.losses[-1], len(result.losses) - 1
    lines = [f"{name}loss {first:.4g} {draw_curve(result.losses)} {last:.4g} after {format_count(steps, 'step')}"]
    goal = f"{MAX_SHARE:.0%} of its first value" if result.has_floor else "its goal, 10 % below its first value"
    if result.is_learned:
        return [*lines, f"PASS {name}the loss has reached {goal} ({result.target:.4g})"]
    lines.append(f"FAIL {name}the loss has not reached {goal} ({result.target:.4g})")
    if last != last:
        lines.append(f"the loss is not finite after {format_count(steps, 'step')}: try a smaller optimizer.lr")
        return lines
    if result.last_progress < 0.8 * steps:
        stuck = result.losses[result.last_progress]
        advice = "try another optimizer.lr, or a wider model"
        lines.append(f"stuck at {stuck:.4g} since step {result.last_progress:,}: {advice}")
    else:
        lines.append(f"it still falls: try a larger optimizer.lr, or max_steps={2 * steps}")
    if result.without_gradient:
        names = join_names(result.without_gradient, MAX_NAMES)
        lines.append(f"no gradient reaches {format_count(len(result.without_gradient), 'tensor')}: {names}")
    return lines


def draw_curve(losses: Sequence[float], width: int = CURVE_WIDTH) -> str:
    """Draw losses as a line of bars, each the mean of as many steps.

    Args:
        losses: The losses.
        width: Most bars.
    """
    finite = [loss for loss in losses if loss == loss and abs(loss) != float("inf")]
    if not finite:
        return ""
    size = max(1, -(-len(finite) // width))
    means = [sum(part) / len(part) for part in (finite[i : i + size] for i in range(0, len(finite), size))]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)
