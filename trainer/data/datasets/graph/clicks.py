"""User-item interactions with click labels for recommendation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.preprocessing import Preprocessing, describe_new_names
from trainer.core.split import Split
from trainer.core.types import DataPath, NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.encoding.node_names import NodeNames, TableFormat
from trainer.data.encoding.pair_reader import NodePairs, PairReader
from trainer.data.readers import delimited, table_summary
from trainer.data.readers.table import ColumnFinder, Table
from trainer.data.readers.text_file import quote_cell
from trainer.data.reference import baselines, bayes_optimal
from trainer.data.splits.candidate_pairs import PairSplit, get_graph_inputs
from trainer.data.splits.graph_batches import SplitWithSharedInputs
from trainer.data.splits.negative_sampling import NonEdges, split_links, to_undirected
from trainer.data.splits.splitting import split_by_order
from trainer.metrics.classification import roc_auc
from trainer.utils.errors import DataError

HELD_OUT_FRACTION = 0.2
"""Fraction of pairs for validation, and for test."""


class _ClickDataset(Dataset):
    """Base class of clicks: edges between users and items, which are numbered after all users."""

    def read_chunks(
        self,
        path: str | None = None,
        with_targets: bool = False,
        top_k: PositiveInt | None = None,
        on_error: Literal["error", "skip"] = "error",
    ) -> Iterator[PairSplit]:
        """Read pairs of user and item from a table; with ``top_k``, users and all items that they have not clicked on.

        Args:
            path: File with a user and an item per row or, with ``top_k``, with a user per row; None for all users.
            with_targets: Read the column of clicks too.
            top_k: Number of the most probable new items of each user; training clicks are not new.
            on_error: Refuse a file with an unknown user or item, or skip its rows.
        """
        return self._make_reader().read(path, with_targets, top_k, on_error)

    def encode_rows(self, rows: Any) -> PairSplit:
        """Encode pairs of user and item.

        Args:
            rows: Pairs of names (P, 2), or a data frame or dicts with user and item.
        """
        return self._make_reader().encode(rows)

    def row_schema(self) -> dict[str, Any]:
        return self._make_reader().describe_row()

    def _make_reader(self) -> PairReader:
        values, options = {} if self.fitted is None else self.fitted.values, self.options
        table_format = TableFormat(**{key: options[key] for key in TableFormat._fields if key in options})
        columns = [
            [key for key in (options.get(title), *values.get("columns", ())[side : side + 1]) if key is not None]
            for side, title in enumerate(("user", "item"))
        ]
        click = options.get("click")
        target = "click" if click is None else click
        return PairReader(self._name_nodes(), get_graph_inputs(self.train), table_format, target, columns)

    def _name_nodes(self) -> NodePairs:
        """Return the stored names, or numbers where there are none."""
        sizes = {"users": self.info.sizes["num_users"], "items": self.info.sizes["num_items"]}
        stored = {} if self.fitted is None else self.fitted.values
        names = [stored.get(key) or [str(number) for number in range(count)] for key, count in sizes.items()]
        return _pair_names(*names)


class SyntheticClicks(_ClickDataset):
    """Click prediction from a low-rank logistic model.

    User factors u and item factors v are standard normal vectors of size ``rank``; the log-odds of a click are
    ``scale u . v / sqrt(rank)``. Users and items are nodes of a bipartite graph: user k is node k, item k is node
    ``users + k``. Every user-item pair occurs once: 60 % for training, 20 % for validation, 20 % for test. The edges
    are the clicks of the training pairs, in both directions. The best possible score knows the log-odds; the baseline
    ranks items by popularity, the fraction of clicks among their training pairs.

    Args:
        users: Number of users.
        items: Number of items.
        rank: Rank of the preference matrix.
        scale: Standard deviation of the log-odds of a click.
        seed: Random seed of the data.
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
        user_factors, item_factors = (torch.randn(count, rank, generator=random) for count in (users, items))
        log_odds = scale / rank**0.5 * user_factors @ item_factors.t()
        clicked = (torch.rand(log_odds.shape, generator=random) < log_odds.sigmoid()).long()
        pairs = torch.cartesian_prod(torch.arange(users), users + torch.arange(items))
        order = torch.randperm(len(pairs), generator=random)
        parts: Sequence[Split] = split_by_order({"pairs": pairs}, clicked.flatten(), order)
        test_pairs, test_targets = _pairs_and_targets(parts[2])
        best = bayes_optimal.log_odds_optimum(log_odds[test_pairs[:, 0], test_pairs[:, 1] - users], test_targets)
        names = _pair_names(*(list(map(str, range(count))) for count in (users, items)))
        self.train, self.val, self.test, self.info = _add_click_graph(parts, names, best)


