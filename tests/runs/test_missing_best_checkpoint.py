"""Missing or corrupt best weights of a finished run: restored from the last checkpoint, or an error."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.in_process import run
from tests.helpers.marks import mark_slow_after
from trainer.cli import main
from trainer.engine import checkpoint
from trainer.inference import evaluate
from trainer.runs import saved_run
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")

LAST_IS_BEST = ("max_steps=3", "val_every=50")
"""One validation, at the end: the last weights are the best."""
FIRST_IS_BEST = ("epochs=3", "optimizer.lr=1e-20")
"""The first of three validations is the best."""


def remove(file: Path) -> None:
    file.unlink()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-500])


def replace_by_other_run(file: Path) -> None:
    shutil.copy(Path(run("seed=5", *FIRST_IS_BEST).run_dir, file.name), file)


def edit_step(file: Path) -> None:
    best = checkpoint.load_checkpoint(file)
    torch.save(best | {"epoch": 2, "step": 6}, file)


@pytest.mark.slow
def test_weights_in_the_last_checkpoint_are_restored(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(run(*LAST_IS_BEST).run_dir)
    before, curves = checkpoint.load_checkpoint(path / "best.pt"), (path / "curves.png").read_bytes()
    (path / "best.pt").unlink()
    assert main.run_command(["resume", str(path)]) == 0
    assert "without best.pt; restoring them" in capsys.readouterr().out
    after = checkpoint.load_checkpoint(path / "best.pt")
    assert before.keys() == after.keys()
    assert all(torch.equal(after["task"][name], value) for name, value in before["task"].items())
    assert [after[key] for key in before if key not in ("task", "data")] == [
        before[key] for key in before if key not in ("task", "data")
    ]
    assert (path / "curves.png").read_bytes() == curves
    evaluate.evaluate_run(saved_run.load(path))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, r"no checkpoint: .*best\.pt does not exist"),
        (truncate, r"best\.pt is not a complete checkpoint"),
        (replace_by_other_run, r"config\.yaml: seed is 0; best\.pt has 5"),
        (edit_step, r"best\.pt: epoch is 2; last\.pt has 1"),
    ],
)
@pytest.mark.parametrize("resume", mark_slow_after(1, ["resume=auto", "resume="]))
def test_lost_weights_are_reported(damage: Callable[[Path], None], message: str, resume: str) -> None:
    path = Path(run(*FIRST_IS_BEST).run_dir)
    damage(path / "best.pt")
    before = (path / "best.pt").read_bytes() if (path / "best.pt").exists() else None
    with pytest.raises(ConfigError, match=message) as caught:
        run(*FIRST_IS_BEST, resume if resume == "resume=auto" else f"resume={path}")
    lost = "it cannot be restored: the best weights were those of step 3, and last.pt contains those of step 9"
    assert lost in str(caught.value)
    assert before is None or (path / "best.pt").read_bytes() == before


def test_best_ema_weights_are_not_restored_from_other_weights() -> None:
    path = Path(run(*LAST_IS_BEST, "ema=0.5").run_dir)
    (path / "best.pt").unlink()
    with pytest.raises(ConfigError, match=r"last\.pt contains those before they were averaged"):
        run(*LAST_IS_BEST, "ema=0.5", "resume=auto")


def test_corrupt_best_checkpoint_is_not_overwritten() -> None:
    path = Path(run(*LAST_IS_BEST).run_dir)
    truncate(path / "best.pt")
    before = (path / "best.pt").read_bytes()
    with pytest.raises(ConfigError, match=r"last\.pt contains the same weights: remove .*best\.pt"):
        run(*LAST_IS_BEST, "resume=auto")
    assert (path / "best.pt").read_bytes() == before


def test_finished_run_without_checkpoints_raises() -> None:
    path = Path(run(*FIRST_IS_BEST).run_dir)
    for file in path.glob("*.pt"):
        file.unlink()
    with pytest.raises(ConfigError, match=r"there is no last\.pt either"):
        run(*FIRST_IS_BEST, "resume=auto")
