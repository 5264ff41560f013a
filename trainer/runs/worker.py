"""A further process of a data parallel run: it trains with process 0, and writes nothing."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch.distributed as dist

from trainer.config import plugins
from trainer.config.run_config import Config
from trainer.engine import evaluation
from trainer.engine.determinism import deterministic_kernels
from trainer.engine.pause_callback import make_pause_callbacks
from trainer.engine.process_group import ProcessGroup, ProcessGroupError
from trainer.engine.signal_callback import make_signal_callback
from trainer.runs import process_groups, run_callbacks, test_rows
from trainer.runs.resume import load_trainer_state, share_state
from trainer.runs.training_setup import build_training
from trainer.runs.worker_processes import PARENT_VARIABLE, STORE_VARIABLE, TIMEOUT_VARIABLE
from trainer.utils import signals
from trainer.utils.errors import Interrupted, NonFiniteError, SystemFault, UserError
from trainer.utils.signals import StopFlag


def run_worker() -> NoReturn:
    """Run this process, whose number and connection are in environment variables, and end it.

    Errors that all processes raise are reported by process 0 alone.
    """
    code = _run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the threads of a connection that has failed abort an interpreter that ends in order


def _run() -> int:
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = os.environ.get(STORE_VARIABLE)
    if store is not None:
        signals.end_with_parent(int(os.environ[PARENT_VARIABLE]), signal.SIGKILL)  # there is nothing to save
    timeout = float(os.environ.get(TIMEOUT_VARIABLE, process_groups.DEFAULT_TIMEOUT))
    try:
        # Until there is something to train, signals end this process at once, also within a call that waits.
        group = process_groups.join_process_group(rank, size, dist.FileStore(store, size) if store else None, timeout)
        run = group.broadcast_object(None)
        if run is not None:
            config, path = run
            is_deterministic = config.settings.deterministic
            with signals.capture_signals() as flag, deterministic_kernels(enabled=is_deterministic):
                flag.defer_stop()
                _train(config, path, group, flag)
        group.wait_for_main()
    except (Interrupted, NonFiniteError) as error:
        group.wait_for_main()
        return error.exit_code
    except ProcessGroupError as error:
        if store is not None:  # process 0 decides whether to show it
            print(f"process {rank}: {error}", file=sys.stderr)
        return error.exit_code
    except UserError as error:
        print(f"process {rank}: {error}", file=sys.stderr)
        return error.exit_code
    except Exception:
        print(f"process {rank}: {traceback.format_exc()}", file=sys.stderr)
        return 1
    return 0


def _train(config: Config, path: Path, group: ProcessGroup, flag: StopFlag) -> None:
    """Train, validate and test as process 0 does, without its files."""
    state = share_state(config, path, None, group)
    plugins.declare_plugins(config.settings.plugins, Path(config.working_dir))
    user_callbacks = run_callbacks.make_user_callbacks(config)
    training = build_training(config, state, group, _use_finished_run, _announce_nothing)
    callbacks = [*user_callbacks, *training.make_early_stopping(), *training.strategy.make_callbacks()]
    callbacks += [*make_pause_callbacks(config.pause_step), make_signal_callback(flag, group)]
    trainer = training.make_trainer(callbacks)
    if state is not None:
        if not path.is_dir():
            raise SystemFault(f"{path} cannot be read by this process; a run on several machines needs a shared folder")
        load_trainer_state(trainer, dict(state), path)
        state = None  # frees its memory, and the space of a mapped file once that is replaced
    trainer.fit()
    trainer.load_best_weights()
    on_batch_end = partial(trainer.callbacks.on_evaluation_batch_end, trainer)
    if trainer.best.weights is not None:
        evaluation.fit_decisions(trainer.task, training.loaders["val"], trainer.settings, on_batch_end, group)
    test_rows.evaluate_test(trainer, training.loaders["test"], None)


def _use_finished_run(config: Config, path: Path) -> None:
    """Do not train a nested run: process 0 has done so."""


def _announce_nothing(lines: Sequence[str]) -> None:
    """Print nothing about the initial weights: process 0 does so."""
