"""Runs saved by train 0.1.0, before its modules moved, are resumed and their formats migrated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.marks import mark_slow_after
from tests.helpers.stored_runs import copy_runs, read_metrics
from trainer.config import compose, introspection, migrations, moved_classes, registry
from trainer.engine import checkpoint
from trainer.runs import saved_run, train
from trainer.utils.errors import ConfigError

SAVED = Path(__file__).with_name("train_0_1_0")
RUNS = sorted(path.name for path in SAVED.iterdir() if path.is_dir())


@pytest.fixture(autouse=True)
def _copied_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_runs(SAVED, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", mark_slow_after(2, RUNS))
def test_a_resumed_run_matches_an_uninterrupted_one(name: str) -> None:
    train.resume_run(saved_run.load(Path(name)))
    found, expected = (read_metrics(Path(name, file)) for file in ("metrics.csv", "expected_metrics.csv"))
    assert len(found) == len(expected)
    for row, reference in zip(found, expected, strict=True):
        assert row == pytest.approx(reference, rel=1e-5)
    state = checkpoint.migrate_state(checkpoint.load_checkpoint(Path(name, "last.pt")), Path(name, "last.pt"))
    assert state["format_version"] == checkpoint.FORMAT_VERSION
    saved_run.load(Path(name))  # the configuration is still readable


@pytest.mark.parametrize("name", mark_slow_after(1, RUNS))
def test_resume_auto_finds_the_run(name: str) -> None:
    shutil.move(name, f"outputs/{name}")
    saved = json.loads(Path(f"outputs/{name}/results.json").read_text())["overrides"]
    overrides = [override for override in saved if not override.startswith("hydra.")]
    result = train.run(compose.compose([*overrides, "resume=auto", "hydra.run.dir=outputs/other"]))
    assert result.run_dir == f"outputs/{name}"
    assert result.status == "finished"


def test_configuration_is_read_from_best_weights_alone() -> None:
    Path("csv_mlp/config.yaml").unlink()
    Path("csv_mlp/results.json").unlink()
    assert saved_run.load(Path("csv_mlp")).tree["model"]["_target_"] == "trainer.models.tabular.mlp.MLP"


def test_group_missing_in_results_gets_its_default_option() -> None:
    file = Path("csv_mlp/results.json")
    results = json.loads(file.read_text())
    del results["options"]["scheduler"]
    file.write_text(json.dumps(results))
    saved = saved_run.load(Path("csv_mlp"))
    assert saved.names["scheduler"] == "none"


@pytest.mark.parametrize(("flat", "moved"), [(None, 1.0), ("linear", "linear"), (0.25, 0.25)])
def test_teacher_forcing_moves_to_the_task_that_has_it(flat: object, moved: object) -> None:
    seq2seq = {"_target_": "trainer.tasks.seq2seq.Seq2Seq", "teacher_forcing_end": 0.0, "scores": ["nll"]}
    for value in ("${teacher_forcing}", flat):  # as an interpolation, and resolved
        config = {"epochs": 1, "teacher_forcing": flat, "task": seq2seq | {"teacher_forcing": value}}
        expected = {"epochs": 1, "task": seq2seq | {"teacher_forcing": moved}}
        assert migrations.migrate_config(config, 1) == expected
        assert migrations.migrate_config(expected, 2) == expected
    other = {"teacher_forcing": flat, "task": {"_target_": "mine.Task"}}
    assert migrations.migrate_config(other, 1) == {"task": {"_target_": "mine.Task"}}


@pytest.mark.parametrize("stored", ["${task._target_}", "trainer.tasks.regression.Regression", "mine.Task"])
def test_data_configs_are_migrated_without_the_task(stored: str) -> None:
    config = {"data": {"_target_": "mine.Data", "target_kind": stored}}
    assert migrations.migrate_config(config, 1) == {"data": {"_target_": "mine.Data", "target_kind": None}}
    plain = {"data": {"_target_": "mine.Data", "target_kind": "class"}}
    assert migrations.migrate_config(plain, 1) == plain


@pytest.mark.parametrize(
    ("group", "path", "old", "new"),
    [
        ("logger.mine" if ".loggers." in path else path.split(".")[0].removesuffix("s"), f"trainer.{path}", old, new)
        for path, keys in migrations._RENAMED_KEYS.items()
        for old, new in keys.items()
    ],
)
def test_a_renamed_key_keeps_its_value(group: str, path: str, old: str, new: str) -> None:
    read = introspection.read_signature(path)
    assert read is not None
    assert new in read.init_types
    assert old not in read.init_types
    node = {"_target_": path, "first": 1, old: [5, 5], "last": 2}

    def make_config(node: dict[str, object], key: str) -> dict[str, object]:
        top, _, name = group.partition(".")
        others = {"callbacks": {"mine": {"text": f"n ${{{group}.{key}}}"}}, "other": {old: 1}}
        return {top: {name: node} if name else node, **others}

    config = make_config(node, old)
    expected = make_config({"_target_": path, "first": 1, new: [5, 5], "last": 2}, new)
    for version in (2, 3):
        assert json.dumps(migrations.migrate_config(config, version)) == json.dumps(expected)  # in the same order
    assert migrations.migrate_config(expected, migrations.FORMAT_VERSION) == expected
    own = make_config(node | {"_target_": "mine.Class"}, old)
    assert migrations.migrate_config(own, 2) == own
    overrides = migrations.migrate_overrides([f"{group}.{old}=[1,2]", f"{group}={old}", f"{old}=3", "seed=1"], expected)
    assert overrides == [f"{group}.{new}=[1,2]", f"{group}={old}", f"{old}=3", "seed=1"]


@pytest.mark.parametrize(
    ("group", "old", "new"),
    [(group, *names) for group, renamed in migrations._RENAMED_OPTIONS.items() for names in renamed.items()],
)
def test_a_renamed_option_is_read_by_its_current_name(group: str, old: str, new: str) -> None:
    assert new in registry.list_options(group)
    assert old not in registry.list_options(group)
    results = {group: old, "options": {group: old, "task": "classification"}, "seed": 0}
    expected = {group: new, "options": {group: new, "task": "classification"}, "seed": 0}
    assert migrations.migrate_results(results) == expected
    assert migrations.migrate_results(results | {"format_version": 2}) == expected | {"format_version": 2}
    assert migrations.migrate_results(results | {"format_version": 3})[group] == old
    with pytest.raises(ConfigError, match=f"did you mean {new}"):
        compose.compose([f"{group}={old}"])


@pytest.mark.parametrize("version", [1, 2, 3])
def test_renamed_keys_of_results_are_read_by_their_current_names(version: int) -> None:
    others = {"seed": 0, "format_version": version}
    expected = {"run_dir": "a", **others, "working_dir": "b"}
    assert migrations.migrate_results({"folder": "a", **others, "home": "b"}) == expected
    assert migrations.migrate_results(expected) == expected
    foreign = {"folder": "a", "format_version": migrations.FORMAT_VERSION}
    assert migrations.migrate_results(foreign) == foreign


@pytest.mark.slow
def test_override_of_a_renamed_key_raises_with_its_current_name() -> None:
    with pytest.raises(ConfigError, match=r"data\.labelled: unknown key; it is called data\.labeled_nodes now"):
        compose.compose(["model=gcn", "data=sbm", "data.labelled=20"])
    with pytest.raises(ConfigError, match=r"model\.tied: unknown key; it is called model\.tie_weights now"):
        compose.compose(["model=gpt", "data=text_file", "data.path=poem.txt", "model.tied=false"])
    current = r"logger\.tensorboard\.folder: unknown key; it is called logger\.tensorboard\.log_dir now"
    with pytest.raises(ConfigError, match=current):
        compose.compose(["logger=tensorboard", "logger.tensorboard.folder=boards"])


@pytest.mark.parametrize("version", [0, True, "2", None, 1.5, migrations.FORMAT_VERSION + 1])
@pytest.mark.parametrize("name", ["config.yaml", "results.json"])
def test_unknown_format_version_raises(name: str, version: object) -> None:
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
    assert moved_classes.get_current_path("trainer.models.mlp.MLP") == "trainer.models.tabular.mlp.MLP"
    assert moved_classes.get_current_path("mine.models.MLP") == "mine.models.MLP"
