"""Inputs of other sizes, made of stored rows: more or fewer rows, steps, pixels, nodes, edges and graphs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainer.core.shapes import Dims
from trainer.export.input_dims import PAIR_OF_NODES, find_sizes

LENGTHS = "lengths"
"""Input with the number of valid steps of each row."""
EDGES = (PAIR_OF_NODES, "E")
"""Dimensions of ``edge_index``."""
Inputs = dict[str, Tensor]


def resize(inputs: Mapping[str, Tensor], dims: Mapping[str, Dims], dim: str, size: int) -> Inputs:
    """Return inputs with another size of one dimension, repeated from the start if it is larger.

    Nodes keep the edges between them, and graphs their nodes and edges.

    Args:
        inputs: Inputs, by name.
        dims: Dimensions of the inputs.
        dim: Name of the dimension in ``shapes``.
        size: Its new size.
    """
    if dim == "G":
        return _resize_graphs(inputs, dims, size)
    if dim == "N" and any(is_node_index(names) for names in dims.values()):
        return _resize_nodes(inputs, dims, size)
    index = {dim: torch.arange(size) % find_sizes(inputs, dims)[dim]}
    resized = {name: _select(value, dims[name], index) for name, value in inputs.items()}
    if dim in "TS" and LENGTHS in resized:
        resized[LENGTHS] = resized[LENGTHS].clamp(max=size)
    return resized


def is_node_index(dims: Dims) -> bool:
    """Return whether an input holds pairs of node numbers."""
    return PAIR_OF_NODES in dims


def _select(value: Tensor, dims: Dims, index: Mapping[str, Tensor]) -> Tensor:
    """Select entries of each dimension that has an index."""
    for axis, dim in enumerate(dims):
        if dim in index:
            value = value.index_select(axis, index[dim])
    return value


def _resize_nodes(inputs: Mapping[str, Tensor], dims: Mapping[str, Dims], size: int) -> Inputs:
    """Return the graph of the first nodes, of as many disjoint copies of it as have enough nodes."""
    nodes = find_sizes(inputs, dims)["N"]
    offsets = nodes * torch.arange(-(-size // nodes))[:, None]
    index, resized = {"N": torch.arange(size) % nodes}, {}
    for name, value in inputs.items():
        if dims[name] == EDGES:
            edges = (value[:, None] + offsets).flatten(1)
            inner = (edges < size).all(0).nonzero().flatten()
            index["E"], resized[name] = inner % value.shape[1], edges[:, inner]
        elif is_node_index(dims[name]):
            resized[name] = value % size
    return {name: resized.get(name, _select(value, dims[name], index)) for name, value in inputs.items()}


def _resize_graphs(inputs: Mapping[str, Tensor], dims: Mapping[str, Dims], size: int) -> Inputs:
    """Return the union of the first graphs, repeated from the first one if there are too few."""
    (sizes,) = (value for name, value in inputs.items() if dims[name] == ("G",))
    (edges,) = (value for name, value in inputs.items() if dims[name] == EDGES)
    starts = sizes.cumsum(0) - sizes
    graphs = torch.arange(size) % len(sizes)
    nodes, edge_numbers, shifts, count = [], [], [], 0
    for start, length in zip(starts[graphs].tolist(), sizes[graphs].tolist(), strict=True):
        inside = ((edges[0] >= start) & (edges[0] < start + length)).nonzero().flatten()
        nodes.append(torch.arange(start, start + length))
        edge_numbers.append(inside)
        shifts.append(torch.full_like(inside, count - start))
        count += length
    index = {"N": torch.cat(nodes), "E": torch.cat(edge_numbers), "G": graphs}
    resized = {name: _select(value, dims[name], index) for name, value in inputs.items()}
    return {name: value + torch.cat(shifts) if dims[name] == EDGES else value for name, value in resized.items()}
