"""Saved runs keep their preprocessing: after changes of the data files they give the same scores or an error."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.changed_files import CHANGED_DATA, append_rows, halve_files, rename_classes
from tests.helpers.in_process import send_signal_at
from tests.helpers.marks import mark_slow_after
from tests.helpers.own_runs import MODELS, USER_FILES, copy_files, evaluate_scores, train_run
from trainer.config import compose
from trainer.engine import checkpoint, dataset_state
from trainer.inference import inspection, sample, score
from trainer.runs import run_overrides, saved_run, train
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError, Interrupted

pytestmark = pytest.mark.usefixtures("in_tmp")


@pytest.mark.slow
@pytest.mark.parametrize("name", mark_slow_after(2, USER_FILES))
def test_a_saved_run_scores_the_same_also_with_moved_files(name: str) -> None:
    path = train_run(name)
    assert evaluate_scores(path) == Result.read(path).test
    layers = inspection.summarize_layers(saved_run.load(path))
    Path("files").rename("elsewhere")
    assert inspection.summarize_layers(saved_run.load(path)) == layers
    with pytest.raises(ConfigError, match="does not exist, which this run was trained on"):
        evaluate_scores(path)
    moved = [
        f"data.{key}={value.replace('files', 'elsewhere', 1)}"
        for key, value in json.loads(json.dumps(dict(saved_run.load(path).tree["data"]))).items()
        if isinstance(value, str) and value.startswith("files")
    ]
    assert evaluate_scores(path, *moved) == Result.read(path).test


CHANGED = [
    (name, change)
    for name in USER_FILES
    for change in (halve_files, rename_classes, append_rows)
    if (name, change) != ("idx", rename_classes)
]


@pytest.mark.parametrize(("name", "change"), CHANGED)
@pytest.mark.slow
def test_changed_data_raises_or_is_encoded_as_in_training(name: str, change: Callable[[Path], None]) -> None:
    path = train_run(name)
    change(Path("files"))
    with pytest.raises(ConfigError, match=CHANGED_DATA):
        evaluate_scores(path)
    with suppress(ConfigError):
        assert evaluate_scores(path, "allow_changed_data=true").keys() == Result.read(path).test.keys()


def shuffle_rows(path: Path) -> None:
    first, *rest = path.read_text().splitlines()
    random.Random(1).shuffle(rest)
    path.write_text("\n".join([first, *rest]) + "\n")


@pytest.mark.slow
def test_scores_do_not_depend_on_row_order() -> None:
    path = train_run("csv")
    before = evaluate_scores(path)
    shuffle_rows(next(Path("files").iterdir()))
    assert evaluate_scores(path, "allow_changed_data=true") == pytest.approx(before, rel=1e-5)


@pytest.mark.slow
def test_refitted_encodings_do_not_fit_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above depends on the stored encodings."""
    path = train_run("csv")
    before = evaluate_scores(path)
    file = next(Path("files").iterdir())
    head, *rows = file.read_text().splitlines()
    file.write_text("\n".join([head, *rows, *["0.5,0.5,w,yes"] * 90]) + "\n")
    scores = evaluate_scores(path, "allow_changed_data=true")
    monkeypatch.setattr(dataset_state, "load_preprocessing", lambda _: None)
    with pytest.raises(ConfigError, match=r"(in|flat)_features is 6, and the model of this run was built for 5"):
        evaluate_scores(path, "allow_changed_data=true")
    assert scores != before  # there are more test rows


def test_changed_cells_are_reported_by_row() -> None:
    path = train_run("csv")
    file = next(Path("files").iterdir())
    head, *rows = file.read_text().splitlines()
    file.write_text("\n".join([head, *(row.replace("1", "7", 1) for row in rows[:5]), *rows[5:]]) + "\n")
    changed = len({*rows} - {*file.read_text().splitlines()})
    with pytest.raises(
        ConfigError, match=rf"1 changed: .*{file.name}\n.*; {changed} of those before are gone or changed"
    ):
        evaluate_scores(path)


