"""Test scores of a run that is not finished, and stays as it is."""

from __future__ import annotations

from pathlib import Path

from trainer.config.run_config import Config
from trainer.engine import evaluation
from trainer.runs import match_size
from trainer.runs.results import create_result
from trainer.runs.resume import load_saved_state, with_saved_fingerprint
from trainer.runs.run_context import open_run
from trainer.runs.run_setup import build_components
from trainer.runs.train import train_nested_run


def score_best_weights(config: Config, path: Path) -> dict[str, float]:
    """Return the scores of the best weights so far on the test split; empty if no validation was completed.

    Args:
        config: Configuration of the run.
        path: The run directory.

    Raises:
        UserError: The run cannot be loaded.
    """
    config = match_size.with_matched_size(config)
    with open_run(config, path, 0.0, quiet=True) as reporter:
        state = load_saved_state(path, fall_back=True)
        if state is None or state["best"]["step"] is None:
            return {}
        config = with_saved_fingerprint(config, state)
        components = build_components(config, create_result(config, path), reporter, state, train_nested_run)
        trainer = components.trainer
        trainer.load_best_weights()
        if trainer.best.weights is None:
            return {}
        evaluation.fit_decisions(
            trainer.task, components.loaders["val"], trainer.settings, None, trainer.strategy.process_group
        )
        return trainer.evaluate_loader(components.loaders["test"])
