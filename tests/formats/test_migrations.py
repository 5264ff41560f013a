"""Runs that an earlier version has saved go on: folders made by train 0.1.0 before its modules moved."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.marks import mark_slow_after
from trainer.config import compose, introspection, migrations, moved_classes
from trainer.engine import checkpoint
from trainer.runs import saved_run, train
from trainer.utils.errors import ConfigError

SAVED = Path(__file__).with_name("train_0_1_0")
RUNS = sorted(path.name for path in SAVED.iterdir() if path.is_dir())


@pytest.fixture(autouse=True)
def _copy_of_the_saved_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(SAVED, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a table of metrics without what a clock says."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(value) for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize("name", mark_slow_after(2, RUNS))
def test_a_resumed_run_matches_an_uninterrupted_one(name: str) -> None:
    train.resume_run(saved_run.load(Path(name)))
    found, expected = (read_metrics(Path(name, file)) for file in ("metrics.csv", "expected_metrics.csv"))
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-5)
    again = checkpoint.migrate_state(checkpoint.load_checkpoint(Path(name, "last.pt")), Path(name, "last.pt"))
    assert again["format_version"] == checkpoint.FORMAT_VERSION
    saved_run.load(Path(name))  # the configuration beside it is as it was


@pytest.mark.parametrize("name", mark_slow_after(1, RUNS))
def test_resume_auto_finds_the_run(name: str) -> None:
    shutil.move(name, f"outputs/{name}")
    words = json.loads(Path(f"outputs/{name}/results.json").read_text())["overrides"]
    kept = [word for word in words if not word.startswith("hydra.")]
    result = train.run(compose.compose([*kept, "resume=auto", "hydra.run.dir=outputs/other"]))
    assert result.folder == f"outputs/{name}"
    assert result.status == "finished"


def test_its_best_weights_alone_tell_its_configuration() -> None:
    Path("csv_mlp/config.yaml").unlink()
    Path("csv_mlp/results.json").unlink()
    assert saved_run.load(Path("csv_mlp")).tree["model"]["_target_"] == "trainer.models.tabular.mlp.MLP"


def test_a_group_that_it_does_not_know_takes_its_usual_option() -> None:
    file = Path("csv_mlp/results.json")
    results = json.loads(file.read_text())
    del results["options"]["scheduler"]
    file.write_text(json.dumps(results))
    kept = saved_run.load(Path("csv_mlp"))
    assert kept.names["scheduler"] == "none"


@pytest.mark.parametrize(("flat", "moved"), [(None, 1.0), ("linear", "linear"), (0.25, 0.25)])
def test_teacher_forcing_is_a_key_of_the_task_that_has_it(flat: object, moved: object) -> None:
    seq2seq = {"_target_": "trainer.tasks.seq2seq.Seq2Seq", "teacher_forcing_end": 0.0, "scores": ["nll"]}
    for written in ("${teacher_forcing}", flat):  # as it is written, and resolved
        kept = {"epochs": 1, "teacher_forcing": flat, "task": seq2seq | {"teacher_forcing": written}}
        expected = {"epochs": 1, "task": seq2seq | {"teacher_forcing": moved}}
        assert migrations.migrate_config(kept, 1) == expected
        assert migrations.migrate_config(expected, 2) == expected
    other = {"teacher_forcing": flat, "task": {"_target_": "mine.Task"}}
    assert migrations.migrate_config(other, 1) == {"task": {"_target_": "mine.Task"}}


@pytest.mark.parametrize("stored", ["${task._target_}", "trainer.tasks.regression.Regression", "mine.Task"])
def test_data_configs_are_migrated_without_the_task(stored: str) -> None:
    kept = {"data": {"_target_": "mine.Data", "target_kind": stored}}
    assert migrations.migrate_config(kept, 1) == {"data": {"_target_": "mine.Data", "target_kind": None}}
    plain = {"data": {"_target_": "mine.Data", "target_kind": "class"}}
    assert migrations.migrate_config(plain, 1) == plain


@pytest.mark.parametrize("version", [0, True, "2", None, 1.5, migrations.FORMAT_VERSION + 1])
@pytest.mark.parametrize("name", ["config.yaml", "results.json"])
def test_another_version_is_refused(name: str, version: object) -> None:
    file = Path("csv_mlp", name)
    text = json.dumps(version)
    content = file.read_text()
    added = (
        f"format_version: {text}\n{content}" if name == "config.yaml" else f'{{"format_version": {text},{content[1:]}'
    )
    file.write_text(added)
    with pytest.raises(ConfigError, match="format_version"):
        saved_run.load(Path("csv_mlp"))


def test_every_moved_class_exists() -> None:
    for module, moved in moved_classes._MODULES.items():
        assert introspection.find_source_file(f"trainer.{moved}.Any"), (module, moved)
    for name in moved_classes._CLASSES.values():
        paths = (f"trainer.{moved}.{name}" for moved in moved_classes._MODULES.values())
        assert any(introspection.read_signature(path) for path in paths), name
    assert moved_classes.current_path("trainer.models.mlp.MLP") == "trainer.models.tabular.mlp.MLP"
    assert moved_classes.current_path("mine.models.MLP") == "mine.models.MLP"
