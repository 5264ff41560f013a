"""No flat key is dead: each changes something, or is refused with a reason."""

from __future__ import annotations

from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.commands import SMALL
from tests.helpers.in_process import read_metrics, run
from tests.helpers.lab import lab
from tests.helpers.tiny import losses_of
from trainer.config import compose
from trainer.config.schema import Settings
from trainer.engine import dataset_loading, factory
from trainer.runs import evaluate, saved_run, train
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")


CHANGES: dict[str, tuple[str, str]] = {
    "epochs": ("epochs=3", "epochs"),
    "max_steps": ("max_steps=4", "steps"),
    "batch_size": ("batch_size=32", "steps"),
    "drop_last": ("drop_last=true", "steps"),
    "bucket": ("bucket=1", "elsewhere"),
    "init": ("init=orthogonal", "metrics"),
    "channels_last": ("channels_last=true", "refused: only for images .*; data moons gives x"),
    "seed": ("seed=1", "val"),
    "precision": ("precision=bf16", "metrics"),
    "accumulate": ("accumulate=2", "steps"),
    "grad_clip": ("grad_clip=1e-3", "metrics"),
    "ema": ("ema=0.9", "metrics"),
    "freeze": ("freeze=['head.*']", "metrics"),
    "monitor": ("monitor=nll", "monitor"),
    "val_every": ("val_every=2", "metrics"),
    "threads": ("threads=2", "threads"),
    "device": ("device=gpu", "refused: 'gpu' given; it must be one of auto, cpu, cuda, mps"),
    "data_dir": ("data_dir=/nope", "elsewhere"),
    "grad_clip_mode": ("grad_clip_mode=value", "elsewhere"),
    "patience": ("patience=1", "elsewhere"),
    "compile": ("compile=true", "elsewhere"),
    "num_workers": ("num_workers=1", "elsewhere"),
    "worker_timeout": ("worker_timeout=5", "elsewhere"),
    "save_every": ("save_every=0", "elsewhere"),
    "log_every": ("log_every=2", "elsewhere"),
    "draw": ("draw=false", "elsewhere"),
    "draw_seconds": ("draw_seconds=0", "elsewhere"),
    "jobs": ("jobs=1", "elsewhere"),
    "resume": ("resume=/nope", "refused: is not a run directory"),
    "fingerprint": ("fingerprint=exact", "elsewhere"),
    "allow_changed_data": ("allow_changed_data=true", "elsewhere"),
    "plugins": ("plugins=[nope_at_all]", "refused: no module"),
    "debug": ("debug=true", "elsewhere"),
    "verbose": ("verbose=true", "elsewhere"),
}
"""The flat key, a value of it, and what must differ; ``elsewhere`` is a test of its own below."""


def test_every_global_key_has_a_test() -> None:
    assert set(CHANGES) == {field.name for field in fields(Settings)}
    own = [key for key, (_, what) in CHANGES.items() if what == "elsewhere"]
    assert [key for key in own if f"test_{key}_" not in Path(__file__).read_text()] == []


@cache
def plain() -> dict[str, Any]:
    """What a run without changes came to."""
    result = run()
    return asdict(result) | {"metrics": read_metrics(Path(result.folder))}


@pytest.mark.parametrize("key", [key for key, (_, what) in CHANGES.items() if what != "elsewhere"])
@pytest.mark.slow
def test_a_global_key_has_its_documented_effect(key: str) -> None:
    override, what = CHANGES[key]
    if what.startswith("refused: "):
        with pytest.raises(ConfigError, match=what.removeprefix("refused: ")):
            run(override)
        return
    after = run(override)
    found = read_metrics(Path(after.folder)) if what == "metrics" else getattr(after, what)
    assert found != plain()[what]


def test_grad_clip_mode_clips_each_number() -> None:
    norm, value = run("grad_clip=1e-2"), run("grad_clip=1e-2", "grad_clip_mode=value")
    assert read_metrics(Path(norm.folder)) != read_metrics(Path(value.folder))


def test_patience_stops_a_run_without_improvement() -> None:
    result = run("optimizer.lr=1e-12", "epochs=9", "patience=2")
    assert (result.epochs, result.best_epoch) == (3, 1)


def test_compile_hands_the_loss_to_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    run()
    assert not compiled
    run("compile=true")
    assert [function.__name__ for function in compiled] == ["loss"]


def test_num_workers_and_test_worker_timeout_reach_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.engine import factory

    seen = []
    make = factory.Loader
    monkeypatch.setattr(factory, "Loader", lambda *args, **kinds: seen.append(kinds) or make(*args, **kinds))
    run("num_workers=1", "worker_timeout=5")
    assert {(kinds["workers"], kinds["timeout"]) for kinds in seen} == {(1, 5)}


