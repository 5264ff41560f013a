"""Pairs of nodes: held-out links, negative sampling, click files and best possible scores."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from tests.helpers.lab import lab
from trainer.data.datasets.graph.clicks import ClickFile, SyntheticClicks
from trainer.data.datasets.graph.link_prediction import SBMLinkPrediction
from trainer.data.splits.negative_sampling import LinkSplit, NonEdges, split_links, to_undirected
from trainer.utils.errors import DataError


def make_sbm(**changes: Any) -> SBMLinkPrediction:
    options: dict[str, Any] = {
        **{"nodes": 300, "blocks": 4, "p_within": 0.07, "p_across": 0.007, "mu": 1.0},
        **{"val": 0.1, "test": 0.2, "seed": 0},
    }
    return SBMLinkPrediction(**{**options, **changes})


def make_clicks(**changes: Any) -> SyntheticClicks:
    return SyntheticClicks(**{"users": 30, "items": 20, "rank": 4, "scale": 3.0, "seed": 0, **changes})


def to_undirected_pairs(pairs: Tensor) -> set[tuple[int, int]]:
    return {(min(pair), max(pair)) for pair in pairs.tolist()}


def load_rows(split: Any, epoch: int = 0) -> Any:
    return split.to_model_inputs(split.batch(torch.arange(len(split)), epoch))


def load_all_pairs(data: Any) -> tuple[Tensor, Tensor]:
    """Return the pairs and targets of all three splits."""
    batches = [load_rows(split) for split in (data.train, data.val, data.test)]
    return torch.cat([batch.inputs["pairs"] for batch in batches]), torch.cat([batch.target for batch in batches])


def test_non_edges_are_numbered_consecutively() -> None:
    non_edges = NonEdges.from_graph(5, torch.tensor([[0, 3], [4, 1]]))
    pairs = [tuple(pair) for pair in non_edges[torch.arange(len(non_edges))].tolist()]
    edges = {(0, 3), (3, 0), (4, 1), (1, 4)}
    assert pairs == [(i, j) for i in range(5) for j in range(5) if i != j and (i, j) not in edges]


def test_bipartite_non_edges_connect_users_with_items() -> None:
    non_edges = NonEdges.from_bipartite_graph(2, 3, torch.tensor([[0, 2], [1, 3], [1, 4]]))
    assert non_edges[torch.arange(len(non_edges))].tolist() == [[0, 3], [0, 4], [1, 2]]


def test_non_edges_are_drawn_uniformly_and_by_row_only() -> None:
    non_edges = NonEdges.from_graph(5, torch.tensor([[0, 3], [4, 1]]))
    rows = torch.arange(16000)
    pairs = non_edges.draw(rows, seed=3, epoch=1)
    counts = torch.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25)
    assert (counts > 0).sum() == len(non_edges) == 16
    assert (counts[counts > 0] / 1000 - 1).abs().max() < 0.15
    torch.testing.assert_close(non_edges.draw(rows[7:9], 3, 1), pairs[7:9])
    assert not torch.equal(non_edges.draw(rows, 3, 2), pairs)
    assert not torch.equal(non_edges.draw(rows, 4, 1), pairs)


def test_non_edges_reach_last_node_beyond_float32_precision() -> None:
    non_edges = NonEdges.from_graph(100_000, torch.tensor([[0, 1]]))
    pairs = non_edges.draw(torch.arange(50_000), 0, 0)
    assert int(pairs.max()) >= 99_990
    assert pairs.float().mean() == pytest.approx(50_000, rel=0.01)
    assert len((pairs[:, 1] % 256).unique()) == 256  # 24 bits alone would leave a coarse grid


class TestBlockPairs:
    def test_held_out_links_are_not_in_the_graph(self) -> None:
        data = make_sbm()
        graph_pairs = to_undirected_pairs(data.train.shared_inputs["edge_index"].t())
        for split in (data.val, data.test):
            batch = load_rows(split)
            positives = to_undirected_pairs(batch.inputs["pairs"][batch.target == 1])
            assert not positives & graph_pairs
            assert int(batch.target.sum()) * 2 == len(batch.target)
            assert torch.equal(batch.inputs["edge_index"], data.train.shared_inputs["edge_index"])

    def test_held_out_pairs_are_never_training_pairs(self) -> None:
        """Negatives exclude held-out non-edges too: if links alone were missing, their absence would reveal them."""
        data = make_sbm()
        held_out = [to_undirected_pairs(load_rows(split).inputs["pairs"]) for split in (data.val, data.test)]
        assert not held_out[0] & held_out[1]
        training_pairs = set().union(
            *(to_undirected_pairs(load_rows(data.train, epoch).inputs["pairs"]) for epoch in range(40))
        )
        assert not training_pairs & (held_out[0] | held_out[1])
        assert len(training_pairs) > 20_000  # of 44850, so held-out pairs are not missing by chance

    def test_training_negatives_are_redrawn_each_epoch(self) -> None:
        data = make_sbm()
        one, again, other = (load_rows(data.train, epoch) for epoch in (0, 0, 1))
        links = to_undirected_pairs(data.train.shared_inputs["edge_index"].t())
        assert to_undirected_pairs(one.inputs["pairs"][one.target == 1]) == links
        assert int(one.target.sum()) == len(links) == len(one.target) / 2
        negatives = to_undirected_pairs(one.inputs["pairs"][one.target == 0])
        assert not negatives & links
        assert not (one.inputs["pairs"][:, 0] == one.inputs["pairs"][:, 1]).any()
        assert torch.equal(one.inputs["pairs"], again.inputs["pairs"])
        assert len(negatives & to_undirected_pairs(other.inputs["pairs"][other.target == 0])) < 0.1 * len(negatives)

    def test_graph_is_undirected_without_loops_or_duplicates(self) -> None:
        edges = make_sbm().train.shared_inputs["edge_index"]
        assert torch.equal(edges.flip(0).unique(dim=1), edges.unique(dim=1))
        assert edges.unique(dim=1).shape == edges.shape
        assert not (edges[0] == edges[1]).any()

    def test_best_possible_is_score_of_same_block_oracle(self) -> None:
        data = make_sbm(nodes=1000, p_within=0.02, p_across=0.002)
        pairs, truth = data.test.rows.inputs["pairs"], data.test.rows.target
        same = pairs[:, 0] % 4 == pairs[:, 1] % 4
        best = data.info.best_possible
        assert best["auc"] == pytest.approx(roc_auc_score(truth, same))
        assert best["average_precision"] == pytest.approx(average_precision_score(truth, same))
        assert best["accuracy"] == float((same == truth).double().mean())
        # Its expectation: P(same | link) and P(same | non-edge) from the two probabilities.
        link, non_edge = (249 * w / (249 * w + 750 * a) for w, a in ((0.02, 0.002), (0.98, 0.998)))
        assert best["auc"] == pytest.approx((1 + link - non_edge) / 2, abs=0.03)

    def test_moved_split_loads_equal_pairs(self) -> None:
        train = make_sbm().train
        copy = train.to(torch.device("cpu"))
        assert torch.equal(load_rows(copy, 3).inputs["pairs"], load_rows(train, 3).inputs["pairs"])

    @pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (0.1, 0.0001), (0.6, 0.6)])
    def test_a_split_without_links_is_refused(self, val: float, test: float) -> None:
        with pytest.raises(DataError, match=r"\d+ links and \d+ unlinked pairs are too few"):
            make_sbm(val=val, test=test)


def test_complete_graph_without_non_edges_raises() -> None:
    edges = torch.combinations(torch.arange(10))
    with pytest.raises(DataError, match="45 links and 0 unlinked pairs are too few"):
        split_links(edges, partial(NonEdges.from_graph, 10), 0.2, 0.2, 0)


def test_link_split_of_one_link() -> None:
    split = LinkSplit(torch.tensor([[2, 0]]), NonEdges.from_graph(3, torch.tensor([[0, 2]])), seed=0)
    batch = split.batch(torch.tensor([1, 0]), 0)
    assert batch.target.tolist() == [0, 1]
    assert batch.inputs["pairs"][1].tolist() == [2, 0]
    assert split.get_targets().tolist() == [1, 0]


class TestClicks:
    def test_graph_has_training_clicks_only(self) -> None:
        data = make_clicks()
        train = data.train.rows
        click_pairs = train.inputs["pairs"][train.target == 1]
        assert torch.equal(data.train.shared_inputs["edge_index"], to_undirected(click_pairs))
        graph_pairs = to_undirected_pairs(data.train.shared_inputs["edge_index"].t())
        for split in (data.val, data.test):
            assert not graph_pairs & to_undirected_pairs(split.rows.inputs["pairs"])

    def test_every_user_is_paired_with_every_item_once(self) -> None:
        data = make_clicks()
        pairs = torch.cat([split.rows.inputs["pairs"] for split in (data.train, data.val, data.test)])
        assert len(pairs.unique(dim=0)) == len(pairs) == 600
        assert pairs.amin(0).tolist() == [0, 30]
        assert pairs.amax(0).tolist() == [29, 49]
        assert [len(split) for split in (data.train, data.val, data.test)] == [360, 120, 120]
        assert [data.info.sizes[key] for key in ("num_users", "num_items", "num_nodes")] == [30, 20, 50]

    def test_best_possible_auc_matches_reference(self) -> None:
        info = make_clicks(users=300, items=200).info
        assert info.best_possible["auc"] == pytest.approx(0.903, abs=0.01)
        assert 0.45 < info.baseline["auc"] < 0.6


class TestClickFile:
    def read_clicks(self, folder: Path, text: str, **changes: Any) -> ClickFile:
        (folder / "clicks.csv").write_text(text)
        options: dict[str, Any] = {
            "user": 0,
            "item": 1,
            "click": None,
            "delimiter": None,
            "header": "auto",
            "encoding": "utf-8",
            "seed": 0,
        }
        return ClickFile(**{"path": str(folder / "clicks.csv"), **options, **changes})

    def test_rows_are_clicks_and_other_pairs_are_negatives(self, tmp_path: Path) -> None:
        rows = [(user, item) for user in range(10) for item in range(8) if (user + item) % 3 == 0]
        data = self.read_clicks(tmp_path, "who,what\n" + "".join(f"u{u},i{i}\n" for u, i in rows * 2))
        clicks = {(f"u{u}", f"i{i}") for u, i in rows}
        users, items = [*dict.fromkeys(f"u{u}" for u, _ in rows)], [*dict.fromkeys(f"i{i}" for _, i in rows)]
        names = [*users, *items]
        pairs, target = load_all_pairs(data)
        assert len(target) == 2 * len(rows)  # duplicates count once
        for (user, item), is_click in zip(pairs.tolist(), target.tolist(), strict=True):
            assert ((names[user], names[item]) in clicks) == bool(is_click)
        assert data.info.sizes["num_nodes"] == 18

    def test_a_click_column_decides_what_counts_as_a_click(self, tmp_path: Path) -> None:
        rows = "".join(f"i{i};u{u};{int(u == i)}\n" for u in range(6) for i in range(6)) + "i1;u0;1\n"
        data = self.read_clicks(tmp_path, "item;user;bought\n" + rows, user="user", item="item", click="bought")
        pairs, target = load_all_pairs(data)
        click_pairs = {tuple(pair) for pair in pairs[target == 1].tolist()}
        assert click_pairs == {(0, 7), *((k, 6 + k) for k in range(6))}
        assert len(pairs) == 36

    def test_ids_are_texts(self, tmp_path: Path) -> None:
        users = ["007", "7", "900719925474099200", "900719925474099201", "1_0", "10"]
        rows = "".join(f"{user},i{i},{int((k + i) % 3 == 0)}.0\n" for k, user in enumerate(users) for i in range(5))
        data = self.read_clicks(tmp_path, "user,item,click\n" + rows, click="click")
        assert data.info.sizes["num_users"] == 6

    def test_missing_id_and_ambiguous_header_raise(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"row 2 \(line 3\), column 'item': empty cell \(1 in the column\)"):
            self.read_clicks(tmp_path, "user,item\nx,y\nx,\n")
        with pytest.raises(DataError, match=r"the first row of .* may be a header or numbers .* data.header=true"):
            self.read_clicks(tmp_path, "0,1\n" + "".join(f"{100 + u},{500 + u % 7}\n" for u in range(30)))
        with pytest.raises(DataError, match=r"user: no column 'usr'[^$]*item: no column 'itm'"):
            self.read_clicks(tmp_path, "user,item\nx,y\n", user="usr", item="itm")

    def test_an_index_column_is_not_a_user(self, tmp_path: Path) -> None:
        rows = "".join(f"{n},u{n % 9},i{n * n % 23}\n" for n in range(40))
        for first in ("", "Unnamed: 0"):
            with pytest.raises(DataError, match=r"holds row numbers; .*such as data.user=who data.item='\"the item"):
                self.read_clicks(tmp_path, f"{first},who,the item\n{rows}")
            data = self.read_clicks(tmp_path, f"{first},who,the item\n{rows}", user="who", item="the item")
            assert (data.info.sizes["num_users"], data.info.sizes["num_items"]) == (9, 12)

    def test_rows_that_are_not_clicks_are_reported(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"clicks.csv: row 2 \(line 3\), column 'c': 'yes' is neither 0 nor 1"):
            self.read_clicks(tmp_path, "a,b,c\nx,y,1\nx,z,yes\n", click="c")
        with pytest.raises(DataError, match=r"item: no column 'itm' in .*did you mean item"):
            self.read_clicks(tmp_path, "user,item\nx,y\nx,z\n", user="user", item="itm")
        with pytest.raises(DataError, match="2 links and 0 unlinked pairs"):
            self.read_clicks(tmp_path, "user,item\nx,y\nx,z\n")


GATES = {
    "link_predictor": ("sbm_pairs", 0.65),
    "graph_generator": ("sbm_pairs", 0.65),
    "graph_vae": ("sbm_pairs", 0.65),
    "matrix_factorization": ("clicks", 0.84),
    "bipartite_gnn": ("clicks", 0.84),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", GATES)
def test_link_model_reaches_auc(model: str) -> None:
    data, min_auc = GATES[model]
    assert lab(f"model={model}", f"data={data}").test()["auc"] > min_auc


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides", [("model=matrix_factorization",), ("model=link_predictor", "model.decoder=linear")], ids=str
)
def test_model_without_graph_or_interaction_stays_near_chance(overrides: tuple[str, ...]) -> None:
    assert lab(*overrides, "data=sbm_pairs", "epochs=100").test()["auc"] < 0.6
