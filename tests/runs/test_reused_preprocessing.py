"""``init_from`` on own files: inputs are encoded as in the source, rows and classes are those of the new data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.marks import mark_slow_after
from tests.helpers.own_runs import MODELS, evaluate_scores, train_run
from trainer.config import compose
from trainer.runs import train
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")
REUSED = {
    "csv": "schema",
    "csv_series": "columns, scale",
    "text_file": "tokenizer",
    "text_folder": "tokenizer",
    "idx": "scale",
    "image_folder": "view, scale",
    "image_masks": "view, scale",
    "edge_list": "edge_types, nodes, edges",
    "edge_list_graphs": "edge_types, nodes, edges",
    "pairs": "tokenizer, target_tokenizer",
    "parcel_series": "links",
    "click_file": "users, items",
    "triples": "entities, relations",
    "tu": "node_labels, edge_labels",
    "ucr": "scale",
}
"""Values of the source by which the inputs of each data set are encoded."""


def read_results(path: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((path / "results.json").read_text())
    return results


@pytest.mark.slow
@pytest.mark.parametrize("name", mark_slow_after(1, MODELS))
def test_the_source_is_reproduced_on_its_own_files(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = train_run(name)
    words = [word for word in read_results(source)["overrides"] if not word.startswith(("max_steps", "val_every"))]
    capsys.readouterr()
    config = compose.compose([*words, "epochs=0", f"init_from={source}"])
    path = Path(train.run(config).run_dir)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("init_from: copied ") and ", 100 % of all parameters" in line for line in lines)
    assert f"preprocessing of the source: {REUSED[name]}" in lines
    assert read_results(path)["test"] == read_results(source)["test"]


def write_table(path: str, offset: float, labels: str, *, has_gaps: bool = False) -> None:
    sizes = ["" if has_gaps and n % 5 == 0 else str(offset + n % 7) for n in range(60)]
    rows = [f"{size},{'xyz'[n % 3]},{labels[n % len(labels)]}" for n, size in enumerate(sizes)]
    Path(path).write_text("\n".join(["size,kind,label", *rows]) + "\n")


def compose_table(path: str, *more: str) -> compose.Config:
    words = ("model=mlp", "data=csv", f"data.path={path}", "data.target=label", "model.hidden=[4]", "threads=1")
    length = () if any(word.startswith("epochs") for word in more) else ("epochs=1",)
    return compose.compose([*words, *length, "draw=false", *more])


@pytest.mark.slow
def test_features_in_another_order_are_reported_unless_they_are_reused(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("source.csv", 0, "ab")
    source = train.run(compose_table("source.csv", "hydra.run.dir=source")).run_dir
    rows = [line.split(",") for line in Path("source.csv").read_text().splitlines()]
    Path("moved.csv").write_text("".join(f"{kind},{size},{label}\n" for size, kind, label in rows))

    def report(*words: str) -> str:
        capsys.readouterr()
        train.run(compose_table("moved.csv", f"init_from={source}", "epochs=0", *words))
        return capsys.readouterr().out

    line = "other features in the place of those of the source: kind = x instead of size, kind = y instead of kind = x"
    assert line not in report()
    assert line in report("init_preprocessing=fit")


@pytest.mark.slow
def test_cells_that_the_source_cannot_encode_are_refused_with_the_remedy() -> None:
    write_table("a.csv", 0, "pq")
    source = train.run(compose_table("a.csv")).run_dir
    write_table("b.csv", 0, "pq", has_gaps=True)
    keys = ("data.nan=fill", f"init_from={source}")
    before = sorted(Path("outputs").rglob("*"))
    with pytest.raises(ConfigError) as caught:
        train.run(compose_table("b.csv", *keys))
    assert "the training rows have a number in every such cell" in str(caught.value)
    assert caught.value.problems[-1].startswith("init_preprocessing=fit fits the preprocessing on this data")
    assert sorted(Path("outputs").rglob("*")) == before
    with pytest.raises(ConfigError) as caught:  # a missing file is another problem
        train.run(compose_table("c.csv", *keys))
    assert "init_preprocessing" not in str(caught.value)
    # The indicator of the gap is another input, so that the first layer stays fresh.
    result = train.run(compose_table("b.csv", *keys, "init_preprocessing=fit", "epochs=0"))
    log = (Path(result.run_dir) / "train.log").read_text()
    assert "other shape: model.layers.0.weight [4, 5] (source [4, 4])" in log
    assert "preprocessing fitted anew: split, schema" in log


@pytest.mark.slow
def test_a_fine_tuned_run_is_evaluated_with_what_it_stores(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("a.csv", 0, "pq")
    source = train.run(compose_table("a.csv")).run_dir
    write_table("b.csv", 3, "rst")
    path = Path(train.run(compose_table("b.csv", f"init_from={source}")).run_dir)
    assert "fresh (other classes: r, s, t instead of p, q)" in capsys.readouterr().out
    Path("a.csv").unlink()
    assert evaluate_scores(path) == read_results(path)["test"]
