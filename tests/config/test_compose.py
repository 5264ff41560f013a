"""Error messages of the composition, with suggested names, and the composed configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.commands import write
from tests.helpers.refusals import collect_problems
from trainer.config import compatibility, compose, plugins, registry, validation
from trainer.utils.errors import ConfigError, UnknownNameError

SMALL = ("model=mlp", "data=moons")


@pytest.fixture(autouse=True)
def _no_plugins() -> Iterator[None]:
    plugins.declare_plugins([])
    yield
    plugins.declare_plugins([])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model=lstmm", "model 'lstmm' not found; did you mean lstm? choices: "),
        ("model=5", "model '5' not found"),
        ("model=null", "model 'null' not found"),
        ("model=[lstm,gru]", "model \"['lstm', 'gru']\" not found"),
        ("model={a: 1}", "not found; choices: "),
        ("model=../data/moons", "model '../data/moons' not found"),
        ("experiment=nope", "experiment 'nope' not found"),
        ("optimizer.lrr=1", "optimizer.lrr: unknown key; did you mean optimizer.lr?"),
        ("lr=1", "lr: unknown key; did you mean optimizer.lr?"),
        ("dropout=0.5", "dropout: unknown key; did you mean model.dropout?"),
        ("momentun=0.5", "momentun: unknown key"),
        ("optimizer.momentum=1", "optimizer adam has optimizer.lr, "),
        ("threads=100000000", "threads: 100000000 given; it must be a whole number >= 1 and <= 1024 or null"),
        ("seed=18446744073709551616", "seed: 18446744073709551616 given; it must be a whole number >= 0 below 2^63"),
        ("epochs=99999999999999999999999", "epochs: 99999999999999999999999 given"),
        (f"optimizer.lr={'9' * 400}", "... 999999"),
        (f"epochs={'9' * 5000}", "cannot read"),
        (f"model.hidden={'[' * 3000}", "nested more than 20 deep"),
        ("num_workers=100000", "num_workers: 100000 given"),
        ("batch_size=9223372036854775807", "batch_size: 9223372036854775807 given"),
        ("worker_timeout=1e300", "worker_timeout: 1e+300 given"),
        ("=1", "there is no key before ="),
        ("seed=interval(0,1)", "a list of values: seed=0,1"),
        ("seed=range(0,0)", "it contains no value"),
        ("hydra.searchpath=[file:///tmp]", "add a directory of YAML files by --config-dir"),
        ("hydra.launcher.x=1,2", "run train -m"),
        ("hidden_size=8", "hidden_size: unknown key; did you mean model.hidden_size?"),
        ("+lrr=1", "lrr: unknown key; + adds keys that nothing reads"),
        ("++optimizer.lrr=1", "optimizer.lrr: unknown key; + adds keys that nothing reads"),
        ("+model=lstm", "model: leave out the +"),
        ("~seed", "seed: ~ would delete a key"),
        ("~model", "model: ~ would delete a key"),
        ("optimizer.lr=abc", "optimizer.lr: 'abc' given; it must be a number > 0"),
        ("optimizer.lr=1e-", "optimizer.lr: '1e-' given; it must be a number > 0"),
        ("optimizer.lr=", "optimizer.lr: no value given; it must be a number > 0"),
        ("optimizer.lr=-1", "optimizer.lr: -1 given; it must be a number > 0"),
        ("optimizer.lr=0", "optimizer.lr: 0 given; it must be a number > 0"),
        ("optimizer.lr=nan", "optimizer.lr: nan given; it must be a number > 0"),
        ("optimizer.lr.x=1", "optimizer.lr is a value and has no key x"),
        ("model.hidden_size=8.0", "model.hidden_size: 8.0 given; it must be a whole number >= 1"),
        ("model.dropout=1.5", "model.dropout: 1.5 given; it must be a number >= 0 and <= 1"),
        ("grad_clip=-1", "grad_clip: -1 given; it must be a number > 0 or null"),
        ("batch_size=0", "batch_size: 0 given; it must be a whole number >= 1"),
        ("epochs=-1", "epochs: -1 given"),
        ("epochs=???", "epochs: no value given"),
        ("optimizer.betas=[0.9]", "optimizer.betas: [0.9] given; it must be a list ["),
        ("debug=1", "debug: 1 given; it must be one of fast, overfit or true or false"),
        ("data.rows=???", "data.rows: needs a value (number of examples"),
        ("model.hidden_size=${nope}", "model.hidden_size: Interpolation key 'nope' not found"),
        ("model.hidden_size=${oc.env:NOT_SET_ANYWHERE}", "Environment variable 'NOT_SET_ANYWHERE' not found"),
        ("seed=0,1", "seed=0,1: several values need a sweep; run train -m seed=0,1"),
        ("model=lstm,gru", "model=lstm,gru: several values need a sweep; run train -m model=lstm,gru"),
        ("optimizer@model=adam", "optimizer@model: a group cannot be placed in another package; write optimizer=NAME"),
        ("hydra.job.chdir=true", "hydra.job.chdir: of Hydra's own keys, train reads hydra.run.dir"),
        ("hydra.run.dir=null", "hydra.run.dir: "),
        ("hydra.run.dir=${nope}", "hydra.run.dir: "),
        ("hydra/sweeper=nope", "hydra/sweeper 'nope' is not installed; installed: basic"),
        ("plugins=[nope_at_all]", "plugins: no module 'nope_at_all' in "),
        ("plugins=mine", "plugins: 'mine' given; it must be a list of strings: plugins=[mine]"),
        ("plugins=[1]", "plugins: [1] given; it must be a list of strings"),
    ],
)
def test_invalid_override_is_reported(override: str, expected: str) -> None:
    problems = collect_problems(override)
    assert any(expected in problem for problem in problems), problems


@pytest.mark.parametrize(("data", "keys"), [("ucr", "data.name and data.data_dir"), ("mnist", "data.data_dir")])
def test_unknown_path_key_suggests_keys_of_the_data_set(data: str, keys: str) -> None:
    for word in ("path", "folder"):
        problems = collect_problems("model=cnn" if data == "mnist" else "model=lstm", f"data={data}", f"data.{word}=x")
        assert f"data.{word}: unknown key; data={data} finds its files by {keys}" in problems


def test_one_cycle_values_out_of_range_are_reported() -> None:
    problems = collect_problems("scheduler=onecycle", "scheduler.pct_start=2", "scheduler.div_factor=-1")
    assert [problem.split(":")[0] for problem in problems] == ["scheduler.pct_start", "scheduler.div_factor"]


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("data.sep=;", ";"),
        ("seed=[1", "["),
        ("seed=1=2", "="),
        ("seed='a", "'"),
        ("seed", ""),
        ("model.hidden=[1,{a", "{"),
    ],
)
def test_a_malformed_override_is_shown_with_a_caret(text: str, marked: str) -> None:
    first, line, caret = collect_problems(text)[0].split("\n")
    assert first.startswith(f"cannot read {text!r} as KEY=VALUE (")
    assert "None" not in first
    assert "quote special characters" in first
    assert line == f"  {text}"
    assert caret.strip() == "^"
    if text.endswith(";"):
        assert first.endswith("""quote special characters: 'data.sep=";"'""")
    column = caret.index("^") - 2
    assert column <= len(text)
    assert text[column : column + 1] in (marked, marked and text[-1])


def test_all_problems_are_reported_at_once() -> None:
    problems = collect_problems("model=lstmm", "data=coraa", "optimizer.lrr=1", "epochs=abc", "seed=-1", "+x=1")
    starts = ["model 'lstmm'", "data 'coraa'", "optimizer.lrr:", "x:", "epochs:", "seed:"]
    assert [any(p.startswith(start) for p in problems) for start in starts] == [True] * 6
    assert len(problems) == 6


@pytest.mark.parametrize("overrides", [("model=gcn", "data=coraa"), ("model=gcnn", "data=cora"), ("data=cora,sbm",)])
def test_keys_of_an_unknown_option_are_not_checked(overrides: tuple[str, ...]) -> None:
    assert len(collect_problems(*overrides)) == 1


def test_task_keys_are_not_checked_when_the_data_set_is_unknown() -> None:
    (problem,) = collect_problems("model=seq2seq", "data=revers", "task.teacher_forcing_end=0.1")
    assert "did you mean reverse?" in problem


def test_a_typo_is_distinguished_from_a_bad_value() -> None:
    """In a sweep a typo stops everything, a bad value only its own job."""
    with pytest.raises(UnknownNameError):
        compose.compose(["optimizer.lrr=1"])
    with pytest.raises(ConfigError) as excinfo:
        compose.compose(["optimizer.lr=-1"])
    assert not isinstance(excinfo.value, UnknownNameError)


# Composed configurations.


def test_config_hash_covers_only_keys_that_affect_training() -> None:
    default = compose.compose(SMALL).config_hash
    assert compose.compose([*SMALL, "device=cpu", "verbose=true", "save_every=1", "threads=2"]).config_hash == default
    assert compose.compose([*SMALL, "seed=1"]).config_hash != default
    assert compose.compose([*SMALL, "optimizer.lr=0.5"]).config_hash != default


@pytest.mark.parametrize("name", ["cora", "mnist", "etth1"])
def test_config_hash_is_independent_of_data_dir(name: str) -> None:
    model = {"cora": "gcn", "mnist": "cnn", "etth1": "dlinear"}[name]
    first, second = (compose.compose([f"model={model}", f"data={name}", f"data_dir={d}"]) for d in ("/here", "/there"))
    assert (first.tree["data"]["data_dir"], second.tree["data"]["data_dir"]) == ("/here", "/there")
    assert first.config_hash == second.config_hash


def test_config_hash_covers_group_keys_named_like_global_keys(tmp_path: Path) -> None:
    source = "class Few:\n    '''x (B, F) -> (B)'''\n    def __init__(self, debug: bool): ...\n"
    write(tmp_path, {"data/few.yaml": "# a few rows\n_target_: own_few.Few\ndebug: false\n", "own_few.py": source})
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)
        overrides = ("model=mlp", "data=few", "plugins=[own_few]")
        first, second = (compose.compose([*overrides, f"data.debug={debug}"], [tmp_path]) for debug in (False, True))
    assert first.config_hash != second.config_hash


def test_environment_interpolations_stay_in_the_raw_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_NUMBER", "77")
    config = compose.compose([*SMALL, "data_dir=${oc.env:SOME_NUMBER}"])
    assert config.tree["data_dir"] == "77"
    assert config.raw["data_dir"] == "${oc.env:SOME_NUMBER}"


def test_experiment_null_means_none_and_the_last_choice_wins() -> None:
    assert compose.compose([*SMALL, "experiment=null"]).config_hash == compose.compose(SMALL).config_hash
    assert compose.compose([*SMALL, "optimizer=sgd", "optimizer=adamw"]).names["optimizer"] == "adamw"


def test_overrides_may_be_in_any_order() -> None:
    config = compose.compose(["model.hidden=[9]", "data.rows=30", "data=moons", "model=mlp"])
    assert (config.tree["model"]["hidden"], config.tree["data"]["rows"]) == ([9], 30)


def test_check_config_reports_invalid_trees() -> None:
    valid = compose.compose(SMALL)
    assert validation.check_config(valid.tree, valid.names) == []
    for change, expected in (
        ({"model": 5}, "model: must contain the keys of one option"),
        ({"epochs": "x"}, "epochs: 'x' given"),
        ({"extra": 1}, "extra: unknown key"),
        ({True: 1}, "configuration: True given as a key"),
        ({"model": {**valid.tree["model"], 1.5: 1}}, "model: 1.5 given as a key"),
        ({"model": {**valid.tree["model"], "hidden": [{None: 1}]}}, "model.hidden[0]: None given as a key"),
        ({"optimizer": {"_target_": "trainer.models.tabular.mlp.MLP"}}, "is not on the allow-list"),
        (
            {"optimizer": {"_target_": "trainer.optim.optimizers.Nope"}},
            "there is no class trainer.optim.optimizers.Nope",
        ),
        ({"data": {"_target_": "trainer.data.datasets.graph.planetoid.Planetoid"}}, "data.name: data moons needs it"),
    ):
        problems = validation.check_config({**valid.tree, **change}, valid.names)
        assert any(expected in problem for problem in problems), problems
    incomplete = {key: value for key, value in valid.tree.items() if key != "data"}
    assert "data: must contain the keys of one option" in validation.check_config(incomplete, valid.names)


def test_broken_user_yaml_is_reported(tmp_path: Path) -> None:
    write(tmp_path, {"model/bad.yaml": "# broken\n_target_: [unclosed\n", "experiment/worse.yaml": "- a\n- b\n"})
    assert any("bad.yaml: not YAML" in problem for problem in collect_problems("model=bad", folders=(tmp_path,)))
    assert collect_problems("experiment=worse", folders=(tmp_path,)) == ["experiment: unknown key"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# mine\nhidden: [4]\n", "model own names no class; its YAML file needs _target_: module.Class"),
        (b"# caf\xe9\n_target_: trainer.models.tabular.mlp.MLP\n", "not UTF-8"),
        (b"# mine\n_target_: 5\n", "names no class"),
        (b"# @package _global_: mlp\nmodel:\n  x: 1\n", "'# @package _global_: mlp' is not a header"),
        (b"", "names no class"),
    ],
)
def test_an_invalid_user_option_file_is_reported(content: bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, {"model/own.yaml": ""}) / "model/own.yaml"
    path.write_bytes(content)
    problems = collect_problems("model=own", "data=moons", folders=(tmp_path,))
    assert any(message in problem for problem in problems), problems


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    """In a notebook one process composes many times."""
    path = write(tmp_path, {"experiment/e.yaml": "# @package _global_\n# e\nepochs: 3\n"}) / "experiment/e.yaml"
    assert compose.compose(["experiment=e"], [tmp_path]).settings.epochs == 3
    before = path.stat().st_mtime_ns
    path.write_text("# @package _global_\n# e\nepochs: 4\n", encoding="utf-8")
    os.utime(path, ns=(before + 1, before + 1))
    assert compose.compose(["experiment=e"], [tmp_path]).settings.epochs == 4


def test_unknown_key_of_an_experiment_is_reported(tmp_path: Path) -> None:
    write(tmp_path, {"experiment/e.yaml": "# @package _global_\n# e\nepoch: 3\nmodel: 5\n"})
    problems = collect_problems("experiment=e", folders=(tmp_path,))
    assert any("epoch" in problem for problem in problems), problems


def test_user_file_with_a_built_in_name_is_reported(tmp_path: Path) -> None:
    write(tmp_path, {"model/lstm.yaml": "# mine\n_target_: trainer.models.tabular.mlp.MLP\n"})
    problems = collect_problems(folders=(tmp_path,))
    assert any("has the name of the built-in model=lstm" in problem for problem in problems)


def test_incompatible_data_set_is_reported_with_compatible_ones() -> None:
    (problem,) = collect_problems("model=gcn", "data=synthetic_seq")
    assert problem.startswith(
        "model gcn needs x (N, F), edge_index (2, E); data synthetic_seq gives x (B, T, F). gcn works"
    )
    compatible = problem.split("works with: ")[1].split(", ")
    assert "sbm" in compatible
    assert "synthetic_seq" not in compatible
    for name in compatible:
        option = registry.list_options("data")[name]
        task = registry.list_options("task")[option.task_name or "classification"].class_path
        targets = {"model": "trainer.models.graph.gnn.GNN", "data": str(option.class_path), "task": str(task)}
        assert compatibility.explain_incompatibility(targets, {"model": "", "data": "", "task": ""}) is None


def test_listed_data_sets_are_compatible_with_the_task_override() -> None:
    (problem,) = collect_problems("model=lstm", "data=synthetic_seq", "task=regression")
    compatible = problem.split("lstm with task regression works with: ")[1].split(", ")
    assert "adding" in compatible
    assert "synthetic_seq" not in compatible
    for name in compatible:
        assert compose.compose(["model=lstm", f"data={name}", "task=regression"]).names["data"] == name
    (problem,) = collect_problems("model=lstm", "data=synthetic_seq", "task=seq2seq")
    assert problem.endswith("lstm with task seq2seq works with: no data set here")


def test_invalid_literal_is_reported_with_allowed_values() -> None:
    (problem,) = collect_problems("model.pool=lastt")
    assert problem.startswith("model.pool: 'lastt' given; it must be one of last, ")
