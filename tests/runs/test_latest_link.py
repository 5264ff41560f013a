"""``outputs/latest`` as the argument of a subcommand."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.helpers.in_process import send_signal_at
from trainer.config import compose
from trainer.runs import run_dir, saved_run, train
from trainer.utils.errors import Interrupted

OVERRIDES = ("model=mlp", "data=moons", "data.rows=40", "epochs=4", "draw=false", "hydra.run.dir=outputs/day/a")


@pytest.mark.slow
@pytest.mark.parametrize("link", ["outputs/latest", "absolute"])
def test_interrupted_run_is_resumed_through_the_latest_link(
    link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        send_signal_at(patched, 2, signal.SIGINT)
        with pytest.raises(Interrupted):
            train.run(compose.compose(OVERRIDES))
    path = Path("outputs/latest") if link == "outputs/latest" else tmp_path / "outputs/latest"
    assert path.readlink() == Path("day/a")
    result = train.resume_run(saved_run.load(path))
    assert (result.status, Path(result.run_dir).name) == ("finished", "a")
    assert path.readlink() == Path("day/a")
    assert run_dir.read_results(path)["status"] == "finished"
