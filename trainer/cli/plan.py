"""The command ``train plan``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.utils.errors import ConfigError
from trainer.utils.gc_pause import pause_gc
from trainer.utils.paths import describe_missing_path


def plan_run(arguments: Sequence[str]) -> int:
    """Run ``train plan [-m] KEY=VALUE ... [output=FILE.json]``.

    Args:
        arguments: Words after ``train plan``.

    Returns:
        0; 1 if a run would be refused on this machine.

    Raises:
        ConfigError: The command line is invalid.
    """
    from trainer.cli import argv
    from trainer.config.override_parser import quote_letters
    from trainer.runs.commands import COMMANDS

    words, config_dirs, flags = argv.split_args(arguments)
    if others := sorted(flags - {"--multirun", argv.CONFIG_DIR_FLAG}):
        raise ConfigError(f"plan {others[0]}: a plan is about runs; leave it out")
    if other := next((word for word in words if word.startswith(("hydra/launcher=", "hydra/sweeper="))), None):
        raise ConfigError(f"plan {other}: a plan is about processes of this machine; leave it out")
    if words and words[0] and "=" not in words[0] and words[0][0] not in "+~":
        raise ConfigError(
            f"plan {words[0]}: a plan takes the keys of a run, as in: train plan {COMMANDS['plan'].example}"
        )
    output, words = argv.split_output(words)
    if output is not None and not output.endswith(".json"):
        raise ConfigError(f"plan output: {output!r} given; a plan is written to a .json file")
    if output is not None and not Path(output).absolute().parent.is_dir():
        raise ConfigError(f"plan output: {describe_missing_path(Path(output).parent)}")
    overrides = [quote_letters(word) for word in words]
    with pause_gc(freeze=True):
        from trainer.analysis import plan, plan_screen
        from trainer.viz.console import print_line

    costs = plan.make_plan(overrides, config_dirs, is_sweep="--multirun" in flags)
    print_line(plan_screen.format_plan(costs))
    if output is not None:
        plan.write_plan(costs.to_plain_values(), Path(output))
        print_line(f"saved in {output}")
    return int(bool(costs.refusals))
