"""Every global key has an effect or is refused with a reason."""

from __future__ import annotations

import re
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
from trainer.engine.budget import Rate
from trainer.inference import evaluate
from trainer.runs import run_overrides, saved_run, train
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")
CHECKPOINT_KEYS = ("save_every_steps", "keep_last", "keep_every", "keep_best", "on_nonfinite")
CHANGES: dict[str, tuple[str, str]] = {
    "epochs": ("epochs=3", "epochs"),
    "ensemble": ("ensemble=2", "params"),
    "max_steps": ("max_steps=4", "steps"),
    "budget": ("budget=1s", "elsewhere"),
    "batch_size": ("batch_size=32", "steps"),
    "drop_last": ("drop_last=true", "steps"),
    "bucket": ("bucket=1", "elsewhere"),
    "init": ("init=orthogonal", "metrics"),
    "checkpoint_activations": ("checkpoint_activations=true", "refused: model mlp has no repeated blocks"),
    "shard_optimizer": ("shard_optimizer=true", "elsewhere"),
    "strategy": ("strategy=fsdp", "refused: model mlp has no repeated blocks"),
    "channels_last": ("channels_last=true", "refused: only for images .*; data moons gives x"),
    "seed": ("seed=1", "val"),
    "precision": ("precision=bf16", "metrics"),
    "deterministic": ("deterministic=true", "elsewhere"),
    "accumulate": ("accumulate=2", "steps"),
    "grad_clip": ("grad_clip=1e-3", "metrics"),
    "ema": ("ema=0.9", "metrics"),
    "init_from": ("init_from=/nope", "refused: /nope does not exist; the nearest directory that exists is /"),
    "init_skip": ("init_skip=[head]", "refused: it has no effect without init_from"),
    "init_preprocessing": ("init_preprocessing=fit", "refused: it has no effect without init_from"),
    "freeze": ("freeze=['head.*']", "metrics"),
    "match": ("match=params", "refused: params needs target=NUMBER"),
    "target": ("target=50k", "refused: it has no effect without match"),
    "match_keys": ("match_keys=[model.hidden]", "refused: it has no effect without match"),
    "monitor": ("monitor=nll", "monitor"),
    "val_every": ("val_every=2", "metrics"),
    "shards": ("shards=2", "metrics"),
    "devices": ("devices=2", "elsewhere"),
    "exact": ("exact=false", "elsewhere"),
    "process_timeout": ("process_timeout=7", "elsewhere"),
    "threads": ("threads=2", "threads"),
    "device": ("device=gpu", "refused: 'gpu' given; it must be one of auto, cpu, cuda, mps"),
    "data_dir": ("data_dir=/nope", "elsewhere"),
    "grad_clip_mode": ("grad_clip_mode=value", "elsewhere"),
    "patience": ("patience=1", "elsewhere"),
    "compile": ("compile=true", "elsewhere"),
    "num_workers": ("num_workers=1", "elsewhere"),
    "worker_timeout": ("worker_timeout=5", "elsewhere"),
    "save_every": ("save_every=0", "elsewhere"),
    **dict.fromkeys(CHECKPOINT_KEYS, ("", "elsewhere")),
    "log_every": ("log_every=2", "elsewhere"),
    "draw": ("draw=false", "elsewhere"),
    "draw_seconds": ("draw_seconds=0", "elsewhere"),
    "jobs": ("jobs=1", "elsewhere"),
    "jobs_per_device": ("jobs_per_device=2", "elsewhere"),
    "members": ("members=auto", "elsewhere"),
    "resume": ("resume=/nope", "refused: is not a run directory"),
    "resume_allow": ("resume_allow=[seed]", "refused: it has no effect without resume=RUN"),
    "fingerprint": ("fingerprint=exact", "elsewhere"),
    "allow_changed_data": ("allow_changed_data=true", "elsewhere"),
    "plugins": ("plugins=[nope_at_all]", "refused: no module"),
    "debug": ("debug=true", "elsewhere"),
    "verbose": ("verbose=true", "elsewhere"),
}
"""An override of each global key and the result that must differ; ``elsewhere`` means a test of its own below."""


