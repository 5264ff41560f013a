"""``debug=fast`` and ``debug=overfit`` where they have no effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer.config import compose, debug_keys
from trainer.runs import overfit_run, run_overrides, sweep
from trainer.utils.errors import ConfigError

SMALL = ("model=mlp", "data=moons", "data.rows=300", "model.hidden=[4]", "threads=1")


@pytest.mark.parametrize("key", ["epochs=2", "budget=1m", "resume=auto"])
def test_keys_without_effect_on_overfit_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key.partition('=')[0]}: .*debug=overfit"):
        compose.compose([*SMALL, "debug=overfit", key], is_single_run=True)


def test_a_sweep_of_overfit_is_refused_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        sweep.run_sweep([*SMALL, "debug=overfit", "seed=0,1,2"], [])
    assert caught.value.problems == (debug_keys.NO_RUN,)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (["max_steps=null"], overfit_run.DEFAULT_STEPS),
        (["max_steps=7"], 7),
        (["experiment=short"], 9),
    ],
)
def test_the_most_steps_of_overfit(
    overrides: list[str], steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reached(Exception):
        pass

    def record(_: object, given: int) -> Any:
        assert given == steps
        raise Reached

    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "short.yaml").write_text("# @package _global_\nmax_steps: 9\n")
    monkeypatch.setattr(overfit_run, "make_overfit_config", record)
    config = compose.compose([*SMALL, "debug=overfit", *overrides], [tmp_path], is_single_run=True)
    with pytest.raises(Reached):
        overfit_run.check_overfit(config)


@pytest.mark.parametrize("value", ["fast", "overfit"])
def test_a_run_that_is_used_again_refuses_it(value: str) -> None:
    config = compose.compose(SMALL)
    with pytest.raises(ConfigError, match=f"debug: {value} given, but the run was started without debug=fast"):
        run_overrides.with_verb_overrides(config, [f"debug={value}"])
    with pytest.raises(ConfigError, match="debug: fast given"):
        run_overrides.with_runtime_overrides(config, compose.compose([*SMALL, "debug=fast"]))
    assert run_overrides.with_verb_overrides(config, ["debug=true"]).settings.debug is True
