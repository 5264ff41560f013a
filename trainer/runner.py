"""A run from a checked configuration to its results: the hops between the command line and the loop."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from omegaconf import OmegaConf

from trainer import builder, checkpoint, classifier, device, drawing, folder, report, seeding, signals, stored
from trainer.album import Album
from trainer.config import Config
from trainer.console import say
from trainer.errors import ConfigError, Interrupted, SystemFault, UserError
from trainer.loader import Loader
from trainer.result import Result, commit, versions
from trainer.trainer import Trainer

log = logging.getLogger(__name__)


def run(config: Config) -> Result:
    """Trains, validates and tests; or goes on with a run that was stopped, if ``resume`` says so."""
    settings = config.settings
    if settings.resume is None:
        return start(config, folder.claim(config.folder))
    if settings.resume != "auto":
        kept = stored.load(Path(settings.resume))
        changed = stored.drift(config, kept)
        if changed:
            raise ConfigError(*changed, "a resumed run is the run it was; start a new one to change it")
        return resume(stored.adapted(kept, config))
    found = folder.find(config.identity, Path(config.folder))
    if found is None:
        say("resume=auto: no run of this configuration yet; starting one")
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
    say(f"{path} is finished; nothing to do")
    return Result.read(path)


def start(config: Config, path: Path, *, quiet: bool = False) -> Result:
    """One run in its folder, which it alone may write to; from its last checkpoint if it has one.

    ``quiet``: nothing but a bar on the terminal, for a run within another.
    """
    fresh = not any((path / name).exists() for name in (checkpoint.LAST, checkpoint.PREVIOUS))
    names = config.names
    result = Result(
        folder=str(path),
        identity=config.identity,
        status="running",
        options=dict(names),
        overrides=[folder.mask_override(text) for text in config.overrides],
        model=names["model"],
        data=names["data"],
        task=names["task"],
        seed=config.settings.seed,
        versions=versions(),
        git=commit(),
    )
    with ExitStack() as stack:
        stack.enter_context(folder.locked(path))
        stack.enter_context(folder.logged(path))
        flag = stack.enter_context(signals.caught())
        screen = stack.enter_context(report.Report(flag, verbose=config.settings.verbose, quiet=quiet))
        try:
            if fresh:
                shown = OmegaConf.to_yaml(OmegaConf.create(folder.mask(config.raw)))
                folder.write_text(path / folder.CONFIG, shown)
            result.write()
            _train_and_test(config, path, result, screen, fresh=fresh)
        except Interrupted as error:
            _stopped(result, error)
            # Of a run within another, a classifier's, the outer one has the last word: it goes on with both.
            raise Interrupted(error.message, error.signal_number, f"train resume {path}") from None
        except UserError as error:
            _stopped(result, error)
            if fresh and isinstance(error, ConfigError | SystemFault):
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


def is_out_of_memory(error: BaseException) -> bool:
    """On a CPU torch raises no type of its own for it."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _stopped(result: Result, error: BaseException) -> None:
    result.status = "interrupted" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"
    result.reason = f"{type(error).__name__}: {error}"
    result.write()
    log.info("%s", result.reason)


def _train_and_test(config: Config, path: Path, result: Result, screen: report.Report, *, fresh: bool) -> None:
    settings = config.settings
    where = device.pick(settings.device)
    state = None if fresh else checkpoint.load_newest(path)
    torch.set_num_threads(1)
    device.keep_freed_memory()
    data = builder.data(config.tree)
    classifier.attach(config, data, partial(start, quiet=True))
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
    keeper = checkpoint.RunKeeper(path, about | {"options": dict(config.names), "versions": result.versions})
    album = Album(screen, path, settings.seed, is_on=settings.draw and not screen.quiet)
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
        trainer.load_state_dict(state, checkpoint.load(path / checkpoint.BEST) if state["best"]["step"] else None)
    sizes = {name: loader.split.size() for name, loader in loaders.items()}
    screen.start(trainer, result, sizes, getattr(data.facts, "reading", ()))
    if not screen.quiet:
        folder.link_latest(path)
    trainer.fit()
    _conclude(trainer, loaders["test"], result, screen, album)


def _conclude(trainer: Trainer, test: Loader, result: Result, screen: report.Report, album: Album) -> None:
    """Tests the best weights of a run that was trained to its end, and shows what became of it."""
    result.epochs, result.steps, result.seconds = trainer.epoch, trainer.step, round(trainer.seconds, 3)
    result.take_best(trainer.history, trainer.best.epoch)
    _test(trainer, test, result)
    drawn, missed = _draw(trainer, test, screen, Path(result.folder)) if album.is_on else ([], [])
    drawn += album.strip(trainer)
    result.status = "finished"
    result.write()
    screen.finish(trainer, result, drawn, missed)


def _test(trainer: Trainer, test: Loader, result: Result) -> None:
    """Scores the best weights, beside what the data and the task can be measured by."""
    trainer.use_best()
    result.test = trainer.evaluate(test)
    with seeding.isolated(result.seed, test.device):
        baseline, best = trainer.task.references()
    result.baseline, result.best_possible = baseline | result.baseline, best | result.best_possible


def _draw(trainer: Trainer, test: Loader, screen: report.Report, path: Path) -> tuple[list[Path], list[str]]:
    """What the task has to show of the test rows; gives the paths, and what there was no time for."""
    clock = drawing.Clock(trainer.settings.draw_seconds, screen.announce_drawing, screen.flag.check)
    return drawing.draw_in_time(trainer.task.gallery(test.epoch(0)), trainer.task.model, path, clock)
