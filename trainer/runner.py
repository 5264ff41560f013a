"""A run from a checked configuration to its results: the hops between the command line and the loop."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from trainer import (
    builder,
    checkpoint,
    classifier,
    data_source,
    device,
    folder,
    integrity,
    pictures,
    report,
    seeding,
    signals,
    stored,
)
from trainer.album import Album
from trainer.config import Config
from trainer.errors import ConfigError, Interrupted, SystemFault, UserError
from trainer.loader import Loader
from trainer.result import Result, commit, versions
from trainer.trainer import Trainer

log = logging.getLogger(__name__)

WAITING = "waiting"
"""A stored run that has not gone on yet: its results are left as they are."""


def run(config: Config) -> Result:
    """Trains, validates and tests; or goes on with a run that was stopped, if ``resume`` says so."""
    settings = config.settings
    if settings.resume is None:
        return start(data_source.with_fingerprint(config), folder.claim(config.folder))
    if settings.resume != "auto":
        kept = stored.load(Path(settings.resume))
        changed = stored.drift(config, kept)
        if changed:
            raise ConfigError(*changed, "a resumed run is the run it was; start a new one to change it")
        return resume(stored.adapted(kept, config))
    config = data_source.with_fingerprint(config)
    found = folder.find(config.identity, Path(config.folder))
    if found is None:
        print("resume=auto: no run of this configuration yet; starting one")
        return start(config, folder.claim(config.folder, reuse=True))
    if folder.read_results(found).get("status") == "finished":
        return _finished(found)
    return start(config, found)


def resume(kept: Config) -> Result:
    """Goes on with a stored run, to the bits it would have had without the stop; a finished one is left as it is."""
    path = Path(kept.folder)
    if folder.read_results(path).get("status") == "finished":
        return _finished(path)
    return start(kept, path)


def _finished(path: Path) -> Result:
    print(f"{path} is finished; nothing to do")
    return Result.read(path)


def start(config: Config, path: Path) -> Result:
    """One run in its folder, which it alone may write to; from its last checkpoint if it has one."""
    with ExitStack() as stack:
        stack.enter_context(folder.locked(path))
        stack.enter_context(folder.logged(path))
        state = _saved_state(config, path)
        if state is not None and state["data"] is not None:
            config = replace(config, fingerprint=state["data"]["fingerprint"])
        result = _result(config, path)
        flag = stack.enter_context(signals.caught())
        screen = stack.enter_context(report.Report(flag, verbose=config.settings.verbose))
        try:
            if state is None:
                shown = OmegaConf.to_yaml(OmegaConf.create(folder.mask(config.raw)))
                folder.write_text(path / folder.CONFIG, shown)
                _begin(result)
            _train_and_test(config, path, result, screen, state)
        except Interrupted as error:
            _stopped(result, error)
            # Of a run within another, a classifier's, the outer one has the last word: it goes on with both.
            raise Interrupted(error.message, error.signal_number, f"train resume {path}") from None
        except UserError as error:
            _stopped(result, error)
            if state is None and isinstance(error, ConfigError | SystemFault):
                folder.remove_if_empty(path)
            raise
        except BaseException as error:
            _stopped(result, error)
            if is_out_of_memory(error):
                reason = str(error).split("\n")[0]
                raise SystemFault(f"out of memory: {reason}; try a smaller batch_size, or accumulate") from error
            log.exception("failed")
            raise
    return result


def _result(config: Config, path: Path) -> Result:
    names = config.names
    return Result(
        folder=str(path),
        identity=config.identity,
        status=WAITING,
        options=dict(names),
        overrides=[folder.mask_override(text) for text in config.overrides],
        model=names["model"],
        data=names["data"],
        task=names["task"],
        seed=config.settings.seed,
        versions=versions(),
        git=commit(),
        home=config.home,
    )


def _begin(result: Result) -> None:
    """From here on what happens to the run stands in its results."""
    result.status = "running"
    result.write()


def is_out_of_memory(error: BaseException) -> bool:
    """On a CPU torch raises no type of its own for it."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _stopped(result: Result, error: BaseException) -> None:
    if result.status == WAITING:
        return  # refused before anything was done: the run is what it was
    result.status = "interrupted" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"
    result.reason = f"{type(error).__name__}: {error}"
    result.write()
    log.info("%s", result.reason)


