"""Early stopping: patience in validations, and resuming without a state of its own."""

from __future__ import annotations

import pytest

from tests.helpers.tiny import Formula, Numbers, make_linear_loss, tiny
from trainer.engine.callbacks import CallbackList
from trainer.engine.early_stopping import EarlyStopping
from trainer.engine.trainer import Trainer

SCORES = [0.5, 0.4, 0.45, 0.41, 0.3, 0.6, 0.7, 0.8, 0.9, 1.0]


def make_trainer(patience: int) -> Trainer:
    task = Formula(Numbers(w=[1.0]), make_linear_loss([1.0]), SCORES)
    trainer = tiny(task, epochs=len(SCORES))
    trainer.callbacks = CallbackList([EarlyStopping(patience)])
    return trainer


@pytest.mark.parametrize(("patience", "epochs", "best"), [(1, 3, 2), (2, 4, 2), (3, 8, 5), (5, 10, 5), (9, 10, 5)])
def test_training_stops_after_patience_validations_without_improvement(patience: int, epochs: int, best: int) -> None:
    trainer = make_trainer(patience)
    trainer.fit()
    assert (trainer.epoch, trainer.best.epoch) == (epochs, best)


def test_resumed_trainer_stops_by_the_history_of_an_older_state() -> None:
    trainer = make_trainer(2)
    trainer.fit()
    again = make_trainer(2)
    again.load_state_dict(trainer.state_dict() | {"should_stop": False}, trainer.best.make_checkpoint())
    again.fit()
    assert (again.epoch, again.step) == (trainer.epoch, trainer.step)
