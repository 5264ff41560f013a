"""Knowledge graphs: files of triples, queries, splits, baseline and errors."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import clock
from tests.helpers.real_data import FOLDER, needs
from trainer.core.batch import IGNORE_INDEX
from trainer.core.dataset import Dataset
from trainer.data.datasets.graph.knowledge_graphs import WN18RR, SmallKnowledgeGraph
from trainer.data.datasets.graph.triples import Triples
from trainer.data.splits.graph_batches import SplitWithSharedInputs
from trainer.data.splits.triple_queries import TripleQuerySplit
from trainer.metrics.ranking import filtered_ranks
from trainer.utils.errors import DataError

COLUMNS = ["head", "relation", "tail"]


def load_triples(path: Path, **changes: Any) -> Triples:
    options = {"columns": COLUMNS, "delimiter": None, "val": 0.1, "test": 0.1, "seed": 0}
    return Triples(str(path), **options | changes)


def write_splits(folder: Path, train: str, val: str, test: str) -> Path:
    for name, text in (("train", train), ("valid", val), ("test", test)):
        (folder / f"{name}.txt").write_text(text)
    return folder


def list_queries(data: Dataset) -> dict[str, list[tuple[int, int, int, set[int]]]]:
    """Return head, relation, tail and known tails of every row."""
    queries = {}
    for name, split in (("train", data.train), ("val", data.val), ("test", data.test)):
        batch = split.batch(torch.arange(len(split)), 0)
        assert batch.target is not None
        columns = [batch.inputs["head"], batch.inputs["relation"], batch.target, batch.inputs["known"]]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        queries[name] = [(h, r, t, {k for k in known if k != IGNORE_INDEX}) for h, r, t, known in rows]
    return queries


def test_every_triple_gives_two_queries_with_all_answers(tmp_path: Path) -> None:
    data = load_triples(write_splits(tmp_path, "a r b\na r c\nb q a\n", "a r d\n", "c q a\n"))
    assert data.info.sizes["num_entities"] == 4
    assert data.info.sizes["num_relations"] == 4
    a, b, c, d, q, r = 0, 1, 2, 3, 0, 1
    tails = {b, c, d}
    assert list_queries(data) == {
        "train": [
            *((a, r, b, tails), (a, r, c, tails), (b, q, a, {a})),
            *((b, r + 2, a, {a}), (c, r + 2, a, {a}), (a, q + 2, b, {b, c})),
        ],
        "val": [(a, r, d, tails), (d, r + 2, a, {a})],
        "test": [(c, q, a, {a}), (a, q + 2, c, {b, c})],
    }


def test_the_shared_graph_is_the_training_graph(tmp_path: Path) -> None:
    data = load_triples(write_splits(tmp_path, "a r b\na r c\nb q a\n", "a r d\n", "c q a\n"))
    for split in (data.train, data.val, data.test):
        batch = split.to_model_inputs(split.batch(torch.arange(2), 0))
        edges = zip(*batch.inputs["edge_index"].tolist(), batch.inputs["edge_type"].tolist(), strict=True)
        assert sorted(edges) == sorted((h, t, r) for h, r, t, _ in list_queries(data)["train"])


def test_known_tails_are_padded_to_longest_of_batch(tmp_path: Path) -> None:
    split = load_triples(write_splits(tmp_path, "a r b\na r c\nb q a\n", "a r d\n", "c q a\n")).train
    assert isinstance(split, SplitWithSharedInputs)
    assert isinstance(split.rows, TripleQuerySplit)
    widths = [batch.inputs["known"].shape for batch in split.iter_batches([torch.tensor([2]), torch.tensor([0, 3])], 0)]
    assert widths == [(1, 1), (2, 3)]


def test_single_file_is_split_randomly_without_shared_triples(tmp_path: Path) -> None:
    path = clock.write(tmp_path)
    path.write_text(path.read_text() * 2)  # duplicates count once
    facts = {name: {row[:3] for row in rows} for name, rows in list_queries(load_triples(path)).items()}
    assert [len(rows) for rows in facts.values()] == [2 * 192, 2 * 24, 2 * 24]
    assert len(set().union(*facts.values())) == 480
    assert list_queries(load_triples(path, seed=1)) != list_queries(load_triples(path))


def test_columns_in_any_order_and_names_with_spaces(tmp_path: Path) -> None:
    rows = [("New York", "is in", "the USA"), ("the USA", "holds", "New York"), ("Ohio", "is in", "the USA")]
    queries = []
    for number, order in enumerate((["head", "relation", "tail"], ["relation", "head", "tail"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        lines = ["\t".join(dict(zip(COLUMNS, row, strict=True))[name] for name in order) + "\n" for row in rows]
        queries.append(list_queries(load_triples(write_splits(folder, *lines), columns=order)))
    assert queries[0] == queries[1]


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (
            "a r b\na b\n",
            {},
            "train.txt line 2 has 2 columns separated by whitespace: 'a b'; expected 3: head, relation",
        ),
        ("a\tr\tb\nc d e\n", {}, r"line 2 has 1 columns separated by '\\t'"),
        ("a,r,b\n", {}, "line 1 has 1 columns separated by whitespace"),
        ("\n", {}, "contains no triples"),
        ("c q a\n", {}, "c q a is in both train and test"),
        ("r a b\n", {"columns": ["head", "head", "tail"]}, "head, relation and tail once each"),
    ],
)
def test_invalid_triples_are_refused(tmp_path: Path, train: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_triples(write_splits(tmp_path, train, "a r d\n", "c q a\n"), **options)


def test_reordered_columns_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "facts.txt"
    path.write_text("likes ann bob\nknows bob ann\nlikes bob cid\n")
    with pytest.raises(
        DataError,
        match=r"'ann' is both a head and a relation; did you mean data.columns=\[relation,tail,head\]\?",
    ):
        load_triples(path, columns=["tail", "relation", "head"], val=0.3, test=0.3)
    with pytest.raises(DataError, match=r"did you mean data.columns=\[relation,head,tail\]"):
        load_triples(path, val=0.3, test=0.3)
    path.write_text("ann likes tea\nbob likes rum\ncid hates tea\n")  # people and drinks share no name, and need not
    load_triples(path, val=0.3, test=0.3)


@pytest.mark.parametrize("names", ["0\t1\t2", "head\trelation\ttail"])
def test_a_header_line_is_not_a_triple(tmp_path: Path, names: str) -> None:
    facts = "".join(f"e{i % 7}\tr{i % 2}\te{i % 11}\n" for i in range(40))
    path = tmp_path / "facts.txt"
    path.write_text(f"{names}\n{facts}")
    with pytest.raises(DataError, match=r"occur in the first line only: if it is a header, remove it"):
        load_triples(path)
    path.write_text(f"{facts}{names}\n")
    load_triples(path)
    with pytest.raises(DataError, match="occur in the first line only"):
        load_triples(write_splits(tmp_path, f"{names}\n{facts}", f"{names}\ne1\tr0\te5\n", f"{names}\ne2\tr0\te6\n"))


def test_missing_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a r b\n")
    with pytest.raises(DataError, match=r"has no valid.txt for the val split \(found: train.txt\)"):
        load_triples(tmp_path)
    with pytest.raises(DataError, match=r"fact\.txt does not exist"):
        load_triples(tmp_path / "fact.txt")
    with pytest.raises(DataError, match="1 triples are too few for three splits"):
        load_triples(tmp_path / "train.txt")


@needs("kg_small")
def test_kinship_sizes_and_known_tails() -> None:
    data = SmallKnowledgeGraph("kinship", str(FOLDER))
    assert data.info.sizes["num_entities"] == 104
    assert data.info.sizes["num_relations"] == 2 * 25
    assert [len(split) for split in (data.train, data.val, data.test)] == [2 * 8548, 2 * 1069, 2 * 1069]
    rows = list_queries(data)
    answers = defaultdict(set)
    for part in rows.values():
        for head, relation, tail, _ in part:
            answers[head, relation].add(tail)
    assert all(known == answers[h, r] for part in rows.values() for h, r, _, known in part)


@needs("kg_small")
def test_baseline_mrr_is_filtered_rank_by_tail_frequency() -> None:
    data = SmallKnowledgeGraph("nations", str(FOLDER))
    rows = list_queries(data)
    counts = torch.zeros(data.info.sizes["num_relations"], 14)
    for _, relation, tail, _ in rows["train"]:
        counts[relation, tail] += 1
    ranks = []
    for _, relation, tail, known in rows["test"]:
        others = torch.tensor([sorted(known)])
        ranks.append(float(filtered_ranks(counts[relation][None], torch.tensor([tail]), others)))
    assert data.info.baseline["mrr"] == pytest.approx(float((1 / torch.tensor(ranks)).mean()))
    assert 0.3 < data.info.baseline["mrr"] < 0.6


@pytest.mark.slow
@needs("wn18rr")
def test_wn18rr_sizes_match_publication() -> None:
    data = WN18RR(str(FOLDER))
    assert data.info.sizes["num_entities"] == 40943
    assert data.info.sizes["num_relations"] == 2 * 11
    assert [len(split) for split in (data.train, data.val, data.test)] == [2 * 86835, 2 * 3034, 2 * 3134]
    assert 0.01 < data.info.baseline["mrr"] < 0.05