def test_every_global_key_has_a_test() -> None:
    assert set(CHANGES) == {field.name for field in fields(Settings)}
    separate = [key for key, (_, effect) in CHANGES.items() if effect == "elsewhere"]
    source = "".join(path.read_text() for path in Path(__file__).parent.glob("test_schema*.py"))
    assert [key for key in separate if not re.search(rf"^def test_(\w+_)?{key}_", source, re.MULTILINE)] == []


@cache
def run_without_overrides() -> dict[str, Any]:
    """Return the result of a run with the values of ``train.yaml``."""
    result = run()
    return asdict(result) | {"metrics": read_metrics(Path(result.run_dir))}


@pytest.mark.parametrize("key", [key for key, (_, what) in CHANGES.items() if what != "elsewhere"])
@pytest.mark.slow
def test_a_global_key_has_its_documented_effect(key: str) -> None:
    override, effect = CHANGES[key]
    if effect.startswith("refused: "):
        with pytest.raises(ConfigError, match=effect.removeprefix("refused: ")):
            run(override)
        return
    result = run(override)
    actual = read_metrics(Path(result.run_dir)) if effect == "metrics" else getattr(result, effect)
    assert actual != run_without_overrides()[effect]


@pytest.mark.slow
def test_budget_fixes_the_number_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rate, "choose_steps", lambda *_: 7)  # half a second may be too short for a busy machine
    config = compose.compose([key for key in SMALL if not key.startswith("epochs")] + ["draw=false", "budget=0.5"])
    result = train.run(config)
    assert result.steps == saved_run.load(Path(result.run_dir)).settings.max_steps == 7


@pytest.mark.slow
def test_grad_clip_mode_changes_the_metrics() -> None:
    norm, value = run("grad_clip=1e-2"), run("grad_clip=1e-2", "grad_clip_mode=value")
    assert read_metrics(Path(norm.run_dir)) != read_metrics(Path(value.run_dir))


@pytest.mark.slow
def test_patience_stops_a_run_without_improvement() -> None:
    result = run("optimizer.lr=1e-12", "epochs=9", "patience=2")
    assert (result.epochs, result.best_epoch) == (3, 1)


@pytest.mark.slow
def test_compile_compiles_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = []
    monkeypatch.setattr(torch, "compile", lambda function: functions.append(function) or function)
    run()
    assert not functions
    run("compile=true")
    assert [function.__name__ for function in functions] == ["loss"]


def test_deterministic_holds_for_the_run_and_keeps_the_bits_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.engine.trainer import Trainer

    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    settings = []
    fit = Trainer.iter_fit

    def record_settings(trainer: Trainer) -> Any:
        settings.append((torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic))
        return fit(trainer)

    monkeypatch.setattr(Trainer, "iter_fit", record_settings)
    scores = [run(override).test for override in ("deterministic=false", "deterministic=true")]
    assert settings == [(False, False), (True, True)]
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_num_workers_and_worker_timeout_reach_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.engine import factory

    calls = []
    loader_class = factory.Loader
    monkeypatch.setattr(
        factory, "Loader", lambda *args, **options: calls.append(options) or loader_class(*args, **options)
    )
    run("num_workers=1", "worker_timeout=5")
    assert {(options["workers"], options["timeout"]) for options in calls} == {(1, 5)}


@pytest.mark.slow
def test_save_every_sets_the_interval_of_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.engine import checkpoint

    names: list[str] = []
    save = checkpoint.save_checkpoint
    monkeypatch.setattr(checkpoint, "save_checkpoint", lambda state, path: (names.append(path.name), save(state, path)))
    run("save_every=1000")
    count = names.count(checkpoint.LAST)
    names.clear()
    run("save_every=0")
    assert count == 1
    assert names.count(checkpoint.LAST) >= 6


