"""Context of an executing run: lock, log file, signals, and the outcome in its results."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import IO

from trainer.config import secret_masking
from trainer.config.run_config import Config
from trainer.engine import checkpoint, device
from trainer.engine.config_errors import explain_errors
from trainer.engine.determinism import deterministic_kernels
from trainer.engine.memory_errors import describe_memory_error
from trainer.runs import run_dir, run_log, run_report
from trainer.runs.results import Result
from trainer.runs.run_command import format_command
from trainer.utils import signals
from trainer.utils.errors import ConfigError, Interrupted, Paused, SystemFault, UserError

log = logging.getLogger(__name__)


@contextmanager
def open_run(
    config: Config,
    path: Path,
    lock_wait: float,
    *,
    quiet: bool = False,
    lock: IO[str] | None = None,
    flag: signals.StopFlag | None = None,
) -> Iterator[run_report.RunReporter]:
    """Lock a run directory within the block, write its log there, and handle signals.

    Args:
        config: Configuration of the run.
        path: The run directory.
        lock_wait: Seconds to wait for another process that holds the lock.
        quiet: Print only a progress bar, for a nested run.
        lock: Open lock of a directory that was claimed.
        flag: Set by the signal handler of the caller; None to handle signals here.

    Raises:
        RunInUseError: Another process holds the lock.
    """
    with (
        run_dir.lock_run(path, lock_wait, lock),
        run_log.log_to_file(path, partial(secret_masking.hide_values, tree=config.raw)),
        signals.capture_signals() if flag is None else nullcontext(flag) as stop_flag,
        run_report.RunReporter(
            stop_flag, verbose=config.settings.verbose, quiet=quiet, name="/".join(path.parts[-2:])
        ) as reporter,
    ):
        if not quiet:
            stop_flag.print_on_exit(path / checkpoint.LAST, resume_command(config, path))
        yield reporter


@contextmanager
def record_outcome(result: Result, config: Config, *, is_new: bool) -> Iterator[None]:
    """Record in the results how the block ends, and convert errors of the model and of memory to user errors.

    With ``deterministic``, torch uses deterministic kernels alone within the block.

    Args:
        result: Result of the run.
        config: Configuration of the run.
        is_new: Whether the run is new; its directory is then removed if it is rejected before training.

    Raises:
        ConfigError: The model rejects the data or its options.
        SystemFault: Memory is exhausted.
    """
    path = Path(result.run_dir)
    try:
        with explain_errors(config.tree, "model"), deterministic_kernels(enabled=config.settings.deterministic):
            yield
    except Interrupted as error:
        record_stop(result, error, config)
        if isinstance(error, Paused):
            raise
        # For a nested run, the outer run replaces the command: resuming it resumes both.
        command, is_early_warning = resume_command(config, path), error.is_early_warning
        raise Interrupted(error.message, error.signal_number, command, is_early_warning=is_early_warning) from None
    except UserError as error:
        record_stop(result, error, config)
        if is_new and isinstance(error, ConfigError | SystemFault):
            run_dir.remove_if_empty(path)
        raise
    except BaseException as error:
        if device.is_out_of_memory(error):
            fault = SystemFault(describe_memory_error(error, config.settings))
            record_stop(result, fault, config)
            raise fault from error
        record_stop(result, error, config)
        with suppress(SystemFault):  # an error of the log must not hide the cause
            log.exception("failed")
        raise


def resume_command(config: Config, path: Path) -> str:
    """Return the command that resumes a run.

    Args:
        config: Configuration of the run, for its plugins.
        path: The run directory.
    """
    return format_command("resume", path, config.settings.plugins)


def record_stop(result: Result, error: BaseException, config: Config) -> None:
    """Record once why a run ended; finished runs stay finished, and write errors do not hide the cause.

    Args:
        result: Result of the run.
        error: The cause.
        config: Configuration of the run, whose secrets are masked.
    """
    if result.reason is not None:
        return
    # Without the command that resumes a nested run: this one is resumed by its own.
    text = error.message if isinstance(error, Interrupted) else str(error)
    reason = secret_masking.hide_values(f"{type(error).__name__}: {text}", config.raw)
    if result.status == "running":
        is_stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        result.status = "paused" if isinstance(error, Paused) else "interrupted" if is_stopped else "failed"
        result.reason = reason
        with suppress(SystemFault):
            result.write_in_place()
    with suppress(SystemFault):
        log.info("%s", reason)
