"""The command ``train find``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.utils.errors import ConfigError
from trainer.utils.gc_pause import pause_gc
from trainer.utils.suggest import did_you_mean

if TYPE_CHECKING:
    from trainer.config.run_config import Config

TARGETS = ("lr", "batch_size")
DEFAULT_DIR = Path("outputs/find")


def find_value(arguments: Sequence[str]) -> int:
    """Run ``train find lr|batch_size KEY=VALUE ... [output=DIR]``.

    Args:
        arguments: Words after ``train find``.

    Returns:
        0; 1 if no value can be suggested.

    Raises:
        ConfigError: The command line is invalid, or the task has several losses, such as a GAN.
    """
    from trainer.cli import argv
    from trainer.config import compose, debug_keys, ensemble_keys
    from trainer.config.override_parser import quote_letters

    target = arguments[0] if arguments else ""
    if target not in TARGETS:
        given = f"{target!r} given" if target else "nothing given"
        raise ConfigError(f"find: {given}{did_you_mean(target, TARGETS) or ';'} one of {', '.join(TARGETS)}")
    words, config_dirs, flags = argv.split_args(arguments[1:])
    if others := sorted(flags - {argv.CONFIG_DIR_FLAG}):
        raise ConfigError(f"find {others[0]}: it is about one run; leave it out")
    output, words = argv.split_output(words)
    if output == "":
        raise ConfigError("find output: '' given; it must be the path of a directory")
    overrides = [quote_letters(word) for word in words]
    config = compose.compose(overrides, config_dirs, is_single_run=True)
    if debug_keys.check_is_run(config.settings).debug == debug_keys.FAST:
        raise ConfigError("find debug: fast given; its number of steps is fixed; leave it out")
    if config.settings.resume is not None:
        raise ConfigError("find resume: it is about a new run; leave it out")
    ensemble_keys.check_is_one_model(config.settings, "leave it out")
    with pause_gc(freeze=True):
        from trainer.runs import match_size
    config = match_size.with_matched_size(config)
    folder = Path(output) if output else DEFAULT_DIR / f"{target}-{config.names['model']}-{config.names['data']}"
    return _find_lr(config, folder) if target == "lr" else _find_batch_size(config, folder)


def _find_lr(config: Config, folder: Path) -> int:
    with pause_gc(freeze=True):
        from trainer.analysis import find_setup, lr_finder
        from trainer.engine.config_errors import explain_errors
        from trainer.utils import signals
        from trainer.viz.console import print_line

    with signals.capture_signals() as flag, explain_errors(config.tree, "model"):
        test = lr_finder.run_range_test(config, flag)
    rate = lr_finder.choose_rate(test.rates, test.smoothed)
    last = f"{test.rates[-1]:g}" if test.rates else "none"
    print_line(f"{len(test.rates)} steps with rates from {lr_finder.MIN_LR:g} to {last}")
    if rate is None:
        print_line("no rate of these has lowered the loss: train ... debug=overfit says whether the model can learn")
        return 1
    print_line(f"the loss falls fastest at {rate:g}")
    print_line(f"optimizer.lr={rate:g}")
    rows = list(zip(test.rates, test.losses, test.smoothed, strict=True))
    find_setup.write_curve(folder, "learning_rate", ("learning rate", "loss", "smoothed loss"), rows, rate)
    print_line(f"curve in {folder}")
    return 0


def _find_batch_size(config: Config, folder: Path) -> int:
    with pause_gc(freeze=True):
        from trainer.analysis import batch_size_finder, find_setup
        from trainer.engine.config_errors import explain_errors
        from trainer.utils import signals
        from trainer.viz.console import print_line

    with signals.capture_signals() as flag, explain_errors(config.tree, "model"):
        search = batch_size_finder.search_batch_size(config, flag)
    for result in search.results:
        print_line(f"batch_size={result.batch_size:<7} {result.rows_per_second:,.0f} rows/s")
    print_line(f"no larger one: {search.reason}")
    print_line(f"batch_size={search.chosen}")
    print_line("the smallest that is nearly as fast as the fastest; another size has another best optimizer.lr")
    rows = [(float(result.batch_size), result.rows_per_second) for result in search.results]
    find_setup.write_curve(folder, "batch_size", ("batch size", "rows per second"), rows, search.chosen)
    print_line(f"curve in {folder}")
    return 0