@pytest.mark.slow
def test_save_every_says_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.engine import checkpoint

    saved: list[str] = []
    save = checkpoint.save_checkpoint
    monkeypatch.setattr(checkpoint, "save_checkpoint", lambda state, path: (saved.append(path.name), save(state, path)))
    run("save_every=1000")
    rarely = saved.count(checkpoint.LAST)
    saved.clear()
    run("save_every=0")
    assert rarely == 1
    assert saved.count(checkpoint.LAST) >= 6


def test_log_every_says_at_which_steps() -> None:
    result = run("logger.csv.steps=true", "log_every=2", "epochs=2")
    lines = Path(result.folder, "steps.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == [2, 4, 6]


def test_data_dir_is_where_real_data_is_looked_for(tmp_path: Path) -> None:
    from trainer.utils.errors import UserError

    with pytest.raises(UserError, match="nowhere_at_all"):
        train.run(compose.compose(["model=gcn", "data=cora", f"data_dir={tmp_path}/nowhere_at_all"]))


def test_draw_false_writes_no_figures() -> None:
    result = run("draw=false")
    assert {path.name for path in Path(result.folder).glob("*.png")} == {"curves.png"}


def test_draw_seconds_limits_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    run("draw_seconds=0")
    assert "not drawn within draw_seconds=0: confusion, roc, mistakes" in capsys.readouterr().out


def test_verbose_prints_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    quiet = capsys.readouterr().out
    run("verbose=true")
    assert "info: " not in quiet
    assert "info: " in capsys.readouterr().out


def test_channels_last_lays_out_images_and_kernels_and_changes_nothing_else() -> None:
    small = ("model=cnn", "data=gratings", "data.rows=200", "model.channels=[4, 8]", "model.dilations=[1]")
    more = ("model.pools=[max]", "max_steps=6", "augment=slides")
    plain, laid = lab(*small, *more), lab(*small, *more, "channels_last=true")
    losses = [losses_of(made.trainer) for made in (plain, laid)]
    torch.testing.assert_close(*map(torch.tensor, losses), atol=1e-4, rtol=0)
    batch = next(laid.loaders["train"].iter_epoch(0)).inputs["x"]
    kernels = [p for p in laid.task.parameters() if p.dim() == 4 and p.shape[1] > 1]
    assert kernels
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in (batch, *kernels))


def test_debug_is_looked_at_by_the_command_and_jobs_by_the_sweep() -> None:
    """``cli/test_main.py`` and ``runs/test_sweep.py`` have them."""
    tests = Path(__file__).parents[1]
    assert "def test_debug_raises" in (tests / "cli" / "test_main.py").read_text()
    assert "def test_jobs_run_in_parallel" in (tests / "runs" / "test_sweep.py").read_text()


test_jobs_are_looked_at_by_the_sweep = test_debug_is_looked_at_by_the_command_and_jobs_by_the_sweep


def test_bucket_reaches_every_loader() -> None:
    composed = compose.compose([*SMALL, "bucket=7"])
    made = factory.make_loaders(
        composed.tree, factory.make_dataset(composed.tree), composed.settings, torch.device("cpu")
    )
    assert [loader.bucket for loader in made.values()] == [7, 7, 7]


def own_table(path: Path, rows: int) -> str:
    lines = [f"{row % 7},{row % 3},{'ab'[row % 2]}" for row in range(rows)]
    path.write_text("x,y,kind\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return f"data.path={path}"


def test_fingerprint_says_how_closely_files_are_looked_at(tmp_path: Path) -> None:
    words = ["model=mlp", "data=csv", own_table(tmp_path / "d.csv", 40), "data.target=kind"]
    for mode in ("sampled", "exact"):
        found = dataset_loading.add_fingerprint(compose.compose([*words, f"fingerprint={mode}"])).fingerprint
        assert found is not None
        assert found["exact"] == (mode == "exact")


@pytest.mark.slow
def test_allow_changed_data_lets_a_run_be_used_on_other_rows(tmp_path: Path) -> None:
    words = ["model=mlp", "data=csv", own_table(tmp_path / "d.csv", 40), "data.target=kind", "epochs=1"]
    path = Path(train.run(compose.compose(words)).folder)
    own_table(tmp_path / "d.csv", 50)
    with pytest.raises(ConfigError, match=r"rows: 40 before, 50 now\n.*allow_changed_data=true"):
        evaluate.evaluate_run(saved_run.load(path))
    assert (
        evaluate.evaluate_run(saved_run.load_from_args("evaluate", [str(path), "allow_changed_data=true"])[0])[
            "accuracy"
        ]
        <= 1
    )
