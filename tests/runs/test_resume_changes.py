"""A run is resumed with another configuration: what is refused, and the new run that continues with changes."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.helpers.commands import SMALL
from tests.helpers.digest import digest
from tests.helpers.in_process import read_metrics, run, send_signal_at
from trainer.config import compose
from trainer.engine import checkpoint
from trainer.runs import resume, resume_changes, run_dir, saved_run, train
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError, Interrupted, SystemFault

pytestmark = pytest.mark.usefixtures("in_tmp")

RUN = Path("outputs/a")
STEPS = 3
"""Steps of an epoch."""


def interrupt(*overrides: str, step: int = 4) -> None:
    """Start a run of four epochs, and interrupt it in the second one."""
    with pytest.MonkeyPatch.context() as patch:
        send_signal_at(patch, step, signal.SIGINT)
        with pytest.raises(Interrupted):
            run("epochs=4", "model.dropout=0.2", f"hydra.run.dir={RUN}", *overrides)


def resume_with(*overrides: str) -> Result:
    return run("epochs=4", f"resume={RUN}", "hydra.run.dir=outputs/b", *overrides)


def read_files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file() and file.name != run_dir.LOG_FILE}


@pytest.mark.slow
def test_every_change_is_listed_with_both_values() -> None:
    interrupt()
    before = read_files(RUN)
    with pytest.raises(ConfigError) as caught:
        resume_with("optimizer.lr=0.5", "seed=3", "batch_size=32", "grad_clip=1", "device=cpu", "num_workers=0")
    assert caught.value.problems == (
        "batch_size: 64 -> 32",
        "optimizer.lr: 0.003 -> 0.5",
        "seed: 0 -> 3",
        "grad_clip: null -> 1",
        "a resumed run continues as it was configured; resume_allow=[optimizer.lr,seed,grad_clip] continues it with"
        " these changes as a new run",
        f"batch_size: the saved state belongs to the former value; init_from={RUN} starts a new run from its best"
        " weights",
    )
    assert read_files(RUN) == before
    assert not Path("outputs/b").exists()


@pytest.mark.slow
def test_a_change_of_shapes_is_explained_before_and_after_it_is_allowed() -> None:
    interrupt()
    hint = f"model.hidden: if the shapes of weights depend on it, init_from={RUN} starts a new run"
    with pytest.raises(ConfigError) as caught:
        resume_with("model.hidden=[5]")
    assert caught.value.problems[-1].startswith(hint)
    with pytest.raises(ConfigError) as caught:
        run("epochs=4", f"resume={RUN}", "hydra.run.dir=outputs/day/b", "model.hidden=[5]", "resume_allow=[model]")
    assert caught.value.problems[-1].startswith(hint)
    assert not Path("outputs/day").exists(), "what the rejected run has created is removed"
    with pytest.raises(ConfigError) as caught:
        resume_with("optimizer.lr=0.5")
    assert not any("shapes" in problem for problem in caught.value.problems)


@pytest.mark.slow
@pytest.mark.parametrize("override", ["data.rows=200", "optimizer=sgd", "accumulate=2", "bucket=1", "monitor=loss"])
def test_changes_that_do_not_fit_the_state_are_never_allowed(override: str) -> None:
    interrupt()
    key = override.split("=")[0]
    with pytest.raises(ConfigError, match=rf"^{key}: .* -> .*\n{key}: the saved state belongs to the former value"):
        resume_with(override, f"resume_allow=[{key}]")


@pytest.mark.slow
def test_an_allowed_change_continues_as_a_new_run(capsys: pytest.CaptureFixture[str]) -> None:
    interrupt()
    before, old = read_files(RUN), checkpoint.load_checkpoint(RUN / checkpoint.LAST)
    capsys.readouterr()
    result = resume_with("optimizer.lr=0.5", "resume_allow=[optimizer.lr]")
    output = capsys.readouterr().out
    assert f"{RUN} continues at step 4 as a new run, in outputs/b\noptimizer.lr: 0.003 -> 0.5\n" in output
    assert read_files(RUN) == before
    assert (result.status, result.epochs, result.steps) == ("finished", 4, 4 * STEPS)
    rows = read_metrics(Path("outputs/b"))
    assert [float(row["lr_model"]) for row in rows] == [0.003, 0.5, 0.5, 0.5]
    state = checkpoint.load_checkpoint(Path("outputs/b", checkpoint.LAST))
    assert state["history"][0] == old["history"][0]
    changes = ["optimizer.lr: 0.003 -> 0.5 at step 4"]
    assert state["run_metadata"]["changes"] == run_dir.read_results(Path("outputs/b"))["changes"] == changes
    assert "changes" not in run_dir.read_results(RUN)
    assert result.overrides[-1] == "optimizer.lr=0.5"
    assert saved_run.load(Path("outputs/b")).tree["optimizer"]["lr"] == 0.5
    assert train.resume_run(saved_run.load(Path("outputs/b"))).test == result.test
    other = run("epochs=4", "model.dropout=0.2", "optimizer.lr=0.5", "resume=auto")
    assert other.run_dir not in (str(RUN), "outputs/b"), "the continued run is of another configuration"


@pytest.mark.slow
def test_a_changed_run_that_is_interrupted_resumes_to_the_same_bits() -> None:
    interrupt()
    overrides = ("optimizer.lr=0.05", "seed=5", "resume_allow=[optimizer,seed]")
    whole = run("epochs=4", f"resume={RUN}", "hydra.run.dir=outputs/whole", *overrides)
    with pytest.MonkeyPatch.context() as patch:
        send_signal_at(patch, 7, signal.SIGTERM)
        with pytest.raises(Interrupted):
            resume_with(*overrides)
    again = train.resume_run(saved_run.load(Path("outputs/b")))
    assert (again.test, again.changes) == (whole.test, whole.changes)
    assert read_metrics(Path("outputs/b")) == read_metrics(Path("outputs/whole"))
    states = [checkpoint.load_checkpoint(Path("outputs", name, checkpoint.LAST)) for name in ("b", "whole")]
    assert digest(states[0]) == digest(states[1])
    assert states[0]["run_metadata"]["identity"] == states[1]["run_metadata"]["identity"]


@pytest.mark.slow
@pytest.mark.parametrize("finished", [True, False])
def test_a_longer_run_equals_one_of_that_length(finished: bool) -> None:
    whole = run("epochs=4", "model.dropout=0.2", "hydra.run.dir=outputs/whole")
    if finished:
        run("epochs=2", "model.dropout=0.2", f"hydra.run.dir={RUN}")
    else:
        interrupt("epochs=2")
    longer = resume_with("model.dropout=0.2")
    assert longer.test == whole.test
    assert read_metrics(Path("outputs/b")) == read_metrics(Path("outputs/whole"))
    weights = [checkpoint.load_checkpoint(Path("outputs", name, checkpoint.LAST))["task"] for name in ("b", "whole")]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())


@pytest.mark.slow
def test_a_schedule_of_the_length_is_not_stretched_silently() -> None:
    interrupt("epochs=2", "scheduler=onecycle")
    with pytest.raises(ConfigError) as caught:
        resume_with("model.dropout=0.2")
    assert caught.value.problems[0] == "epochs: 2 -> 4"
    assert caught.value.problems[1].startswith("scheduler=onecycle depends on the length of the run")
    for overrides in (["scheduler=onecycle"], ["resume_allow=[epochs]"]):
        assert resume_with(*overrides).epochs == 4


@pytest.mark.slow
@pytest.mark.parametrize("step", [None, 6])
def test_a_run_that_max_steps_ended_inside_an_epoch_continues_with_the_next(step: int | None) -> None:
    """The changed run, and one that was interrupted again inside an epoch, lack the steps that were left out."""
    run("max_steps=4", f"hydra.run.dir={RUN}")
    words = ("max_steps=11", f"resume={RUN}", "hydra.run.dir=outputs/b")
    if step is None:
        assert run(*words).steps == 11
    else:
        with pytest.MonkeyPatch.context() as patch:
            send_signal_at(patch, step, signal.SIGINT)
            with pytest.raises(Interrupted):
                run(*words)
        assert train.resume_run(saved_run.load(Path("outputs/b"))).steps == 11
    rows = read_metrics(Path("outputs/b"))
    assert [(row["epoch"], row["step"]) for row in rows] == [
        ("1", "3"),
        ("2", "4"),
        ("3", "7"),
        ("4", "10"),
        ("5", "11"),
    ]


@pytest.mark.slow
def test_a_run_that_early_stopping_ended_continues_with_more_patience() -> None:
    words = ("epochs=4", "optimizer.lr=1e-12")
    assert run(*words, "patience=1", f"hydra.run.dir={RUN}").epochs == 2
    more = ("patience=3", "resume_allow=[patience]", f"resume={RUN}", "hydra.run.dir=outputs/b")
    assert run(*words, *more).epochs == 4
    longer = ("patience=1", "epochs=6", f"resume={RUN}", "hydra.run.dir=outputs/c")
    assert run(words[1], *longer).epochs == 2, "without more patience, it ends at once"


@pytest.mark.slow
def test_a_requeued_job_must_not_continue_the_same_run_with_changes_again() -> None:
    interrupt()
    words = [*SMALL, "epochs=4"]
    found = [
        resume_changes.continues_itself(compose.compose([*words, *more]))
        for more in ([], ["resume=auto"], [f"resume={RUN}"], [f"resume={RUN}", "seed=5", "resume_allow=[seed]"])
    ]
    assert found == [False, True, True, False]


@pytest.mark.slow
def test_a_rejected_change_leaves_no_directory() -> None:
    interrupt()
    with pytest.raises(ConfigError, match=r"task\.model\.\S+: float32 \[\S+, \d+\]; the model has"):
        resume_with("model.hidden=[7]", "resume_allow=[model.hidden]")
    assert not Path("outputs/b").exists()
    with pytest.raises(ConfigError, match=r"resume_allow: optimiser\.lr is not changed; did you mean optimizer\.lr"):
        resume_with("optimizer.lr=0.5", "resume_allow=[optimiser.lr]")
    with pytest.raises(ConfigError, match="resume_allow: it has no effect without resume=RUN"):
        run("resume_allow=[seed]")


@pytest.mark.slow
def test_a_full_disk_leaves_no_directory_that_looks_like_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt()
    save = checkpoint.save_checkpoint

    def fail_at_last(state: dict[str, object], path: Path) -> None:
        if path.name == checkpoint.LAST:
            assert not saved_run.is_run_dir(path.parent)
            raise SystemFault("no space")
        save(state, path)

    monkeypatch.setattr(checkpoint, "save_checkpoint", fail_at_last)
    with pytest.raises(SystemFault, match="no space"):
        resume_with("seed=5", "resume_allow=[seed]")
    assert not Path("outputs/b").exists()


@pytest.mark.slow
def test_changed_packages_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    interrupt()
    train.resume_run(saved_run.load(RUN))
    assert "the code has changed" not in caplog.text
    state = checkpoint.load_checkpoint(RUN / checkpoint.LAST)
    result = Result.read(RUN)
    result.versions = result.versions | {"torch": "9.9"}
    resume.warn_of_changed_code(state, result)
    version = state["run_metadata"]["versions"]["torch"]
    assert f"the code has changed since the run was saved: torch {version} -> 9.9" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "schedule"),
    [
        (("model=vae", "model.hidden=[4]", "data=moons", "task.beta_warmup=0.7"), "task.beta_warmup=0.7"),
        (("model=vae", "model.hidden=[4]", "data=moons", "task.beta_warmup=0.4"), ""),
        (("model=seq2seq", "data=reverse", "task.teacher_forcing=linear"), "task.teacher_forcing=linear"),
        (("model=seq2seq", "data=reverse", "task.teacher_forcing=0.5"), ""),
    ],
    ids=["during warm-up", "after warm-up", "schedule", "constant"],
)
def test_a_longer_run_says_which_schedules_of_its_task_go_back(
    overrides: tuple[str, ...], schedule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*overrides, "data.rows=100", "max_steps=3", "scheduler=constant", "threads=1", "draw=false")
    train.run(compose.compose([*words, f"hydra.run.dir={RUN}"]))
    longer = [*words, "max_steps=6", "hydra.run.dir=outputs/b"]
    train.run(compose.compose([*longer, f"resume={RUN}"]))
    text = f"{schedule} is a schedule over the length of the run, which has changed: it continues at 50% of the new"
    output = capsys.readouterr().out
    assert output.count("is a schedule over the length of the run") == bool(schedule)
    assert not schedule or text in output


def test_an_option_of_a_schedule_may_be_missing_in_the_configuration() -> None:
    task = SimpleNamespace(progress_options=("warmup", "beta_warmup"))
    trainer: Any = SimpleNamespace(step=3, total_steps=6, task=task)
    config: Any = SimpleNamespace(changes=["max_steps: 3 -> 6 at step 3"], tree={"task": {"warmup": 0.8}})
    (line,) = resume_changes.describe_moved_schedules(trainer, config)
    assert line.startswith("task.warmup=0.8 is a schedule")
