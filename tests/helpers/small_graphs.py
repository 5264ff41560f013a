"""Graphs of a few nodes in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from trainer.data.datasets.graph.edge_list import EdgeList, EdgeListGraphs
from trainer.utils.errors import DataError

OPTIONS: dict[str, Any] = {
    "target": "y",
    "target_kind": None,
    "task_target": "class",
    "directed": True,
    "delimiter": None,
    "encoding": "utf-8",
    "decimal": "point",
    "thousands": None,
    "missing": ["", "?", "nan"],
    "nan": "error",
    "categorical": [],
    "drop_columns": [],
    "val": 0.2,
    "test": 0.2,
    "max_categories": 50,
    "min_count": 1,
    "seed": 0,
}
NODES = ["id,size,y,split", "a,1,no,train", "b,3,yes,train", "c,50,no,val", "d,70,yes,test", "e,90,,"]
EDGES = ["source,target", "a,b", "b,c", "c,b", "d,a"]
MANY = ["id,graph,y", "1,p,no", "2,p,no", "1,q,yes", "1,r,no", "2,r,no", "3,r,no", "1,s,yes", "1,t,no", "1,u,yes"]
WITHIN = ["graph,source,target", "p,1,2", "r,3,1", "p,2,1", "r,1,2", "u,1,1"]


def write(folder: Path, nodes: Sequence[str] = NODES, edges: Sequence[str] = EDGES, graphs: Sequence[str] = ()) -> Path:
    for name, lines in (("nodes", nodes), ("edges", edges), ("graphs", graphs)):
        if lines:
            (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def load_graph(folder: Path, **changed: Any) -> EdgeList:
    return EdgeList(**{**OPTIONS, "path": str(folder), "num_neighbors": None, **changed})


def load_graphs(folder: Path, **changed: Any) -> EdgeListGraphs:
    return EdgeListGraphs(**{**OPTIONS, "path": str(folder), **changed})


def problem(make: Any, folder: Path, **changed: Any) -> str:
    with pytest.raises(DataError) as caught:
        make(folder, **changed)
    return str(caught.value)
