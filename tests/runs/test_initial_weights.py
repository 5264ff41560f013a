"""``init_from``: runs that start from the weights of another run or of a file."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.helpers.bases import RUN_BASES, write_files
from tests.helpers.commands import find_runs
from tests.helpers.in_process import call_main, read_metrics, run, run_main, send_signal_at
from tests.helpers.marks import mark_slow_after
from trainer.config import compose
from trainer.engine import checkpoint
from trainer.runs import saved_run, train
from trainer.utils.errors import Interrupted

pytestmark = pytest.mark.usefixtures("in_tmp")
DIGITS = ("model=mlp", "data=digits", "data.size=8", "model.hidden=[16]", "epochs=1", "threads=1", "augment=none")
SHORT = ("threads=1", "draw=false")


def train_digits(*overrides: str) -> Path:
    keys = {text.partition("=")[0] for text in overrides}
    kept = [text for text in DIGITS if text.partition("=")[0] not in keys]
    return Path(train.run(compose.compose([*kept, "draw=false", *overrides])).run_dir)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = checkpoint.load_checkpoint(path / checkpoint.BEST)["task"]
    return weights


def read_test_scores(path: Path) -> dict[str, float]:
    scores: dict[str, float] = json.loads((path / "results.json").read_text())["test"]
    return scores


@pytest.mark.slow
@pytest.mark.parametrize(
    "base", mark_slow_after(1, sorted(RUN_BASES.keys() - {"pictures"}, key=lambda name: (name != "mlp", name)))
)
def test_without_training_the_scores_are_those_of_the_source(base: str) -> None:
    """The best weights are copied, which are averages with ``ema``, and data are encoded as in the source."""
    write_files(Path())
    length = ["max_steps=2"] if base == "text" else ["epochs=1"]
    kept = [text for text in RUN_BASES[base] if not text.startswith("max_steps")]
    source = train.run(compose.compose([*kept, *length, *SHORT])).run_dir
    fresh, copied = (
        train.run(compose.compose([*kept, "epochs=0", *SHORT, *more])).run_dir
        for more in (["seed=1"], ["seed=0", f"init_from={source}"])
    )
    assert read_test_scores(Path(copied)) == read_test_scores(Path(source))
    assert read_test_scores(Path(copied)) != read_test_scores(Path(fresh))


@pytest.mark.slow
def test_the_head_stays_fresh_for_as_many_other_classes(capsys: pytest.CaptureFixture[str]) -> None:
    source = read_weights(train_digits("data.classes=[0,1,2]", "hydra.run.dir=source"))
    capsys.readouterr()
    path = train_digits("data.classes=[3,4,5]", "init_from=source", "epochs=0", "seed=7")
    line = "fresh (other classes: 3, 4, 5 instead of 0, 1, 2): model.head.bias, model.head.weight"
    assert line in capsys.readouterr().out
    assert line in (path / "train.log").read_text()
    scratch, weights = read_weights(train_digits("data.classes=[3,4,5]", "epochs=0", "seed=7")), read_weights(path)
    for name, value in weights.items():
        is_head = name.startswith("model.head.")
        assert torch.equal(value, (scratch if is_head else source)[name]), name
        assert not torch.equal(value, (source if is_head else scratch)[name]), "the test could not fail"


@pytest.mark.slow
def test_the_head_stays_fresh_for_more_classes() -> None:
    source = train_digits("data.classes=[0,1,2]")
    other = train_digits("data.classes=[3,4,5,6]", f"init_from={source}", "epochs=0")
    assert torch.equal(read_weights(other)["model.layers.0.weight"], read_weights(source)["model.layers.0.weight"])
    assert len(read_weights(other)["model.head.bias"]) == 4


@pytest.mark.slow
def test_named_and_frozen_parameters() -> None:
    source = train_digits("data.classes=[0,1,2]")
    path = train_digits(
        *("data.classes=[3,4,5]", f"init_from={source}", 'init_skip=["layers.0.bias"]', 'freeze=["layers.0.*"]'),
        'optimizer.groups=[{match:"head.*",lr_scale:10}]',
    )
    scratch, weights = read_weights(train_digits("data.classes=[3,4,5]", "epochs=0")), read_weights(path)
    assert torch.equal(weights["model.layers.0.weight"], read_weights(source)["model.layers.0.weight"])
    assert torch.equal(weights["model.layers.0.bias"], scratch["model.layers.0.bias"])
    assert not torch.equal(weights["model.head.weight"], scratch["model.head.weight"])


@pytest.mark.slow
def test_a_safetensors_file_and_a_folder_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    source = train_digits("data.classes=[0,1,2]")
    Path("hub").mkdir()
    save_file(read_weights(source), "hub/model.safetensors")
    save_file({name.removeprefix("model."): value for name, value in read_weights(source).items()}, "m.safetensors")
    capsys.readouterr()
    for name in ("m.safetensors", "hub"):
        path = train_digits("data.classes=[0,1,2]", f"init_from={name}", "epochs=0", "seed=3")
        assert read_test_scores(path) == read_test_scores(source)
        assert "classes: taken for those of the source" in capsys.readouterr().out


@pytest.mark.slow
def test_a_resumed_run_needs_its_source_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    source = run().run_dir
    key = f"init_from={source}"
    whole = read_metrics(Path(run(key, "epochs=4", "seed=1").run_dir))
    send_signal_at(monkeypatch, 5, signal.SIGTERM)
    with pytest.raises(Interrupted):
        run(key, "epochs=4", "seed=1", "hydra.run.dir=part")
    shutil.rmtree(source)
    config = saved_run.load(Path("part"))
    assert yaml.safe_load(Path("part/config.yaml").read_text())["init_from"] == str(Path(source).resolve())
    result = train.resume_run(config)
    assert result.status == "finished"
    assert read_metrics(Path("part")) == whole
    assert json.loads(Path("part/results.json").read_text())["identity"] == result.identity


@pytest.mark.slow
def test_a_run_is_found_again_by_the_contents_of_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(run().run_dir)
    first = run(f"init_from={source}", "seed=1", "resume=auto")
    source.rename("moved")
    again = run("init_from=moved", "seed=1", "resume=auto")
    assert (again.run_dir, again.identity) == (first.run_dir, first.identity)
    assert "nothing to do" in capsys.readouterr().out
    other = run(f"init_from={run('seed=5').run_dir}", "seed=1", "resume=auto")
    assert other.identity != first.identity


@pytest.mark.slow
def test_a_sweep_over_sources(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (1, 2):
        run(f"seed={seed}", f"hydra.run.dir=source{seed}")
    words = ("-m", "model=mlp", "data=moons", "data.rows=300", "model.hidden=[4]", "epochs=0", "draw=false")
    code, out, _ = call_main(capsys, monkeypatch, *words, "init_from=null,source1,source2", "resume=auto")
    assert code == 0
    assert "init_from" in out
    runs = find_runs(Path("outputs/sweeps"))
    assert [path.name for path in runs] == ["0-init_from=null", "1-init_from=source1", "2-init_from=source2"]
    for seed, path in enumerate(runs[1:], 1):
        assert read_test_scores(path) == read_test_scores(Path(f"source{seed}"))
    code, out, _ = call_main(capsys, monkeypatch, *words, "init_from=null,source1,source2", "resume=auto")
    assert (code, find_runs(Path("outputs/sweeps"))) == (0, runs)


# Sources that are refused.


def list_files() -> list[Path]:
    return sorted(path for path in Path().rglob("*") if path.name != ".lock")


def assert_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, message: str, *overrides: str
) -> None:
    before = list_files()
    code, err = run_main(capsys, monkeypatch, "model=mlp", "data=moons", "data.rows=300", *SHORT, *overrides)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert list_files() == before


@pytest.mark.slow
def test_refused_sources(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(run("hydra.run.dir=source").run_dir)
    Path("empty").mkdir()
    save_file({"other.weight": torch.zeros(3)}, "other.safetensors")
    Path("text.safetensors").write_text("not tensors")
    cases = {
        "empty": "is neither a run directory, nor a file FILE.safetensors, nor a folder with model.safetensors",
        "source/best.pt": "; init_from=" + str(source.absolute()) + " takes the best weights of its run",
        "source/config.yaml": "is neither a run directory",
        "other.safetensors": "no parameter of the model fits",
        "text.safetensors": "is not a safetensors file, or it is damaged",
    }
    for name, message in cases.items():
        assert_refused(capsys, monkeypatch, message, f"init_from={name}")
    assert_refused(capsys, monkeypatch, "init_from: null -> ", "resume=source", "init_from=other.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("change", mark_slow_after(1, ["code", "truncated", "no best", "edited", "mixed"]))
def test_damaged_runs_are_refused(
    change: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(run("hydra.run.dir=source").run_dir)
    best = source / checkpoint.BEST
    message = "init_from: "
    if change == "code":
        torch.save({"task": {"w": torch.zeros(2)}, "more": print}, best)
        message += f"{best.resolve()} refused: it contains code"
    elif change == "truncated":
        best.write_bytes(best.read_bytes()[:-100])
        message += f"{best.resolve()} is not a complete checkpoint"
    elif change == "no best":
        best.unlink()
        (source / "results.json").write_text((source / "results.json").read_text().replace("finished", "interrupted"))
        message += f"{source.resolve()} (interrupted) has no best weights, as no validation was completed; train resume"
    elif change == "edited":
        state = torch.load(best, weights_only=True)
        state["task"]["model.layers.0.bias"][0] = torch.nan
        torch.save(state, best)
        message += f"{best.resolve()}: model.layers.0.bias: contains values that are not finite"
    else:
        shutil.copy(Path(run("model.hidden=[5]").run_dir, checkpoint.BEST), best)
        message += f"{(source / 'config.yaml').resolve()}: model.hidden is [4]"
    assert_refused(capsys, monkeypatch, message, f"init_from={source}")


@pytest.mark.slow
def test_an_unfinished_run_gives_its_best_weights_so_far(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    send_signal_at(monkeypatch, 5, signal.SIGTERM)
    with pytest.raises(Interrupted):
        run("epochs=4", "hydra.run.dir=part")
    path = Path(run("init_from=part", "epochs=0").run_dir)
    assert "(best weights, epoch 1 so far, as the run is interrupted)" in capsys.readouterr().out
    assert torch.equal(read_weights(path)["model.layers.0.bias"], read_weights(Path("part"))["model.layers.0.bias"])