def test_the_baseline_uses_the_scored_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """A trivial predictor has another score on other test rows."""
    path = train_run("csv")
    file = next(Path("files").iterdir())
    rows = file.read_text().splitlines()
    file.write_text("\n".join([*rows, *(f"0.5,0.{row},w,yes" for row in range(200))]) + "\n")
    capsys.readouterr()
    evaluate_scores(path, "allow_changed_data=true")
    output = capsys.readouterr()
    assert f"{Result.read(path).baseline['accuracy']:.4f}" not in output.out
    assert "200 new (by content), added to the test rows" in output.err


def test_override_with_missing_path_raises() -> None:
    path = train_run("csv")
    with pytest.raises(ConfigError, match=r"data.path: .*/nowhere.csv does not exist; the nearest directory") as caught:
        evaluate_scores(path, "data.path=nowhere.csv")
    assert "trained on" not in str(caught.value)


@pytest.mark.slow
def test_results_and_checkpoints_contain_the_data_digest() -> None:
    path = train_run("csv")
    digest = Result.read(path).data_digest
    assert digest is not None
    (path / "results.json").unlink()
    assert Result.read(path).data_digest == digest
    assert train_run("csv") != path
    file = next(Path("files").iterdir())
    file.write_text(file.read_text() + file.read_text().splitlines()[-1] + "\n")
    overrides = ["model=mlp", "data=csv", f"data.path={file}", "data.target=-1", "max_steps=1"]
    assert train.run(compose.compose(overrides)).data_digest != digest
    assert train.run(compose.compose(["model=mlp", "data=moons", "max_steps=1"])).data_digest is None


@pytest.mark.slow
def test_duplicate_rows_have_distinct_keys() -> None:
    Path("files").mkdir()
    Path("files/t.csv").write_text("a,kind\n" + "1,x\n2,y\n" * 40)
    overrides = ["model=mlp", "data=csv", "data.path=files/t.csv", "data.target=kind", "epochs=1"]
    path = Path(train.run(compose.compose(overrides)).run_dir)
    best = checkpoint.load_checkpoint(path / checkpoint.BEST)["data"]
    keys = torch.cat(list(best["fitted"]["split"].values()))
    assert len(keys.unique()) == 80
    assert evaluate_scores(path) == Result.read(path).test


def interrupt_run(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Path:
    composed = compose.compose([*overrides, "hydra.run.dir=outputs/stopped"])
    with monkeypatch.context() as patched:
        send_signal_at(patched, 3, signal.SIGINT)
        with pytest.raises(Interrupted):
            train.run(composed)
    return Path("outputs/stopped")


@pytest.mark.slow
@pytest.mark.parametrize("change", mark_slow_after(1, [halve_files, rename_classes]))
@pytest.mark.parametrize("name", mark_slow_after(1, ["csv", "text_folder", "image_folder"]))
def test_resuming_with_changed_data_raises(
    name: str, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"data.{key}={value}" for key, value in copy_files(name).items()]
    overrides = [f"model={MODELS[name]}", f"data={name}", *paths, "max_steps=9", "draw=false", "threads=1"]
    path = interrupt_run(monkeypatch, *overrides, "save_every=0")
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.name not in ("train.log", ".lock")}
    change(Path("files"))
    with pytest.raises(ConfigError, match=CHANGED_DATA):
        train.resume_run(saved_run.load(path))
    after = {file.name: file.read_bytes() for file in path.iterdir() if file.name not in ("train.log", ".lock")}
    assert after == before, "a refused run must not change"
    other = train.run(compose.compose([*overrides, "resume=auto"]))
    assert Path(other.run_dir) != path, "resume=auto must find only a run of the same data"
    if change is halve_files:
        done = train.resume_run(run_overrides.load_from_args("resume", [str(path), "allow_changed_data=true"])[0])
        assert done.data_digest == other.data_digest, "its scores are of the changed data"
        assert evaluate_scores(path) == done.test, "later evaluations are of the changed data"