def _saved_state(config: Config, path: Path) -> dict[str, Any] | None:
    """The newest state of a run, if it has one. Raises ConfigError where it is damaged, or not of this run."""
    if not any((path / name).exists() for name in (checkpoint.LAST, checkpoint.PREVIOUS)):
        return None
    state = checkpoint.load_newest(path)
    integrity.check_run(config, state, path / checkpoint.LAST)
    return state


def _go_on_from(trainer: Trainer, state: Mapping[str, Any], path: Path) -> None:
    """Raises ConfigError for a state that is none of this trainer."""
    integrity.load_weights(trainer.task, state, path / checkpoint.LAST)
    try:
        best = checkpoint.load(path / checkpoint.BEST) if state["best"]["step"] else None
        trainer.load_state_dict(dict(state), best)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{path / checkpoint.LAST}: not a state of this run: {type(error).__name__}: {reason}"
        ) from error


def _train_and_test(
    config: Config, path: Path, result: Result, screen: report.Report, state: Mapping[str, Any] | None
) -> None:
    settings = config.settings
    where = device.pick(settings.device) if state is None else device.pick_again(settings.device)
    torch.set_num_threads(1)
    device.keep_freed_memory()
    data = data_source.read(config) if state is None else data_source.read_again(config, state["data"])
    classifier.attach(config, data, start)
    # After the data: what it imports may draw from the generators, once in a process.
    seeding.seed_everything(settings.seed)
    task = builder.task(config.tree, data, config.names).to(where)
    monitor = settings.monitor or task.monitor
    loaders = builder.loaders(config.tree, data, settings, where)
    builder.probe(task, loaders["train"], monitor)
    result.threads = (
        state["about"]["threads"]
        if state
        else settings.threads or device.choose_threads(task, builder.small_batch(loaders["train"]))
    )
    torch.set_num_threads(result.threads)
    result.params = sum(p.numel() for p in task.parameters())
    result.device, result.monitor = str(where), monitor
    result.baseline, result.best_possible = dict(data.facts.baseline), dict(data.facts.best_possible)

    about = {"config": folder.mask(config.raw), "identity": config.identity, "threads": result.threads}
    about |= {"options": dict(config.names), "versions": result.versions}
    keeper = checkpoint.RunKeeper(path, about, data_source.state_of(config, data))
    album = Album(screen, path, settings.seed)
    trainer = Trainer(
        task,
        builder.players(config.tree, settings, task, loaders["train"]),
        loaders["train"],
        loaders["val"],
        settings,
        keeper,
        album,
    )
    if state is not None:
        _go_on_from(trainer, state, path)
        _begin(result)
    screen.start(trainer, result, {name: len(loader.split) for name, loader in loaders.items()})
    trainer.fit()
    result.epochs, result.steps, result.seconds = trainer.epoch, trainer.step, round(trainer.seconds, 3)
    result.take_best(trainer.history, trainer.best.epoch)
    drawn = [*_test(trainer, loaders["test"], result), *album.strip(trainer)]
    result.status = "finished"
    result.write()
    screen.finish(trainer, result, drawn)


def _test(trainer: Trainer, test: Loader, result: Result) -> list[Path]:
    """Scores the best weights, beside what the data and the task can be measured by; gives the pictures' paths."""
    trainer.use_best()
    result.test = trainer.evaluate(test)
    with seeding.isolated(result.seed, test.device):
        baseline, best = trainer.task.references()
    result.baseline, result.best_possible = baseline | result.baseline, best | result.best_possible
    return pictures.draw(trainer.task.gallery(test.epoch(0)), Path(result.folder))
