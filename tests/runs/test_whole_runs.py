"""A run keeps what it learned of its data: whatever becomes of the files, it gives the same numbers or a refusal."""

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

from tests.helpers.inside import signal_at
from tests.helpers.own_runs import GIVEN, MODELS, copied, scores, trained
from trainer.config import compose
from trainer.engine import checkpoint, dataset_state
from trainer.runs import inspection, sample, saved_run, score, train
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError, Interrupted

pytestmark = pytest.mark.usefixtures("in_tmp")
FOREIGN = "not what this run was trained on"
TABLES = (".csv", ".txt", ".ts")


def halve(folder: Path) -> None:
    """Every second line of each text table, or every second file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    tables = [path for path in files if path.suffix in TABLES]
    if len(files) > 4:
        for path in files[::2]:
            path.unlink()
        return
    for path in tables or files:
        if path.suffix in TABLES:
            first, *rest = path.read_text().split("\n")
            path.write_text("\n".join([first, *rest[: len(rest) // 2]]))
        else:
            path.write_bytes(path.read_bytes()[:-7])


def rename(folder: Path) -> None:
    """A class, or whatever the first table calls something."""
    inside = sorted(path for path in folder.rglob("*") if path.is_dir() and not any(p.is_dir() for p in path.iterdir()))
    if len(inside) > 1:
        inside[0].rename(inside[0].with_name("zebra"))
        return
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix in TABLES:
            first, *rest = path.read_text().split("\n")
            path.write_text("\n".join([first, *(line.replace("a", "zebra").replace("1", "7") for line in rest)]))


def append(folder: Path) -> None:
    """The last line of each table again, or a copy of a file under another name."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix in TABLES:
            text = path.read_text().rstrip("\n")
            path.write_text(text + "\n" + text.rpartition("\n")[2] + "\n")
    for path in sorted(path for path in folder.rglob("*.png"))[:1]:
        shutil.copy(path, path.with_name("more.png"))
    for path in sorted(path for path in folder.rglob("*.npy"))[:1]:
        shutil.copy(path, path.with_name("more.npy"))
    for path in folder.rglob("*-images"):
        path.write_bytes(path.read_bytes()[:-1] + b"\x07")


@pytest.mark.parametrize("name", GIVEN)
def test_a_run_gives_the_same_numbers_again_and_knows_files_that_were_moved(name: str) -> None:
    path = trained(name)
    assert scores(path) == Result.read(path).test
    layers = inspection.summarize_layers(saved_run.load(path))
    Path("files").rename("elsewhere")
    assert inspection.summarize_layers(saved_run.load(path)) == layers
    with pytest.raises(ConfigError, match="does not exist, which this run was trained on"):
        scores(path)
    moved = [
        f"data.{key}={value.replace('files', 'elsewhere', 1)}"
        for key, value in json.loads(json.dumps(dict(saved_run.load(path).tree["data"]))).items()
        if isinstance(value, str) and value.startswith("files")
    ]
    assert scores(path, *moved) == Result.read(path).test


CHANGED = [(name, change) for name in GIVEN for change in (halve, rename, append) if (name, change) != ("idx", rename)]


@pytest.mark.parametrize(("name", "change"), CHANGED)
@pytest.mark.slow
def test_changed_data_is_refused_or_encoded_as_it_was(name: str, change: Callable[[Path], None]) -> None:
    path = trained(name)
    change(Path("files"))
    with pytest.raises(ConfigError, match=FOREIGN):
        scores(path)
    with suppress(ConfigError):
        assert scores(path, "allow_changed_data=true").keys() == Result.read(path).test.keys()


def shuffled(path: Path) -> None:
    first, *rest = path.read_text().splitlines()
    random.Random(1).shuffle(rest)
    path.write_text("\n".join([first, *rest]) + "\n")


def test_rows_in_another_order_are_the_same_rows() -> None:
    path = trained("csv")
    before = scores(path)
    shuffled(next(Path("files").iterdir()))
    assert scores(path, "allow_changed_data=true") == pytest.approx(before, rel=1e-5)


