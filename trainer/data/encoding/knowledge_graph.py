"""Base class of knowledge graphs: ranks of the triples of a file, and the most likely answers of queries."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.core.dataset import Dataset
from trainer.core.prediction import DecodedPrediction, Prediction
from trainer.core.prediction_columns import Column
from trainer.core.split import Split
from trainer.data.encoding import node_names, triple_table
from trainer.data.encoding.node_names import NodeNames
from trainer.data.encoding.triple_table import PARTS, TripleTable
from trainer.data.readers.skipped_rows import SkippedRows
from trainer.data.splits.candidate_pairs import get_graph_inputs
from trainer.data.splits.triple_queries import KnownTails, QuerySplit, collect_known_tails
from trainer.utils.errors import DataError

CHUNK_ROWS = 1 << 16
"""Maximum number of triples of a chunk."""
QUERY_INPUTS = ("head", "relation", "known")
log = logging.getLogger(__name__)


class KnowledgeGraph(Dataset):
    """Base class of knowledge graphs, whose splits are queries in both directions."""

    def read_chunks(
        self, path: str, with_targets: bool = False, on_error: Literal["error", "skip"] = "error"
    ) -> Iterator[Split]:
        """Read triples, or queries: heads and relations ask for tails, relations and tails for heads.

        Args:
            path: Table with or without a header (.csv, .tsv), or a text file like those of training.
            with_targets: Whether all three parts must be given.
            on_error: Refuse a file with an unknown name, or skip its rows.

        Raises:
            DataError: The file cannot be read, or a name is unknown.
        """
        table = triple_table.read(path, self.options.get("columns", PARTS), self.options.get("delimiter"))
        if with_targets and len(table.columns) < len(PARTS):
            raise DataError(f"input: {path} has no {', '.join(part for part in PARTS if part not in table.columns)}")
        skipped, num_rows, known = SkippedRows(), 0, self._collect_known_tails()
        for rows in torch.arange(len(table)).split(CHUNK_ROWS):
            chunk = table.select(range(int(rows[0]), int(rows[-1]) + 1))
            split = self._encode(chunk, known, "input", skipped if on_error == "skip" else None)
            if len(split):
                num_rows += len(split)
                yield split
        skipped.report(num_rows)

    def encode_rows(self, rows: Any) -> Split:
        """Encode triples, or queries of heads and relations.

        Args:
            rows: Rows of three or two names, or a data frame or dicts with head, relation and perhaps tail.
        """
        parts: Sequence[str] = PARTS
        try:
            values = node_names.list_rows(rows, parts)
        except DataError:
            parts = PARTS[:2]
            values = node_names.list_rows(rows, parts)
        columns = dict(zip(parts, zip(*values, strict=True), strict=True))
        table = TripleTable(columns, lambda row, _: f"row {row + 1}")
        return self._encode(table, self._collect_known_tails(), "rows", None)

    def row_schema(self) -> dict[str, Any]:
        return node_names.describe_row(PARTS, PARTS[2:])

    def decode_prediction(self, prediction: Prediction, split: Split, first: int) -> DecodedPrediction:
        assert isinstance(split, QuerySplit)
        if "candidate" in prediction:
            return DecodedPrediction(self._tabulate_candidates(prediction, split))
        assert split.answer is not None
        count = len(split) // 2
        columns: dict[str, Column] = self._name_triples(
            split.subject[:count], split.relation[:count], split.answer[:count]
        )
        for name, values in prediction.items():
            if name != "target":
                columns |= {f"tail_{name}": values[:count].numpy(), f"head_{name}": values[count:].numpy()}
        return DecodedPrediction(columns)

    def _tabulate_candidates(self, prediction: Prediction, split: QuerySplit) -> dict[str, Column]:
        """Return a row for each candidate, without those that were excluded."""
        candidate, score = prediction["candidate"], prediction["score"]
        is_valid = score.isfinite()
        query, position = is_valid.nonzero(as_tuple=True)
        columns: dict[str, Column] = self._name_triples(
            split.subject[query], split.relation[query], candidate[is_valid]
        )
        return columns | {"rank": (position + 1).numpy(), "score": score[is_valid].numpy()}

    def _name_triples(self, subject: Tensor, relation: Tensor, answer: Tensor) -> dict[str, Column]:
        entities, relations = self._get_names("entity"), self._get_names("relation")
        is_head_query = relation >= len(relations.names)
        names = {
            "head": entities.select(answer.where(is_head_query, subject)),
            "relation": relations.select(relation % len(relations.names)),
            "tail": entities.select(subject.where(is_head_query, answer)),
        }
        return {part: cells.tolist() for part, cells in names.items()}

    def _encode(self, table: TripleTable, known: KnownTails, source: str, skipped: SkippedRows | None) -> QuerySplit:
        parts = [part for part in PARTS if part in table.columns]
        sides = [self._get_names("relation" if part == "relation" else "entity") for part in parts]
        columns = [table.columns[part] for part in parts]
        nodes, _ = node_names.find_nodes(sides, columns, table.locate, source, skipped)
        num_relations = self.info.sizes["num_relations"]
        graph = {name: value for name, value in get_graph_inputs(self.train).items() if name not in QUERY_INPUTS}
        if len(parts) == len(PARTS):
            return QuerySplit.from_triples(nodes, known, num_relations, graph)
        one, other = nodes.unbind(1)
        if parts[0] == "head":
            return QuerySplit(one, other, None, known, num_relations, graph)
        return QuerySplit(other, one + num_relations // 2, None, known, num_relations, graph)

    def _get_names(self, kind: str) -> NodeNames:
        assert self.fitted is not None
        return NodeNames(kind, self.fitted.get({"entity": "entities", "relation": "relations"}[kind]))

    def _collect_known_tails(self) -> KnownTails:
        """Return the answers by which ranks are filtered: all triples of the run."""
        assert self.fitted is not None
        triples = self.fitted.values.get("triples")
        if triples is None:
            log.warning(
                "this run was saved by a version that stored no triples but those of training: ranks are filtered by"
                " these alone"
            )
            graph = get_graph_inputs(self.train)
            source, target = graph["edge_index"].cpu()
            triples = torch.stack((source, graph["edge_type"].cpu(), target), 1)[: len(source) // 2]
        return collect_known_tails(triples, self.info.sizes["num_relations"])
