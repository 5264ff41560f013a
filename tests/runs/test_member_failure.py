"""Members of an ensemble that fail, whether they are trained together or one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.in_process import run
from trainer.engine.member_probe import Verdict
from trainer.engine.trainer import Trainer
from trainer.runs import member_runs, run_dir, saved_run, train
from trainer.runs.member_failure import MemberFailure, join_failures
from trainer.utils.errors import ConfigError, NonFiniteError, SystemFault, UserError


def fail_members(monkeypatch: pytest.MonkeyPatch, error: Exception, *seeds: int) -> None:
    """Let the members of these seeds fail in their first step."""
    apply = Trainer.apply_gradient

    def fail(self: Trainer, *arguments: Any) -> None:
        if self.settings.seed in seeds:
            raise error
        apply(self, *arguments)

    monkeypatch.setattr(Trainer, "apply_gradient", fail)


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("is_joint", [True, False])
def test_members_that_fail_do_not_stop_the_others(is_joint: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_runs, "choose_members", lambda *_, **__: Verdict(is_joint, ""))
    path = Path("outputs/some")
    with monkeypatch.context() as patch:
        fail_members(patch, NonFiniteError("loss nan\nrows of the batch: 1"), 0, 2)
        with pytest.raises(UserError) as caught:
            run("ensemble=4", f"hydra.run.dir={path}")
    assert caught.value.exit_code == NonFiniteError.exit_code
    assert str(caught.value).splitlines() == [
        "2 of 4 members failed",
        f"{path}/members/0: loss nan",
        "rows of the batch: 1",
        f"{path}/members/2: loss nan",
    ]
    statuses = [run_dir.read_results(each)["status"] for each in (path, *sorted((path / "members").iterdir()))]
    assert statuses == ["failed", "failed", "finished", "failed", "finished"]
    assert train.resume_run(saved_run.load(path)).test == pytest.approx(run("ensemble=4").test, abs=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_members_whose_rate_is_far_too_high_are_runs_that_failed() -> None:
    with pytest.raises(UserError, match="3 of 3 members failed"):
        run("ensemble=3", "optimizer=sgd", "optimizer.lr=1e30", "hydra.run.dir=outputs/high")
    members = sorted(Path("outputs/high/members").iterdir())
    assert [run_dir.read_results(path)["status"] for path in members] == ["failed"] * 3


def test_an_internal_error_is_reported_as_such() -> None:
    error = AssertionError("a bug")
    assert join_failures({Path("0"): NonFiniteError("nan"), Path("1"): error}, 2) is error


def test_what_rejects_all_members_is_reported_once() -> None:
    errors = [ConfigError("data.path: no such file"), SystemFault("disk full")]
    failures = {Path(str(number)): error for number, error in enumerate(errors)}
    assert join_failures(failures, 2) is errors[0]
    joined = join_failures(failures, 3)
    assert isinstance(joined, MemberFailure)
    assert joined.exit_code == ConfigError.exit_code
    assert str(joined).splitlines() == ["2 of 3 members failed", "0: data.path: no such file", "1: disk full"]
