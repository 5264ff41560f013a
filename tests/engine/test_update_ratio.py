"""The update ratio of a validation is that of the last update before it, also in a resumed run."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.tiny import MOMENTUM, LeastSquares, Linear, StopAt, rows, tiny
from trainer.core.batch import Batch
from trainer.engine import update_ratio
from trainer.engine.callbacks import Callback, CallbackList
from trainer.engine.step_metrics import StepMetrics
from trainer.engine.trainer import Trainer
from trainer.optim.flat_params import FlatParameters
from trainer.utils.errors import Interrupted


class TwoGroups(LeastSquares):
    """A critic that every step updates, and a generator that every third step does."""

    def __init__(self) -> None:
        super().__init__(Linear())
        self.other = Linear()

    def param_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        return {"critic": self.model.parameters(), "generator": self.other.parameters()}

    def active_groups(self, step: int) -> tuple[str, ...]:
        return ("critic", "generator") if step % 3 == 0 else ("critic",)

    def count_active_steps(self, step: int) -> dict[str, int]:
        return {"critic": step, "generator": -(-step // 3)}

    def loss(self, batch: Batch, group: str) -> Tensor:
        return (self.error(batch) + self.other(batch.inputs["x"])).square().mean()


class WeightRecorder(Callback):
    """Records the weights of each group after every step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_fit_start(self, trainer: Trainer) -> None:
        self.on_step_end(trainer, trainer.step_metrics)

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        self.weights.append({name: group.params.data.clone() for name, group in trainer.param_groups.items()})


def make_trainer(epochs: int = 3) -> tuple[Trainer, WeightRecorder]:
    trainer, recorder = tiny(TwoGroups(), train=rows(20), epochs=epochs, optimizer=MOMENTUM), WeightRecorder()
    trainer.callbacks = CallbackList([recorder])
    return trainer, recorder


def test_each_group_is_measured_at_its_last_update_of_an_epoch() -> None:
    trainer, recorder = make_trainer()
    trainer.fit()
    last_updates = {"critic": (4, 9, 14), "generator": (3, 9, 12)}  # of 5 steps an epoch; every third for the generator
    for name, steps in last_updates.items():
        for row, step in zip(trainer.history, steps, strict=True):
            before, after = recorder.weights[step][name], recorder.weights[step + 1][name]
            expected = float((after - before).norm() / before.norm())
            assert expected > 0
            assert row[update_ratio.PREFIX + name] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("step", [3, 4, 5, 14])
def test_a_resumed_run_measures_the_same(step: int) -> None:
    """After step 4, the generator has been measured and the epoch has not ended."""
    whole, _ = make_trainer()
    whole.fit()
    stopped, _ = make_trainer()
    stopped.callbacks = CallbackList([StopAt(step)])
    with pytest.raises(Interrupted):
        stopped.fit()
    resumed, _ = make_trainer()
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()), None)
    resumed.fit()
    columns = [update_ratio.PREFIX + name for name in ("critic", "generator")]
    assert [[row[key] for key in columns] for row in resumed.history] == [
        [row[key] for key in columns] for row in whole.history
    ]


def test_a_run_of_an_older_version_keeps_its_columns() -> None:
    trainer, _ = make_trainer(epochs=1)
    trainer.fit()
    old_row = {key: value for key, value in trainer.history[0].items() if not key.startswith(update_ratio.PREFIX)}
    assert update_ratio.make_columns(trainer.param_groups, [old_row]) == {}
    state = {key: value for key, value in trainer.param_groups["critic"].state_dict().items() if key != "update_ratio"}
    trainer.param_groups["critic"].load_state_dict(state)
    assert trainer.param_groups["critic"].update_ratio is None


def test_a_group_without_an_update_has_no_ratio() -> None:
    trainer, _ = make_trainer()
    assert all(map(math.isnan, update_ratio.make_columns(trainer.param_groups, []).values()))


def test_weights_of_norm_zero_have_no_ratio() -> None:
    params = FlatParameters([nn.Parameter(torch.zeros(3))])
    before = params.data.clone()
    params.data.add_(0.1)
    assert update_ratio.compute_update_ratio(params, before).isnan()
    assert update_ratio.compute_update_ratio(params, params.data / 2) == 1
