"""Decisions and test scores of the best weights, after training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from trainer.core import rng
from trainer.engine import evaluation
from trainer.engine.dataloader import Loader
from trainer.engine.trainer import Trainer
from trainer.runs import test_rows
from trainer.runs.results import Result
from trainer.runs.run_setup import RunComponents


def score_best_weights(components: RunComponents, result: Result) -> None:
    """Load the best weights, fit their decisions, and add their test scores to the result.

    Args:
        components: Objects of the run, which is trained.
        result: Result of the run.
    """
    trainer = components.trainer
    trainer.load_best_weights()
    result.decisions = fit_decisions(components, partial(trainer.callbacks.on_evaluation_batch_end, trainer))
    _test(trainer, components.loaders["test"], result)


def fit_decisions(components: RunComponents, on_batch_end: Callable[[], None]) -> dict[str, float]:
    """Fit the decisions of the best weights on the validation split, save both together, and return their values.

    A run that is killed before it is finished fits them again.

    Args:
        components: Objects of the run, whose best weights are loaded.
        on_batch_end: Called after every batch.
    """
    trainer, best = components.trainer, components.trainer.best
    if best.weights is None:  # no validation score was finite
        return {}
    report = evaluation.fit_decisions(
        trainer.task,
        components.loaders["val"],
        trainer.settings,
        on_batch_end,
        trainer.strategy.process_group,
    )
    if report:
        best.decisions = trainer.task.decisions
        components.checkpoints.save_best(best.make_checkpoint())
    return report


def _test(trainer: Trainer, test: Loader, result: Result) -> None:
    """Evaluate the best weights on the test split, and add baseline and best possible scores."""
    result.test = test_rows.evaluate_test(trainer, test, Path(result.run_dir))
    with rng.fork_rng(result.seed, test.device):
        baseline, best = trainer.task.reference_scores()
    result.baseline, result.best_possible = baseline | result.baseline, best | result.best_possible
