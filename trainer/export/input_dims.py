"""Dimensions of the inputs of an exported module: which of them count rows, steps, pixels, nodes or edges."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trainer.core.shapes import Dims, parse_alternatives

SIZE_NAMES = {
    "B": "batch",
    "T": "steps",
    "S": "tokens",
    "H": "height",
    "W": "width",
    "N": "nodes",
    "E": "edges",
    "G": "graphs",
    "P": "pairs",
}
"""Names of the dimensions of ``shapes`` whose size may change from one input to the next; all others are features."""
PAIR_OF_NODES = "2"
"""Dimension of the two ends of an edge or pair, in ``edge_index (2, E)`` and ``pairs (P, 2)``."""


def find_input_dims(inputs: Mapping[str, Tensor], *declarations: str) -> dict[str, Dims]:
    """Return the names of the dimensions of each input; empty names for those that no declaration names.

    Args:
        inputs: Example inputs, by name.
        declarations: Shapes of the module and of the data set, the most specific one first.
    """
    parsed = [shapes.inputs for line in declarations for shapes in parse_alternatives(line)]
    found = {}
    for name, value in inputs.items():
        declared = (inputs.get(name, ()) for inputs in parsed)
        unnamed = ("B", *[""] * (value.dim() - 1))
        dims = next((dims for dims in declared if len(dims) == value.dim() and "..." not in dims), unnamed)
        # P counts pairs at the front, and the steps of a prediction elsewhere.
        found[name] = tuple("T" if dim == "P" and axis else dim for axis, dim in enumerate(dims))
    return found


def find_batch_dim(dims: Mapping[str, Dims], *declarations: str) -> str:
    """Return the dimension that counts the rows of a batch: the first of the output, if an input has it.

    Args:
        dims: Dimensions of the inputs.
        declarations: Shapes of the module and of the data set.
    """
    of_inputs = {dim for names in dims.values() for dim in names}
    outputs = [shapes.output for line in declarations for shapes in parse_alternatives(line)]
    return next((output[0] for output in outputs if output and output[0] in of_inputs), "B")


def find_sizes(inputs: Mapping[str, Tensor], dims: Mapping[str, Dims]) -> dict[str, int]:
    """Return the size of each dimension that may change, by its name in ``shapes``.

    Args:
        inputs: Inputs, by name.
        dims: Dimensions of the inputs.
    """
    pairs = ((dim, size) for name, value in inputs.items() for dim, size in zip(dims[name], value.shape, strict=True))
    return {dim: size for dim, size in pairs if dim in SIZE_NAMES}