class ClickFile(_ClickDataset):
    """Click prediction from a table with one user and one item per row.

    With a column ``click`` of 0 and 1, rows are impressions; a pair in several rows counts as clicked if one of them
    is. Without it every row is a click, and as many negative pairs are sampled from the others: fixed ones for
    validation and test, new ones in every epoch for training. Nodes are users, then items, in order of first
    occurrence. Split fractions, graph and baseline are those of ``SyntheticClicks``.

    Args:
        path: Delimited text file.
        user: User column, by name or index.
        item: Item column, by name or index.
        click: Label column of 0 and 1, by name or index; None if every row is a click.
        delimiter: Column delimiter: comma, semicolon, tab, bar, space or a character; None detects it.
        header: Whether the first row holds the column names; ``auto`` detects it.
        encoding: Character encoding of the file.
        seed: Random seed of the split and of the negative pairs.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: The file is not such a table.
    """

    shapes = "pairs (P, 2), edge_index (2, E) -> (P)"

    can_encode_changed_files = False
    reusable_values = MappingProxyType(dict.fromkeys(("users", "items"), ()))
    counted_values = MappingProxyType({"num_users": "users", "num_items": "items"})

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
        keys = {"user": user, "item": item, "click": click}
        self.options = {**keys, "delimiter": delimiter, "header": header, "encoding": encoding}
        table = delimited.read(path, "path", delimiter, header, encoding, (user, item, click))
        find = ColumnFinder(table)
        id_columns = [find(*key) for key in ((user, "user"), (item, "item"))]
        click_column = None if click is None else find(click, "click")
        find.raise_missing()
        _refuse_index(table, id_columns)
        user_ids, item_ids = (_read_ids(table, column) for column in id_columns)
        names_by_side = [
            fitted.get_or_fit(key, partial(list, dict.fromkeys(ids)), partial(describe_new_names, ids))
            for key, ids in (("users", user_ids), ("items", item_ids))
        ]
        nodes = [{name: node for node, name in enumerate(names)} for names in names_by_side]
        users, items = map(len, nodes)
        edges = torch.tensor([(nodes[0][u], users + nodes[1][i]) for u, i in zip(user_ids, item_ids, strict=True)])
        clicks = torch.ones(len(edges), dtype=torch.long) if click_column is None else _read_clicks(table, click_column)
        pairs, pair_index = edges.unique(dim=0, return_inverse=True)
        if click is None:
            parts: Sequence[Split] = split_links(
                pairs, partial(NonEdges.from_bipartite_graph, users, items), HELD_OUT_FRACTION, HELD_OUT_FRACTION, seed
            )
        else:
            clicked = (torch.bincount(pair_index, clicks) > 0).long()
            parts = split_by_order({"pairs": pairs}, clicked, rng.make_permutation(len(pairs), seed, 0))
        if table.has_header:
            fitted.values.setdefault("columns", [table.names[column] for column in id_columns])
        self.train, self.val, self.test, info = _add_click_graph(parts, _pair_names(*names_by_side), {})
        lines = [table_summary.first_line(table), f"{users} users, {items} items, {len(pairs)} different pairs"]
        self.info = replace(info, file_summary=table_summary.log_lines(lines))


def _pair_names(users: Sequence[str], items: Sequence[str]) -> NodePairs:
    return NodePairs(NodeNames("user", users), NodeNames("item", items, first=len(users)))


def _refuse_index(table: Table, id_columns: Sequence[int]) -> None:
    """Raise DataError where users or items are row numbers: pandas writes its index as the first column."""
    index = next(filter(table.is_index_column, id_columns), None)
    if index is not None:
        others = [table.column_key(column) for column in range(len(table.names)) if column != index]
        example = f" (such as data.user={others[0]} data.item={others[1]})" if len(others) > 1 else ""
        raise DataError(
            f"{table.path}: column {table.names[index]!r} is unnamed and holds row numbers; select the columns by"
            f" data.user and data.item{example}"
        )


def _read_ids(table: Table, column: int) -> tuple[str, ...]:
    """Return a column of ids as strings: 7, 007 and 7.0 are distinct, and digits are never rounded.

    Files write an id in the same way in every row; where spellings differ, ids are codes rather than numbers.

    Raises:
        DataError: Empty cell.
    """
    cells = table.columns[column]
    if "" in cells:
        row = cells.index("")
        raise DataError(
            f"{table.describe_cell(row, column)}: empty cell ({cells.count('')} in the column); every row needs a value"
        )
    return cells


def _read_clicks(table: Table, column: int) -> Tensor:
    """Return the click labels (R,). Raises DataError for a cell other than 0 and 1."""
    labels = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
    for row, cell in enumerate(table.columns[column]):
        if cell not in labels:
            raise DataError(f"{table.describe_cell(row, column)}: {quote_cell(cell)} is neither 0 nor 1")
    return torch.tensor([labels[cell] for cell in table.columns[column]])


def _pairs_and_targets(part: Split) -> tuple[Tensor, Tensor]:
    """Return the pairs (P, 2) of a split in epoch 0, and their targets (P,)."""
    batch = part.batch(torch.arange(len(part)), 0)
    return batch.inputs["pairs"], batch.require_target()


def _add_click_graph(
    parts: Sequence[Split], names: NodePairs, best: Mapping[str, float]
) -> tuple[SplitWithSharedInputs, SplitWithSharedInputs, SplitWithSharedInputs, DatasetInfo]:
    """Add the graph of training clicks to the three splits; also return the data set info."""
    users, items = len(names.first.names), len(names.second.names)
    (train_pairs, train_clicks), (test_pairs, test_targets) = _pairs_and_targets(parts[0]), _pairs_and_targets(parts[2])
    graph = {"edge_index": to_undirected(train_pairs[train_clicks == 1])}
    train, val = (SplitWithSharedInputs(part, graph) for part in parts[:2])
    test = PairSplit(test_pairs, test_targets, graph, names.describe)
    impressions, clicks = (
        torch.bincount(train_pairs[:, 1], weight, users + items) for weight in (None, train_clicks.double())
    )
    popularity = (clicks / impressions.clamp(min=1))[test_pairs[:, 1]]
    info = DatasetInfo(
        sizes={
            "num_users": users,
            "num_items": items,
            "num_nodes": users + items,
            "num_classes": 2,
            "out_features": 1,
        },
        baseline=baselines.majority_class(parts[0], parts[2], 2) | {"auc": roc_auc(popularity, test_targets == 1)},
        best_possible=best,
    )
    return train, val, test, info
