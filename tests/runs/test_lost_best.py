"""A finished run whose best weights are gone says so, and makes them again where another of its files holds them."""

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
from trainer.runs import evaluate, saved_run
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")

IMPROVED = ("max_steps=3", "val_every=50")
"""One validation, at the end: the last weights are the best."""
UNCHANGED = ("epochs=3", "optimizer.lr=1e-20")
"""The first validation is the best, and no later one."""


def remove(file: Path) -> None:
    file.unlink()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-500])


def swap(file: Path) -> None:
    shutil.copy(Path(run("seed=5", *UNCHANGED).folder, file.name), file)


def age(file: Path) -> None:
    best = checkpoint.load_checkpoint(file)
    torch.save(best | {"epoch": 2, "step": 6}, file)


def test_weights_in_the_last_checkpoint_are_restored(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(run(*IMPROVED).folder)
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
    ("harm", "said"),
    [
        (remove, r"no checkpoint: .*best\.pt does not exist"),
        (truncate, r"best\.pt is not a complete checkpoint"),
        (swap, r"config\.yaml: seed is 0; best\.pt has 5"),
        (age, r"best\.pt: epoch is 2; last\.pt has 1"),
    ],
)
@pytest.mark.parametrize("word", mark_slow_after(1, ["resume=auto", "resume="]))
def test_lost_weights_are_reported(harm: Callable[[Path], None], said: str, word: str) -> None:
    path = Path(run(*UNCHANGED).folder)
    harm(path / "best.pt")
    before = (path / "best.pt").read_bytes() if (path / "best.pt").exists() else None
    with pytest.raises(ConfigError, match=said) as caught:
        run(*UNCHANGED, word if word == "resume=auto" else f"resume={path}")
    lost = "it cannot be restored: the best weights were those of step 3, and last.pt contains those of step 9"
    assert lost in str(caught.value)
    assert before is None or (path / "best.pt").read_bytes() == before


def test_ema_weights_are_not_mistaken_for_weights() -> None:
    path = Path(run(*IMPROVED, "ema=0.5").folder)
    (path / "best.pt").unlink()
    with pytest.raises(ConfigError, match=r"last\.pt contains those before they were averaged"):
        run(*IMPROVED, "ema=0.5", "resume=auto")


def test_a_corrupt_file_is_not_overwritten() -> None:
    path = Path(run(*IMPROVED).folder)
    truncate(path / "best.pt")
    with pytest.raises(ConfigError, match=r"last\.pt contains the same weights: remove .*best\.pt"):
        run(*IMPROVED, "resume=auto")


def test_without_any_checkpoint_nothing_can_be_done() -> None:
    path = Path(run(*UNCHANGED).folder)
    for file in path.glob("*.pt"):
        file.unlink()
    with pytest.raises(ConfigError, match=r"there is no last\.pt either"):
        run(*UNCHANGED, "resume=auto")