def test_log_every_selects_the_logged_steps() -> None:
    result = run("logger.csv.steps=true", "log_every=2", "epochs=2")
    lines = Path(result.run_dir, "steps.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == [2, 4, 6]


def test_data_dir_is_searched_for_real_data(tmp_path: Path) -> None:
    from trainer.utils.errors import UserError

    with pytest.raises(UserError, match="nowhere_at_all"):
        train.run(compose.compose(["model=gcn", "data=cora", f"data_dir={tmp_path}/nowhere_at_all"]))


def test_draw_false_writes_no_figures() -> None:
    result = run("draw=false")
    assert {path.name for path in Path(result.run_dir).glob("*.png")} == {"curves.png"}


def test_draw_seconds_limits_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    run("draw_seconds=0")
    assert "not drawn within draw_seconds=0: confusion, classes, calibration, roc, mistakes" in capsys.readouterr().out


@pytest.mark.slow
def test_verbose_prints_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    output = capsys.readouterr().out
    run("verbose=true")
    assert "info: " not in output
    assert "info: " in capsys.readouterr().out


@pytest.mark.slow
def test_channels_last_sets_memory_format_and_preserves_losses() -> None:
    model = ("model=cnn", "data=gratings", "data.rows=200", "model.channels=[4, 8]", "model.dilations=[1]")
    options = ("model.pools=[max]", "max_steps=6", "augment=slides")
    default, channels_last = lab(*model, *options), lab(*model, *options, "channels_last=true")
    losses = [losses_of(setup.trainer) for setup in (default, channels_last)]
    torch.testing.assert_close(*map(torch.tensor, losses), atol=1e-4, rtol=0)
    batch = next(channels_last.loaders["train"].iter_epoch(0)).inputs["x"]
    kernels = [p for p in channels_last.task.parameters() if p.dim() == 4 and p.shape[1] > 1]
    assert kernels
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in (batch, *kernels))


TESTS = Path(__file__).parents[1]


def test_debug_has_a_test_of_the_command() -> None:
    assert "def test_debug_" in (TESTS / "cli" / "test_main.py").read_text()


def test_save_every_steps_keep_last_keep_every_keep_best_and_on_nonfinite_have_tests() -> None:
    text = "".join((TESTS / name).read_text() for name in ("runs/test_retained_files.py", "engine/test_nan_guard.py"))
    assert all(f'"{key}=' in text for key in CHECKPOINT_KEYS)


def test_jobs_has_a_test_of_the_sweep() -> None:
    assert "def test_jobs_" in (TESTS / "runs" / "test_sweep.py").read_text()


def test_jobs_per_device_has_a_test_of_the_launchers() -> None:
    assert "def test_jobs_per_device_" in (TESTS / "runs" / "launchers" / "test_device_slots.py").read_text()


def test_members_has_a_test_of_the_launchers() -> None:
    assert '"members=' in (TESTS / "runs" / "launchers" / "test_member_launcher.py").read_text()


def test_bucket_reaches_every_loader() -> None:
    config = compose.compose([*SMALL, "bucket=7"])
    loaders = factory.make_loaders(config.tree, factory.make_dataset(config.tree), config.settings, torch.device("cpu"))
    assert [loader.bucket for loader in loaders.values()] == [7, 7, 7]


def write_table(path: Path, rows: int) -> str:
    lines = [f"{row % 7},{row % 3},{'ab'[row % 2]}" for row in range(rows)]
    path.write_text("x,y,kind\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return f"data.path={path}"


def test_fingerprint_mode_is_stored(tmp_path: Path) -> None:
    words = ["model=mlp", "data=csv", write_table(tmp_path / "d.csv", 40), "data.target=kind"]
    for mode in ("sampled", "exact"):
        fingerprint = dataset_loading.add_fingerprint(compose.compose([*words, f"fingerprint={mode}"])).fingerprint
        assert fingerprint is not None
        assert fingerprint["exact"] == (mode == "exact")


@pytest.mark.slow
def test_allow_changed_data_permits_evaluation_on_changed_rows(tmp_path: Path) -> None:
    words = ["model=mlp", "data=csv", write_table(tmp_path / "d.csv", 40), "data.target=kind", "epochs=1"]
    path = Path(train.run(compose.compose(words)).run_dir)
    write_table(tmp_path / "d.csv", 50)
    with pytest.raises(ConfigError, match=r"rows: 40 before, 50 now\n.*allow_changed_data=true"):
        evaluate.evaluate_run(saved_run.load(path))
    assert (
        evaluate.evaluate_run(run_overrides.load_from_args("evaluate", [str(path), "allow_changed_data=true"])[0])[
            "accuracy"
        ]
        <= 1
    )