@pytest.mark.parametrize(
    ("name", "overrides", "options"),
    [
        ("text_file", ["model=char_lstm"], {"prompt": "the ", "length": 20}),
        ("pairs", ["model=seq2seq"], {}),
        ("image_folder", ["model=conv_vae", "task.classifier=null"], {"count": 4}),  # its training is slow
        ("csv", ["model=real_nvp"], {"count": 4}),
    ],
)
@pytest.mark.slow
def test_samples_do_not_depend_on_the_data_files(name: str, overrides: list[str], options: dict[str, Any]) -> None:
    path = train_run(name, *overrides)
    saved = saved_run.load(path)

    def sample_all() -> tuple[str, list[bytes]]:
        text = "".join(sample.sample_run(saved, options))
        arrays = [file.read_bytes() for file in sorted(path.glob("sampled*")) if file.suffix != ".png"]
        for file in path.glob("sampled*"):  # the next ones would be numbered
            file.unlink()
        return text, arrays

    before = sample_all()
    rename_classes(Path("files"))
    assert sample_all() == before, "renamed classes and categories"
    shutil.rmtree("files")
    assert sample_all() == before


@pytest.mark.slow
def test_row_scores_do_not_depend_on_appended_rows() -> None:
    path = train_run("csv", "model=real_nvp", "data.target=null", "data.drop_columns=[label]")
    Path("today.csv").write_text("a,b,kind\n0.2,0.9,x\n5,5,y\n")
    before = score.score_run(saved_run.load(path), "today.csv").read_text()
    append_rows(Path("files"))
    assert score.score_run(saved_run.load(path), "today.csv").read_text() == before
    with pytest.raises(ConfigError, match=CHANGED_DATA):
        score.score_run(saved_run.load(path), None)
    shutil.rmtree("files")
    assert score.score_run(saved_run.load(path), "today.csv").read_text() == before


@pytest.mark.slow
def test_relative_path_is_resolved_in_the_original_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    path = train_run("csv").absolute()
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    assert evaluate_scores(path) == Result.read(path).test


@pytest.mark.slow
def test_a_run_without_stored_preprocessing_is_encoded_again() -> None:
    path = train_run("csv")
    state = checkpoint.load_checkpoint(path / checkpoint.BEST)
    state |= {"about": state.pop("run_metadata"), "finer": state.pop("tiebreak_score")}
    del state["format_version"], state["data"], state["decisions"]
    del state["about"]["data"], state["about"]["format_version"]
    checkpoint.save_checkpoint(state, path / checkpoint.BEST)
    assert evaluate_scores(path) == Result.read(path).test


def test_a_state_of_a_later_version_is_refused() -> None:
    path = train_run("csv")
    checkpoint.save_checkpoint(
        checkpoint.load_checkpoint(path / checkpoint.BEST) | {"format_version": 8}, path / checkpoint.BEST
    )
    with pytest.raises(ConfigError, match="has format_version 8; this version of train reads 1 to 7"):
        evaluate_scores(path)


@pytest.mark.slow
def test_environment_value_is_in_no_file_of_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GAP_CODE", "Hush4711")
    copy_files("csv")
    file = next(Path("files").iterdir())
    file.write_text(file.read_text().replace(",x,", ",Hush4711,", 3))
    overrides = ["model=real_nvp", "data=csv", f"data.path={file}", "data.target=null", "data.drop_columns=[label]"]
    overrides += ["data.missing=['${oc.env:GAP_CODE}']", "max_steps=2", "threads=1"]
    path = Path(train.run(compose.compose(overrides)).run_dir)
    exposed = [found.name for found in path.rglob("*.*") if b"hush4711" in found.read_bytes().lower()]
    assert exposed == []
    Path("today.csv").write_text("a,b,kind\n0.2,0.9,hush4711\n0.2,0.9,\n")
    shutil.rmtree("files")
    score.score_run(saved_run.load(path), "today.csv")
    assert "categories in column 'kind' that no training row has" not in capsys.readouterr().err
