"""Users and the items they clicked on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset, DatasetInfo, Split
from trainer.core.preprocessing import Preprocessing
from trainer.core.types import DataPath, NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.readers import delimited, table_summary
from trainer.data.readers.delimited import ColumnFinder, Table
from trainer.data.readers.text_file import quote_cell
from trainer.data.reference import baselines, bayes_optimal
from trainer.data.splits.graph_batches import SplitWithSharedInputs
from trainer.data.splits.negative_sampling import NonEdges, split_links, to_undirected
from trainer.data.splits.splitting import split_by_order
from trainer.metrics import metrics
from trainer.utils.errors import ConfigError

HELD_OUT_FRACTION = 0.2
"""The share of pairs that validate, and of those that test."""


class SyntheticClicks(Dataset):
    """Does a user click on an item? Tastes u and items v are standard normal vectors of ``rank`` numbers, the log-odds
    of a click ``scale u . v / sqrt(rank)``. Users and items are nodes: user k is node k, item k is node ``users + k``.
    Every user is shown every item once; 60 % of these pairs train, 20 % validate, 20 % test. The graph beside them
    joins users and items by the clicks of the training pairs alone, in both directions. The best possible score knows
    the odds; the baseline ranks items by the share of clicks among those who were shown them in training.
    """

    shapes = "pairs (P, 2), edge_index (2, E) -> (P)"

    def __init__(
        self,
        users: PositiveInt = 300,
        items: PositiveInt = 200,
        rank: PositiveInt = 4,
        scale: PositiveFloat = 3.0,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        tastes, kinds = (torch.randn(count, rank, generator=random) for count in (users, items))
        odds = scale / rank**0.5 * tastes @ kinds.t()
        clicked = (torch.rand(odds.shape, generator=random) < odds.sigmoid()).long()
        pairs = torch.cartesian_prod(torch.arange(users), users + torch.arange(items))
        order = torch.randperm(len(pairs), generator=random)
        parts: Sequence[Split] = split_by_order({"pairs": pairs}, clicked.flatten(), order)
        tested, truth = _pairs_and_targets(parts[2])
        best = bayes_optimal.log_odds_optimum(odds[tested[:, 0], tested[:, 1] - users], truth)
        self.train, self.val, self.test, self.info = _add_click_graph(parts, users, items, best)


class ClickFile(Dataset):
    """Clicks in a table, one user and one item a row, both under any name. With a column ``click``, of 0 and 1, rows
    are what users were shown; a pair that stands in several is clicked if it is in one of them. Without it every row is
    a click, and pairs that are in none are not: as many as clicks, held out with them to validate and to test, drawn
    anew each epoch to train. Users and then items are nodes in the order of their first rows; shares of the splits,
    graph and baseline are those of ``SyntheticClicks``.

    Raises ConfigError for a file that is no such table.
    """

    shapes = "pairs (P, 2), edge_index (2, E) -> (P)"

    can_encode_changed_files = False

    def __init__(
        self,
        path: DataPath,
        user: str | int = 0,
        item: str | int = 1,
        click: str | int | None = None,
        delimiter: str | None = None,
        header: Literal["auto"] | bool = "auto",
        encoding: str = "utf-8",
        seed: NonNegativeInt = 0,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        table = delimited.read(path, "data.path", delimiter, header, encoding, (user, item, click))
        find = ColumnFinder(table)
        ends = [find(*key) for key in ((user, "data.user"), (item, "data.item"))]
        shown = None if click is None else find(click, "data.click")
        find.raise_missing()
        _refuse_index(table, ends)
        who, what = (_read_ids(table, place) for place in ends)
        known = [
            fitted.get_or_fit("users", lambda: list(dict.fromkeys(who))),
            fitted.get_or_fit("items", lambda: list(dict.fromkeys(what))),
        ]
        nodes = [{name: node for node, name in enumerate(names)} for names in known]
        users, items = map(len, nodes)
        every = torch.tensor([(nodes[0][u], users + nodes[1][i]) for u, i in zip(who, what, strict=True)])
        clicks = torch.ones(len(every), dtype=torch.long) if shown is None else _read_clicks(table, shown)
        pairs, place = every.unique(dim=0, return_inverse=True)
        if click is None:
            parts: Sequence[Split] = split_links(
                pairs, partial(NonEdges.from_bipartite_graph, users, items), HELD_OUT_FRACTION, HELD_OUT_FRACTION, seed
            )
        else:
            clicked = (torch.bincount(place, clicks) > 0).long()
            parts = split_by_order({"pairs": pairs}, clicked, rng.make_permutation(len(pairs), seed, 0))
        self.train, self.val, self.test, facts = _add_click_graph(parts, users, items, {})
        lines = [table_summary.first_line(table), f"{users} users, {items} items, {len(pairs)} different pairs"]
        self.info = replace(facts, column_summaries=table_summary.log_lines(lines))


def _refuse_index(table: Table, ends: Sequence[int]) -> None:
    """Raises ConfigError where users or items are the numbers of the rows: pandas writes its index as first column."""
    index = next(filter(table.is_index_column, ends), None)
    if index is not None:
        others = [table.column_key(place) for place in range(len(table.names)) if place != index]
        example = f" (such as data.user={others[0]} data.item={others[1]})" if len(others) > 1 else ""
        raise ConfigError(
            f"{table.path}: column {table.names[index]!r} has no name and numbers the rows; data.user and data.item say"
            f" which columns to take{example}"
        )


def _read_ids(table: Table, place: int) -> tuple[str, ...]:
    """A column of ids, which are texts: 7, 007 and 7.0 are three, and digits are never rounded.

    A file writes an id in one way, in every row; where it does not, ids were rather codes than numbers. Raises
    ConfigError for an empty cell.
    """
    cells = table.columns[place]
    if "" in cells:
        row = cells.index("")
        raise ConfigError(
            f"{table.describe_cell(row, place)}: empty; {cells.count('')} such in the column, and no row may lack it"
        )
    return cells


def _read_clicks(table: Table, place: int) -> Tensor:
    """The column of clicks (R,). Raises ConfigError for one that is neither 0 nor 1."""
    meanings = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
    for row, cell in enumerate(table.columns[place]):
        if cell not in meanings:
            raise ConfigError(f"{table.describe_cell(row, place)}: {quote_cell(cell)} is neither 0 nor 1")
    return torch.tensor([meanings[cell] for cell in table.columns[place]])


def _pairs_and_targets(part: Split) -> tuple[Tensor, Tensor]:
    """The pairs (P, 2) of a split, in the first epoch, and their targets (P,)."""
    batch = part.batch(torch.arange(len(part)), 0)
    assert batch.target is not None
    return batch.inputs["pairs"], batch.target


def _add_click_graph(
    parts: Sequence[Split], users: int, items: int, best: Mapping[str, float]
) -> tuple[SplitWithSharedInputs, SplitWithSharedInputs, SplitWithSharedInputs, DatasetInfo]:
    """The three splits beside the graph of the clicks of the first, and what there is to say of them."""
    (seen, clicked), (tested, truth) = _pairs_and_targets(parts[0]), _pairs_and_targets(parts[2])
    train, val, test = (
        SplitWithSharedInputs(part, {"edge_index": to_undirected(seen[clicked == 1])}) for part in parts
    )
    shown, clicks = (torch.bincount(seen[:, 1], weight, users + items) for weight in (None, clicked.double()))
    popularity = (clicks / shown.clamp(min=1))[tested[:, 1]]
    facts = DatasetInfo(
        sizes={
            "num_users": users,
            "num_items": items,
            "num_nodes": users + items,
            "num_classes": 2,
            "out_features": 1,
        },
        baseline=baselines.majority_class(parts[0], parts[2], 2) | {"auc": metrics.roc_auc(popularity, truth == 1)},
        best_possible=best,
    )
    return train, val, test, facts
