"""``train evaluate`` and ``train predict`` use the weights of a checkpoint that a run has kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.in_process import call_main, run
from trainer.inference import evaluate
from trainer.runs import run_overrides
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")

KEPT = ("ema=0.9", "keep_every=3", "keep_best=3", "save_every=null")
"""An epoch has three steps."""


def evaluate_checkpoint(name: str) -> dict[str, float]:
    config, rest = run_overrides.load_from_args("evaluate", ["outputs/a", f"checkpoint={name}"])
    assert rest == []
    return evaluate.evaluate_run(config)


@pytest.mark.slow
def test_the_weights_of_a_kept_checkpoint_are_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the first epoch are the weights of a run of one epoch, averaged as in its validation."""
    first = run("epochs=1", "ema=0.9")
    whole = run("epochs=3", *KEPT, "hydra.run.dir=outputs/a")
    assert first.test != whole.test
    capsys.readouterr()
    for name in ("step_3", "best_3"):
        assert evaluate_checkpoint(name) == first.test
    assert evaluate_checkpoint("best") == whole.test
    assert whole.best_epoch == 3
    assert evaluate_checkpoint("last") == evaluate_checkpoint("step_9") == whole.test
    assert "one of the two was changed" not in capsys.readouterr().err


@pytest.mark.slow
def test_the_average_of_schedule_free_learning_is_evaluated() -> None:
    options = ("scheduler=schedule_free", "optimizer=adamw", "optimizer.lr=0.05")
    first = run("epochs=1", *options)
    run("epochs=3", *options, *KEPT[1:], "hydra.run.dir=outputs/a")
    assert evaluate_checkpoint("step_3") == first.test
    assert evaluate_checkpoint("last") == evaluate_checkpoint("step_9") != first.test


@pytest.mark.slow
def test_predictions_of_a_kept_checkpoint(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run("epochs=3", *KEPT, "hydra.run.dir=outputs/a")
    files = []
    for name in ("step_3", "best"):
        output = f"{name}.csv"
        code, _, error = call_main(
            capsys, monkeypatch, "predict", "outputs/a", f"checkpoint={name}", f"output={output}"
        )
        assert code == 0, error
        files.append(Path(output).read_text())
    assert files[0] != files[1]


def test_a_checkpoint_that_does_not_exist_is_refused() -> None:
    run("epochs=1", "keep_every=3", "hydra.run.dir=outputs/a")
    with pytest.raises(ConfigError, match=r"^checkpoint: outputs/a has no step_4\.pt.*; it has best, last, step_3$"):
        evaluate_checkpoint("step_4")
    for name in ("../a/best", "previous", ""):
        with pytest.raises(ConfigError, match=r"^checkpoint: "):
            evaluate_checkpoint(name)
