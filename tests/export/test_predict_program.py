"""``predict.py`` of an export, in a process without torch and this package, against ``train predict``."""

from __future__ import annotations

import csv
import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.image_runs import train_image_run
from tests.helpers.own_runs import train_run
from tests.helpers.table_runs import BASE, SETTINGS, make_rows, write_rows
from trainer.cli import main
from trainer.config import compose
from trainer.export.export_run import export_run
from trainer.export.program_files import PACKAGE, PROGRAMS, find_modules
from trainer.runs import saved_run, train
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.slow

SCRIPT = """
import runpy, sys
for name in ("torch", "trainer", *sys.argv.pop(1).split()):
    sys.modules[name] = None  # importing it fails
sys.path.insert(0, sys.argv[1])
sys.argv[:2] = [sys.argv[1] + "/predict.py"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
COLUMNS = ("price", "label", "weight", "colour", "size", "more")
TABLE = ("data.nan=fill", "data.min_count=1", "task.coverage=0.9")
CLASSES = ("data.target=label", "data.drop_columns=[price]", "task.calibration=temperature")
NUMBERS = ("task=regression", "data.target=price", "data.drop_columns=[label]")


def train_on_gaps(*overrides: str) -> Path:
    """Train on a table with missing numbers and categories."""
    draw, rows = random.Random(0), make_rows(160, 0)
    for row in rows:
        row[0] = "" if draw.random() < 0.1 else row[0]
        row[1] = "" if draw.random() < 0.1 else row[1]
    write_rows(Path("train.csv"), rows)
    write_rows(Path("test.csv"), make_rows(40, 1))
    return Path(train.run(compose.compose([*BASE, *SETTINGS, *TABLE, *overrides])).run_dir).absolute()


def write_series(path: Path, count: int, first: int = 0) -> Path:
    """Write two monthly series in different units; one has a gap near its end."""
    lines = ["month,sales,price"]
    for step in range(first, first + count):
        sales = "" if step == first + count - 4 else f"{1e5 + 900 * step + 2e4 * math.sin(step):.2f}"
        lines.append(f"28.{step % 12 + 1:02d}.{1990 + step // 12},{sales},{3 + math.cos(step):.4f}")
    path.write_text("\n".join(lines))
    return path


def train_on_series() -> Path:
    write_series(Path("series.csv"), 150)
    keys = ("data.path=series.csv", "data.time=month", "data.time_format=%d.%m.%Y", "data.gaps=interpolate")
    sizes = ("data.history=12", "data.horizon=5", "task.coverage=0.5", "max_steps=3", "draw=false", "threads=1")
    overrides = ["model=dlinear", "data=csv_series", *keys, *sizes, "hydra.run.dir=run"]
    return Path(train.run(compose.compose(overrides)).run_dir).absolute()


RUNS: dict[str, Callable[[], Path]] = {
    "classes": lambda: train_on_gaps(*CLASSES),
    "numbers": lambda: train_on_gaps(*NUMBERS),
    "ensemble_classes": lambda: train_on_gaps(*CLASSES, "ensemble=2"),
    "ensemble_numbers": lambda: train_on_gaps(*NUMBERS, "ensemble=2"),
    "series": train_on_series,
    "cases": lambda: train_run("ucr", "model=gru").absolute(),
    "images": lambda: train_image_run("classifier"),
    "texts": lambda: train_run("text_folder").absolute(),
}


class Exports(dict[str, tuple[Path, Path]]):
    """Run directory and ONNX export of each of ``RUNS``, made when they are first used."""

    def __init__(self, factory: pytest.TempPathFactory):
        self.factory = factory

    def __missing__(self, name: str) -> tuple[Path, Path]:
        with chdir(self.factory.mktemp(name)):
            run = RUNS[name]()
            self[name] = run, export_run(saved_run.load(run), ["onnx"], str(Path("export").absolute()))
        return self[name]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    return Exports(tmp_path_factory)


def call_program(export: Path, *arguments: str, missing: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, missing, str(export), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def check_equal(run: Path, export: Path, source: str, tmp_path: Path) -> tuple[list[dict[str, str]], str]:
    """Compare the files of ``predict.py`` and ``train predict``; return the rows, and the warnings of the former."""
    main.run_command(["predict", str(run), f"input={source}", f"output={tmp_path / 'expected.csv'}"])
    done = call_program(export, source, str(tmp_path / "found.csv"))
    assert done.returncode == 0, done.stderr
    expected, found = (read_table(tmp_path / name) for name in ("expected.csv", "found.csv"))
    assert [list(row) for row in found] == [list(row) for row in expected]
    for row, twin in zip(found, expected, strict=True):
        for title, cell in row.items():
            if title.startswith(("p_", "value", "lower", "upper", "sales", "price")):
                assert float(cell) == pytest.approx(float(twin[title]), rel=1e-5, abs=1e-5)
            else:
                assert cell == twin[title]
    return found, done.stderr


@pytest.mark.parametrize("name", ["classes", "numbers", "ensemble_classes", "ensemble_numbers"])
def test_tables(name: str, exports: Exports, tmp_path: Path) -> None:
    rows = make_rows(300, 2)
    rows[3][1], rows[4][0], rows[5][1] = "violet", "", ""
    source = write_rows(tmp_path / "new.csv", [[*row[::-1], "x"] for row in rows], COLUMNS)
    found, warnings = check_equal(*exports[name], str(source), tmp_path)
    assert len(found) == 300
    titles = {"classes": ["row", "label", "p_high", "p_low", "p_mid", "set"]}
    assert list(found[0]) == titles.get(name.removeprefix("ensemble_"), ["row", "value", "lower", "upper"])
    assert "categories in column 'colour' that no training row has: violet (1 row)" in warnings
    assert "columns that are not in the training table are ignored: more" in warnings


def test_series_with_a_gap(exports: Exports, tmp_path: Path) -> None:
    source = write_series(tmp_path / "more.csv", 40, 120)
    found, _ = check_equal(*exports["series"], str(source), tmp_path)
    titles = ["sales", "price", "lower_sales", "lower_price", "upper_sales", "upper_price"]
    assert list(found[0]) == ["origin", "step", "time", *titles]
    assert [row["time"] for row in found] == [f"28.{month:02d}.2003" for month in range(5, 10)]


def test_series_of_unequal_length(exports: Exports, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    lines = [" ".join(f"{value:.3f}" for value in draw.normal(size=draw.integers(3, 20))) for _ in range(70)]
    (tmp_path / "waves").mkdir()
    (tmp_path / "waves" / "new.txt").write_text("\n".join(lines))
    found, _ = check_equal(*exports["cases"], str(tmp_path / "waves"), tmp_path)
    assert [row["case"] for row in found] == [f"new.txt:{number}" for number in range(1, 71)]


def test_images_of_other_sizes_and_modes(exports: Exports, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name, shape in (("a.png", (9, 12, 3)), ("b.jpg", (40, 31)), ("deep/c.png", (5, 8, 4))):
        Image.fromarray(draw.integers(0, 256, shape, np.uint8)).save(folder / name)
    Image.fromarray(draw.integers(0, 1 << 16, (16, 16), np.uint16)).save(folder / "d.png")
    found, _ = check_equal(*exports["images"], str(folder), tmp_path)
    assert [row["file"] for row in found] == ["a.png", "b.jpg", "d.png", "deep/c.png"]
    assert len({row["p_good"] for row in found}) == 4
    done = call_program(exports["images"][1], str(folder), str(tmp_path / "none.csv"), missing="PIL")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: input: reading image files needs the package Pillow: pip install pillow\n"


def test_lines_and_folders_of_texts(exports: Exports, tmp_path: Path) -> None:
    run, export = exports["texts"]
    encoding = json.loads((export / "preprocess.json").read_text())["encoding"]
    words = encoding["tokenizer"]["tokenizer"]["tokens"][1:]
    draw = random.Random(0)
    lines = [" ".join(draw.choices(words, k=draw.randint(1, 30))) for _ in range(80)]
    lines[7] = "Unheard-of wörds, nothing else!"
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(lines), encoding="utf-8")
    found, warnings = check_equal(run, export, str(file), tmp_path)
    assert [row["line"] for row in found] == [str(number) for number in range(1, 81)]
    assert "are not in the vocabulary of this run, such as " in warnings
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_text(lines[0])
    found, _ = check_equal(run, export, str(tmp_path / "texts"), tmp_path)
    assert [row["file"] for row in found] == ["one.txt"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "classes",
            "size,color,weight\n1,red,2\n",
            "is missing columns of the training data: colour; did you mean color?",
        ),
        ("classes", "size,colour,weight\n1,red,2\n0,red,heavy\n", "row 2 (line 3), column 'weight': 'heavy' is not a"),
        ("texts", "a line\n\nanother\n", "line 2 is empty"),
    ],
)
def test_bad_files_are_refused_with_the_message_of_the_command(
    name: str, text: str, message: str, exports: Exports, tmp_path: Path
) -> None:
    run, export = exports[name]
    source = tmp_path / "bad.csv"
    source.write_text(text)
    done = call_program(export, str(source), str(tmp_path / "out.csv"))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not (tmp_path / "out.csv").exists()
    with pytest.raises(ConfigError) as caught:
        main.run_command(["predict", str(run), f"input={source}", f"output={tmp_path / 'out.csv'}"])
    assert done.stderr.splitlines()[0].removeprefix("error: ") in str(caught.value)


def test_programs_load_no_module_that_imports_torch() -> None:
    for program in PROGRAMS.glob("predict_*.py"):
        sources = [file.read_text(encoding="utf-8") for file in find_modules(program)]
        assert len(sources) > 5
        assert not [source for source in sources if "\nimport torch" in source or "\nfrom torch" in source]
        assert all(file.is_relative_to(PACKAGE) for file in find_modules(program))
