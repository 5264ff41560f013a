"""Predictions of knowledge graphs: ranks of triples, the best answers of queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.marks import mark_slow_after
from tests.helpers.predictions import MovedRuns, Rows, are_close, predict, predict_lines
from trainer.inference import trained_model
from trainer.utils.errors import ConfigError

RUNS = {"distmult": ("triples",), "rgcn": ("triples", "model=rgcn_distmult")}
PARTS = ("head", "relation", "tail")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> MovedRuns:
    return MovedRuns(RUNS, tmp_path_factory.mktemp)


def write_lines(rows: Rows, parts: tuple[str, ...] = PARTS, separator: str = "\t") -> list[str]:
    return [separator.join(row[part] for part in parts) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("name", mark_slow_after(1, RUNS))
def test_metrics_of_the_predicted_ranks_are_reported(name: str, runs: MovedRuns) -> None:
    run = runs[name]
    ranks = np.array([row[f"{side}_rank"] for side in ("tail", "head") for row in run.test_rows])
    assert np.mean(1 / ranks) == pytest.approx(run.scores["mrr"], rel=1e-12)
    assert np.mean(ranks <= 3) == pytest.approx(run.scores["hits_at_3"], rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", mark_slow_after(1, RUNS))
def test_ranks_of_the_test_triples_in_a_file_are_those_of_the_run(name: str, runs: MovedRuns) -> None:
    run = runs[name]
    lines = write_lines(run.test_rows)
    assert are_close(predict_lines(run.path, lines), run.test_rows)
    assert are_close(predict_lines(run.path, lines, "batch_size=1"), run.test_rows)
    assert are_close(predict_lines(run.path, lines[::-1], "batch_size=7"), run.test_rows[::-1])


@pytest.mark.slow
def test_tables_are_read_by_their_header(runs: MovedRuns, tmp_path: Path) -> None:
    run = runs["distmult"]
    file = tmp_path / "triples.csv"
    for parts in (("tail", "head", "relation"), PARTS):
        file.write_text("\n".join([",".join(parts), *write_lines(run.test_rows, parts, ",")]))
        assert are_close(predict(run.path, f"input={file}"), run.test_rows)
    file.write_text("\n".join(write_lines(run.test_rows, separator=",")))
    assert are_close(predict(run.path, f"input={file}"), run.test_rows)


@pytest.mark.slow
def test_best_answers_are_new_and_ordered_by_their_score(runs: MovedRuns, tmp_path: Path) -> None:
    run = runs["distmult"]
    values = trained_model.load(run.path, "cpu").data.fitted.values
    known = {tuple(triple) for triple in values["triples"].tolist()}
    entities, relations = values["entities"], values["relations"]
    head, relation = run.test_rows[0]["head"], run.test_rows[0]["relation"]
    rows = predict_lines(run.path, [f"{head}\t{relation}"], f"top_k={len(entities)}")
    query = entities.index(head), relations.index(relation)
    assert {row["tail"] for row in rows} == {name for tail, name in enumerate(entities) if (*query, tail) not in known}
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    ranks = predict_lines(run.path, write_lines(rows))
    assert [row["score"] for row in rows] == pytest.approx([row["tail_score"] for row in ranks])
    assert [row["tail_rank"] for row in ranks] == [row["rank"] for row in rows]  # known answers are filtered
    file = tmp_path / "heads.csv"
    file.write_text(f"relation,tail\n{relation},{run.test_rows[0]['tail']}\n")
    heads = predict(run.path, f"input={file}", "top_k=2")
    assert [(row["relation"], row["tail"]) for row in heads] == [(relation, run.test_rows[0]["tail"])] * 2
    both = predict_lines(run.path, write_lines(run.test_rows[:1]), "top_k=2")
    assert are_close(both, [*rows[:2], *heads])


@pytest.mark.slow
def test_triples_in_memory_are_those_of_a_file(runs: MovedRuns) -> None:
    import pandas as pd

    run = runs["distmult"]
    model = trained_model.load(run.path, "cpu")
    frame = pd.DataFrame(run.test_rows)
    for given in (frame, frame[list(PARTS)].values.tolist(), run.test_rows):
        columns = model.predict_columns(given)
        assert columns["tail_rank"].tolist() == [row["tail_rank"] for row in run.test_rows]
    tails = model.predict_columns(frame[["head", "relation"]], top_k=1)["tail"]
    assert len(tails) == len(frame)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{head}x\t{relation}\t{tail}", "line 2, head: this run has no entity"),
        ("{head}\t{relation}x\t{tail}", "line 2, relation: this run has no relation"),
        ("{head}\t{relation}", "line 2 has 2 columns separated by .*; the first has 3"),
    ],
)
def test_invalid_triples_are_refused(change: str, message: str, runs: MovedRuns) -> None:
    run = runs["distmult"]
    row = run.test_rows[1]
    lines = [*write_lines(run.test_rows[:1]), change.format(**row)]
    with pytest.raises(ConfigError, match=message):
        predict_lines(run.path, lines)


def test_runs_without_stored_triples_are_filtered_by_those_of_training(
    runs: MovedRuns, caplog: pytest.LogCaptureFixture
) -> None:
    model = trained_model.load(runs["distmult"].path, "cpu")
    del model.data.fitted.values["triples"]
    columns = model.predict_columns(runs["distmult"].test_rows)
    assert "ranks are filtered by these alone" in caplog.text
    before = np.array([row["tail_rank"] for row in runs["distmult"].test_rows])
    assert (columns["tail_rank"] >= before).all()