def test_encodings_of_today_would_give_another_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above shows is the stored encoding, and not that any would do."""
    path = trained("csv")
    before = scores(path)
    file = next(Path("files").iterdir())
    head, *rows = file.read_text().splitlines()
    file.write_text("\n".join([head, *rows, *["0.5,0.5,w,yes"] * 90]) + "\n")
    kept = scores(path, "allow_changed_data=true")
    monkeypatch.setattr(dataset_state, "load_preprocessing", lambda _: None)
    with pytest.raises(ConfigError, match=r"(in|flat)_features is 6, and the model of this run was built for 5"):
        scores(path, "allow_changed_data=true")
    assert kept != before  # there are more test rows


def test_changed_cells_are_told_by_the_rows_they_are_in() -> None:
    path = trained("csv")
    file = next(Path("files").iterdir())
    head, *rows = file.read_text().splitlines()
    file.write_text("\n".join([head, *(row.replace("1", "7", 1) for row in rows[:5]), *rows[5:]]) + "\n")
    changed = len({*rows} - {*file.read_text().splitlines()})
    with pytest.raises(
        ConfigError, match=rf"1 changed: .*{file.name}\n.*; {changed} of those before are gone or changed"
    ):
        scores(path)


def test_a_baseline_is_of_the_rows_that_are_scored(capsys: pytest.CaptureFixture[str]) -> None:
    """A trivial answer scores otherwise on other test rows."""
    path = trained("csv")
    file = next(Path("files").iterdir())
    rows = file.read_text().splitlines()
    file.write_text("\n".join([*rows, *(f"0.5,0.{row},w,yes" for row in range(200))]) + "\n")
    capsys.readouterr()
    scores(path, "allow_changed_data=true")
    shown = capsys.readouterr()
    assert f"{Result.read(path).baseline['accuracy']:.4f}" not in shown.out
    assert "200 new (by content), added to the test rows" in shown.err


def test_a_place_that_is_given_for_files_must_be_there() -> None:
    path = trained("csv")
    with pytest.raises(ConfigError, match=r"data.path: .*/nowhere.csv does not exist; the nearest directory") as told:
        scores(path, "data.path=nowhere.csv")
    assert "trained on" not in str(told.value)


def test_results_and_checkpoints_name_the_contents_of_the_data() -> None:
    path = trained("csv")
    digest = Result.read(path).data_digest
    assert digest is not None
    (path / "results.json").unlink()
    assert Result.read(path).data_digest == digest
    assert trained("csv") != path
    file = next(Path("files").iterdir())
    file.write_text(file.read_text() + file.read_text().splitlines()[-1] + "\n")
    words = ["model=mlp", "data=csv", f"data.path={file}", "data.target=-1", "max_steps=1"]
    assert train.run(compose.compose(words)).data_digest != digest
    assert train.run(compose.compose(["model=mlp", "data=moons", "max_steps=1"])).data_digest is None


def test_equal_rows_are_told_apart() -> None:
    Path("files").mkdir()
    Path("files/t.csv").write_text("a,kind\n" + "1,x\n2,y\n" * 40)
    words = ["model=mlp", "data=csv", "data.path=files/t.csv", "data.target=kind", "epochs=1"]
    path = Path(train.run(compose.compose(words)).folder)
    best = checkpoint.load_checkpoint(path / checkpoint.BEST)["data"]
    keys = torch.cat(list(best["fitted"]["split"].values()))
    assert len(keys.unique()) == 80
    assert scores(path) == Result.read(path).test


def interrupted(monkeypatch: pytest.MonkeyPatch, *words: str) -> Path:
    composed = compose.compose([*words, "hydra.run.dir=outputs/stopped"])
    with monkeypatch.context() as patched:
        signal_at(patched, 3, signal.SIGINT)
        with pytest.raises(Interrupted):
            train.run(composed)
    return Path("outputs/stopped")


@pytest.mark.parametrize("change", [halve, rename])
@pytest.mark.parametrize("name", ["csv", "text_folder", "image_folder"])
def test_a_run_does_not_go_on_with_changed_data(
    name: str, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [f"data.{key}={value}" for key, value in copied(name).items()]
    words = [f"model={MODELS[name]}", f"data={name}", *given, "max_steps=9", "draw=false", "threads=1"]
    path = interrupted(monkeypatch, *words, "save_every=0")
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.name not in ("train.log", ".lock")}
    change(Path("files"))
    with pytest.raises(ConfigError, match=FOREIGN):
        train.resume_run(saved_run.load(path))
    after = {file.name: file.read_bytes() for file in path.iterdir() if file.name not in ("train.log", ".lock")}
    assert after == before, "a refused run is left as it was"
    other = train.run(compose.compose([*words, "resume=auto"]))
    assert Path(other.folder) != path, "resume=auto looks for a run of this very data"
    if change is halve:
        done = train.resume_run(saved_run.load_from_args("resume", [str(path), "allow_changed_data=true"])[0])
        assert done.data_digest == other.data_digest, "its scores are of the data of today"
        assert scores(path) == done.test, "and so is all that is done with it from now on"


@pytest.mark.parametrize(
    ("name", "model", "options"),
    [
        ("text_file", "char_lstm", {"prompt": "the ", "length": 20}),
        ("pairs", "seq2seq", {}),
        ("image_folder", "conv_vae", {"count": 4}),
        ("csv", "real_nvp", {"count": 4}),
    ],
)
@pytest.mark.slow
def test_a_run_writes_the_same_without_its_files(name: str, model: str, options: dict[str, Any]) -> None:
    path = trained(name, f"model={model}")
    kept = saved_run.load(path)

    def written() -> tuple[str, list[bytes]]:
        text = "".join(sample.sample_run(kept, options))
        drawn = [file.read_bytes() for file in sorted(path.glob("sampled*")) if file.suffix != ".png"]
        for file in path.glob("sampled*"):  # or the next ones would be numbered
            file.unlink()
        return text, drawn

    before = written()
    rename(Path("files"))
    assert written() == before, "letters exchanged, a class renamed, cells changed"
    shutil.rmtree("files")
    assert written() == before


@pytest.mark.slow
def test_rows_of_a_file_are_rated_as_before_though_the_log_grew() -> None:
    path = trained("csv", "model=real_nvp", "data.target=null", "data.drop_columns=[label]")
    Path("today.csv").write_text("a,b,kind\n0.2,0.9,x\n5,5,y\n")
    before = score.score_run(saved_run.load(path), "today.csv").read_text()
    append(Path("files"))
    assert score.score_run(saved_run.load(path), "today.csv").read_text() == before
    with pytest.raises(ConfigError, match=FOREIGN):
        score.score_run(saved_run.load(path), None)
    shutil.rmtree("files")
    assert score.score_run(saved_run.load(path), "today.csv").read_text() == before


def test_a_relative_path_is_one_of_the_folder_the_run_was_started_in(monkeypatch: pytest.MonkeyPatch) -> None:
    path = trained("csv").absolute()
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    assert scores(path) == Result.read(path).test


def test_a_run_of_before_is_read_anew() -> None:
    path = trained("csv")
    for name in (checkpoint.BEST, checkpoint.LAST):
        state = checkpoint.load_checkpoint(path / name)
        del state["format_version"], state["data"], state["about"]["data"], state["about"]["format_version"]
        checkpoint.save_checkpoint(state, path / name)
    assert scores(path) == Result.read(path).test


def test_a_state_of_a_later_version_is_refused() -> None:
    path = trained("csv")
    checkpoint.save_checkpoint(
        checkpoint.load_checkpoint(path / checkpoint.BEST) | {"format_version": 5}, path / checkpoint.BEST
    )
    with pytest.raises(ConfigError, match="has format_version 5; this version of train reads 1 to 4"):
        scores(path)


def test_an_option_from_the_environment_is_in_no_file_of_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GAP_CODE", "Hush4711")
    copied("csv")
    file = next(Path("files").iterdir())
    file.write_text(file.read_text().replace(",x,", ",Hush4711,", 3))
    words = ["model=real_nvp", "data=csv", f"data.path={file}", "data.target=null", "data.drop_columns=[label]"]
    words += ["data.missing=['${oc.env:GAP_CODE}']", "max_steps=2", "threads=1"]
    path = Path(train.run(compose.compose(words)).folder)
    held = [one.name for one in path.rglob("*.*") if b"hush4711" in one.read_bytes().lower()]
    assert held == []
    Path("today.csv").write_text("a,b,kind\n0.2,0.9,hush4711\n0.2,0.9,\n")
    shutil.rmtree("files")
    score.score_run(saved_run.load(path), "today.csv")
    assert "categories in column 'kind' that no training row has" not in capsys.readouterr().err
