"""Predictions of links: pairs in a file, the best new links of a graph, the best new items of users."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from tests.helpers import own_files
from tests.helpers.predictions import MovedRuns, are_close, predict, predict_lines
from trainer.inference import trained_model
from trainer.utils.errors import ConfigError

RUNS = {
    "links": ("sbm_pairs", "model=link_predictor", "data.nodes=60", "data.p_within=.3", "data.p_across=.1"),
    "clicks": ("click_file", "model=bipartite_gnn"),
}
VISITS = [tuple(line.split(",")) for line in Path(own_files.visits()).read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> MovedRuns:
    return MovedRuns(RUNS, tmp_path_factory.mktemp)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_scores_of_the_predicted_test_pairs_are_reported(name: str, runs: MovedRuns) -> None:
    rows, scores = runs[name].test_rows, runs[name].scores
    target = [row["target"] for row in rows]
    assert roc_auc_score(target, [row["p_1"] for row in rows]) == pytest.approx(scores["auc"], abs=1e-9)
    assert accuracy_score(target, [row["label"] for row in rows]) == scores["accuracy"]


@pytest.mark.slow
def test_pairs_do_not_depend_on_the_others(runs: MovedRuns) -> None:
    run = runs["clicks"]
    titles, *pairs = VISITS
    lines = [",".join(pair) for pair in pairs]
    rows = predict_lines(run.path, lines)
    assert [(row["user"], row["item"]) for row in rows] == pairs
    assert are_close(predict_lines(run.path, [",".join(titles), *lines], "batch_size=1"), rows)
    assert are_close(predict_lines(run.path, lines[::-1], "batch_size=7"), rows[::-1])
    test_rows = {(row["user"], row["item"]): row["p_1"] for row in run.test_rows}
    same = [(row["p_1"], test_rows[pair]) for row, pair in zip(rows, pairs, strict=True) if pair in test_rows]
    assert len(same) > 5
    np.testing.assert_allclose(*np.transpose(same), rtol=1e-6)


@pytest.mark.slow
def test_pairs_in_memory_are_those_of_a_file(runs: MovedRuns) -> None:
    import pandas as pd

    titles, *pairs = VISITS
    model = trained_model.load(runs["clicks"].path, "cpu")
    frame = pd.DataFrame(pairs, columns=list(titles))
    expected = [row["p_1"] for row in predict_lines(runs["clicks"].path, [",".join(pair) for pair in pairs])]
    for given in (pairs, frame, frame.to_dict("records"), frame.to_numpy()):
        np.testing.assert_allclose(model.predict_proba(given)[:, 1], expected, rtol=1e-6)
    with pytest.raises(ConfigError, match=r"row 2: this run has no user 'u999'; did you mean u9"):
        model.predict([("u1", "i1"), ("u999", "i1")])
    with pytest.raises(ConfigError, match="each must have user, item"):
        model.predict([{"user": "u1"}])


@pytest.mark.slow
def test_best_new_links_are_the_most_probable_of_all_unlinked_pairs(
    runs: MovedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.data.splits.candidate_pairs.BLOCK_CELLS", 150)  # several blocks
    path = runs["links"].path
    model = trained_model.load(path, "cpu")
    edges = {tuple(edge) for edge in model.data.train.full_batch.inputs["edge_index"].t().tolist()}
    pairs = [(i, j) for i in range(60) for j in range(i + 1, 60) if (i, j) not in edges]
    rows = predict_lines(path, [f"{i},{j}" for i, j in pairs])
    best = sorted(rows, key=lambda row: -row["p_1"])[:9]
    found = predict(path, "top_k=9")
    assert are_close(found, best)
    columns = model.predict_columns(None, top_k=9)
    assert list(zip(columns["node_1"], columns["node_2"], strict=True)) == [(r["node_1"], r["node_2"]) for r in best]
    of_node = predict_lines(path, ["7"], "top_k=3")
    to_node = predict_lines(path, [f"7,{j}" for j in range(60) if j != 7 and (7, j) not in edges])
    assert are_close(of_node, sorted(to_node, key=lambda row: -row["p_1"])[:3])


@pytest.mark.slow
def test_best_new_items_of_a_user_are_those_without_training_click(runs: MovedRuns) -> None:
    path = runs["clicks"].path
    model = trained_model.load(path, "cpu")
    graph, names = model.data.train.full_batch.inputs["edge_index"].t().tolist(), model.data.fitted.values
    clicked = {(names["users"][u], names["items"][i - len(names["users"])]) for u, i in graph if u < i}
    rows = predict_lines(path, ["u1", "u3"], "top_k=100")
    for user in ("u1", "u3"):
        mine = [row for row in rows if row["user"] == user]
        assert {row["item"] for row in mine} == {item for item in names["items"] if (user, item) not in clicked}
        assert [row["p_1"] for row in mine] == sorted((row["p_1"] for row in mine), reverse=True)
    few = predict(path, "top_k=2")
    assert len(few) == 2 * len(names["users"])
    assert are_close([row for row in few if row["user"] == "u3"], [row for row in rows if row["user"] == "u3"][:2])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["u1,i1", "u77,i2"], r"row 2 \(line 2\), column 'column 0': this run has no user 'u77'; did you mean u7"),
        (["u1", "u2"], "has 1 column, without item"),
        (["user,item"], r"has a header but no rows"),
    ],
)
def test_invalid_pairs_are_refused(lines: list[str], message: str, runs: MovedRuns) -> None:
    with pytest.raises(ConfigError, match=message):
        predict_lines(runs["clicks"].path, lines)


@pytest.mark.slow
def test_unknown_users_are_skipped_on_request(runs: MovedRuns, capsys: pytest.CaptureFixture[str]) -> None:
    rows = predict_lines(runs["clicks"].path, ["u1,i1", "u77,i2", "u3,i4"], "on_error=skip")
    assert [row["user"] for row in rows] == ["u1", "u3"]
    assert "no user 'u77'" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"input: missing; give the file of pairs, or top_k=K"):
        predict(runs["clicks"].path, "on_error=skip")
