"""Values of schedules that depend on the optimizer and on global keys, checked before torch is imported."""

from __future__ import annotations

import pytest

from trainer.config import compose
from trainer.utils.errors import ConfigError

MOONS = ("model=mlp", "data=moons", "optimizer.lr=0.01")


@pytest.mark.parametrize(
    ("scheduler", "key"),
    [("cosine", "min_lr"), ("plateau", "min_lr"), ("wsd", "min_lr"), ("cosine_restarts", "eta_min")],
)
def test_the_lowest_rate_is_not_above_the_highest(scheduler: str, key: str) -> None:
    words = [*MOONS, f"scheduler={scheduler}"]
    assert compose.compose([*words, f"scheduler.{key}=0.01"]).tree["scheduler"][key] == 0.01
    reason = rf"scheduler\.{key}: 0\.02 given; it must not be above optimizer\.lr, which is 0\.01"
    with pytest.raises(ConfigError, match=reason):
        compose.compose([*words, f"scheduler.{key}=0.02"])


def test_a_second_average_of_the_weights_is_refused() -> None:
    words = [*MOONS, "scheduler=schedule_free"]
    assert compose.compose([*words, "ema=null"]).settings.ema is None
    with pytest.raises(ConfigError, match=r"ema: 0\.9 given; scheduler=schedule_free averages the weights itself"):
        compose.compose([*words, "ema=0.9"])
    assert compose.compose([*MOONS, "scheduler=wsd", "ema=0.9"]).settings.ema == 0.9
