"""Sparse matrix products, row softmax and sparse dropout, with gradients.

The product is ``embedding_bag``: a weighted sum of rows of a dense matrix per output row. On a CPU it takes about as
long as a compressed-row product for 16 columns and a third of the time for 64; CUDA supports it too.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer.core.dropout import draw_dropout_factors
from trainer.models.layers.graph.groups import group_softmax, sum_groups

MAX_SPARSE_DENSITY = 0.1
"""Largest share of non-zeros at which a matrix is stored sparse."""

with warnings.catch_warnings():
    # The first CSR tensor of a process warns that the layout is in beta; here it is only passed to sampled_addmm.
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)


@dataclass(frozen=True, eq=False)
class SparsePattern:
    """Sparsity pattern of an (R, C) matrix with K entries, in row order and in column order for the transpose.

    Attributes:
        shape: (R, C).
        rows: row of each entry (K,), int64, ascending.
        cols: column of each entry (K,), int64.
        rowptr: index of the first entry of each row, and K, (R + 1,).
        col_order: entries sorted by column (K,).
        rows_by_col: rows of the entries in column order (K,).
        colptr: index of the first entry of each column in column order, and K, (C + 1,).
    """

    shape: tuple[int, int]
    rows: Tensor
    cols: Tensor
    rowptr: Tensor
    col_order: Tensor
    rows_by_col: Tensor
    colptr: Tensor

    @classmethod
    def from_coo(cls, rows: Tensor, cols: Tensor, shape: tuple[int, int]) -> tuple[SparsePattern, Tensor]:
        """Build the pattern from unordered entries; return it and the permutation (K,) that sorts them.

        Args:
            rows: row of each entry (K,), int64.
            cols: column of each entry (K,), int64.
            shape: (R, C).
        """
        if torch.compiler.is_exporting():
            return cls.unsorted(rows, cols, shape), torch.arange(rows.shape[0], device=rows.device)
        order = (rows * shape[1] + cols).argsort(stable=True)
        rows, cols = rows[order], cols[order]
        by_col = cols.argsort(stable=True)
        return cls(
            shape, rows, cols, _make_offsets(rows, shape[0]), by_col, rows[by_col], _make_offsets(cols, shape[1])
        ), order

    def repeat(self, count: int) -> SparsePattern:
        """Return the pattern of a block-diagonal matrix with ``count`` blocks of this pattern."""
        blocks, (num_rows, num_cols) = torch.arange(count, device=self.rows.device), self.shape

        def shift(index: Tensor, size: int) -> Tensor:
            return (index + blocks[:, None] * size).flatten()

        starts = [
            F.pad(shift(ptr[:-1], len(self.rows)), (0, 1), value=count * len(self.rows))
            for ptr in (self.rowptr, self.colptr)
        ]
        columns = shift(self.rows, num_rows), shift(self.cols, num_cols)
        order, by_col = shift(self.col_order, len(self.rows)), shift(self.rows_by_col, num_rows)
        return SparsePattern((count * num_rows, count * num_cols), *columns, starts[0], order, by_col, starts[1])

    @classmethod
    def unsorted(cls, rows: Tensor, cols: Tensor, shape: tuple[int, int]) -> SparsePattern:
        """Build the pattern of an exported program, whose entries may have any order: its other tensors are empty.

        Args:
            rows: row of each entry (K,), int64.
            cols: column of each entry (K,), int64.
            shape: (R, C).
        """
        empty = rows[:0]
        return cls(shape, rows, cols, empty, empty, empty, empty)


def _make_offsets(index: Tensor, groups: int) -> Tensor:
    if index.device.type == "cpu":
        counts = torch.bincount(index, minlength=groups)
    else:  # bincount would synchronize, to find the size of its result
        counts = index.new_zeros(groups).scatter_add(0, index, torch.ones_like(index))
    return F.pad(counts.cumsum(0), (1, 0))


class _SparseMatmul(torch.autograd.Function):
    """Sparse-dense product with gradients for the values and the dense matrix."""

    @staticmethod
    def forward(pattern: SparsePattern, values: Tensor, dense: Tensor, by_col: Tensor | None) -> Tensor:  # noqa: ARG004
        return _weighted_sums(dense, pattern.cols, pattern.rowptr, values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[SparsePattern, Tensor, Tensor, Tensor | None], output: Tensor) -> None:  # noqa: ARG004
        ctx.pattern, values, dense, by_col = inputs
        ctx.save_for_backward(values, dense, by_col)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None, None]:
        pattern, (values, dense, by_col) = ctx.pattern, ctx.saved_tensors
        grad_values = grad_dense = None
        if ctx.needs_input_grad[1]:
            grad_values = _sampled_dots(pattern, grad, dense)
        if ctx.needs_input_grad[2]:
            by_col = values.index_select(0, pattern.col_order) if by_col is None else by_col
            grad_dense = _weighted_sums(grad, pattern.rows_by_col, pattern.colptr, by_col)
        return None, grad_values, grad_dense, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[None, int | None, int | None, int | None],
        pattern: SparsePattern,
        values: Tensor,
        dense: Tensor,
        by_col: Tensor | None,
    ) -> tuple[Tensor, int]:
        """Multiply several dense matrices, side by side as the columns of one, or several pairs, as blocks of one."""
        _, values_dim, dense_dim, by_col_dim = in_dims
        if values_dim is None and dense_dim is not None:
            columns = dense.movedim(dense_dim, 1)
            product: Tensor = _SparseMatmul.apply(pattern, values, columns.flatten(1), by_col)
            return product.unflatten(1, columns.shape[1:]), 1
        count = info.batch_size
        pairs = ((values, values_dim), (dense, dense_dim), (by_col, by_col_dim))
        flat = [None if tensor is None else _move_to_front(tensor, dim, count).flatten(0, 1) for tensor, dim in pairs]
        product = _SparseMatmul.apply(pattern.repeat(count), *flat)
        return product.unflatten(0, (count, -1)), 0


def _move_to_front(tensor: Tensor, dim: int | None, count: int) -> Tensor:
    """Return a tensor with the dimension of ``torch.vmap`` in front, repeated if it has none."""
    return tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _weighted_sums(dense: Tensor, index: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    # Detached, or embedding_bag would save tensors for its own backward pass.
    return F.embedding_bag(
        index, dense.detach().contiguous(), starts, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def _sampled_dots(pattern: SparsePattern, left: Tensor, right: Tensor) -> Tensor:
    """Compute ``left[rows] . right[cols]`` per entry, (K,), without materializing (K, width) rows."""
    dtype = left.dtype
    if left.device.type != "cpu" and dtype.itemsize < 4:  # cuSPARSE has no such product in half precision
        left, right = left.float(), right.float()
    zeros = torch.sparse_csr_tensor(
        pattern.rowptr, pattern.cols, left.new_zeros(len(pattern.cols)), pattern.shape, check_invariants=False
    )
    return torch.sparse.sampled_addmm(zeros, left.contiguous(), right.contiguous().t(), beta=0.0).values().to(dtype)


def sparse_matmul(pattern: SparsePattern, values: Tensor, dense: Tensor, by_col: Tensor | None = None) -> Tensor:
    """Multiply a sparse matrix by a dense one, differentiable in both.

    Args:
        pattern: pattern of the sparse matrix (R, C).
        values: its entries (K,).
        dense: (C, W).
        by_col: the values in column order, if already computed.

    Returns:
        The product (R, W).
    """
    if torch.compiler.is_exporting():
        return sum_groups(values[:, None] * dense.index_select(0, pattern.cols), pattern.rows, pattern.shape[0])
    dtype = torch.promote_types(values.dtype, dense.dtype)  # under autocast one of them may be in half precision
    if not torch.is_grad_enabled():
        return _weighted_sums(dense.to(dtype), pattern.cols, pattern.rowptr, values.to(dtype))
    by_col = None if by_col is None else by_col.to(dtype)
    return _SparseMatmul.apply(pattern, values.to(dtype), dense.to(dtype), by_col)


class _RowSoftmax(torch.autograd.Function):
    """Softmax over the entries of each row, with its gradient."""

    @staticmethod
    def forward(pattern: SparsePattern, scores: Tensor) -> Tensor:
        limits = torch.finfo(scores.dtype)
        # Clamping affects only rows whose scores are all minus infinity: their probabilities are 0 instead of 0 / 0.
        peak = torch.segment_reduce(scores, "max", offsets=pattern.rowptr, axis=0).clamp_(min=limits.min)
        probs = (scores - peak.index_select(0, pattern.rows)).exp_()
        total = _row_sums(pattern, probs).clamp_(min=limits.tiny)
        return probs.div_(total.index_select(0, pattern.rows))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[SparsePattern, Tensor], output: Tensor) -> None:
        ctx.pattern = inputs[0]
        ctx.save_for_backward(output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (probs,) = ctx.saved_tensors
        weighted = probs * grad
        row_totals = _row_sums(ctx.pattern, weighted).index_select(0, ctx.pattern.rows)
        return None, weighted.addcmul_(probs, row_totals, value=-1)


def _row_sums(pattern: SparsePattern, values: Tensor) -> Tensor:
    return torch.segment_reduce(values, "sum", offsets=pattern.rowptr, axis=0)


def row_softmax(pattern: SparsePattern, scores: Tensor) -> Tensor:
    """Compute the softmax of ``scores`` (K,) over the entries of each row of the pattern.

    A score of minus infinity gives 0; a row with no other scores is all zeros, not NaN.

    Args:
        pattern: pattern of K entries.
        scores: score of each entry (K,).
    """
    if torch.compiler.is_exporting():
        return group_softmax(scores, pattern.rows, pattern.shape[0])
    return _RowSoftmax.apply(pattern, scores)


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """Constant sparse matrix; ``sparse @ dense`` is (R, W)."""

    pattern: SparsePattern
    values: Tensor

    def __matmul__(self, dense: Tensor) -> Tensor:
        return sparse_matmul(self.pattern, self.values, dense, self.values_by_col if torch.is_grad_enabled() else None)

    @cached_property
    def values_by_col(self) -> Tensor:
        """Values in column order for the backward pass, computed once because an adjacency is constant across steps."""
        return self.values.detach().index_select(0, self.pattern.col_order)


def to_sparse_if_mostly_zero(x: Tensor) -> SparseMatrix | None:
    """Convert a matrix (R, C), dense or in a torch sparse layout, to a ``SparseMatrix`` if that multiplies faster.

    Returns:
        The sparse matrix, or None for a dense matrix above ``MAX_SPARSE_DENSITY``, one that requires a gradient, and
        any matrix of an exported program.
    """
    if torch.compiler.is_exporting():
        return None
    if x.layout != torch.strided:
        x = x.to_sparse_coo().coalesce()
        index, values = x.indices(), x.values()
    elif x.requires_grad or x.count_nonzero() > MAX_SPARSE_DENSITY * x.numel():
        return None
    else:
        index = x.nonzero().t()
        values = x[index[0], index[1]]
    pattern, order = SparsePattern.from_coo(index[0], index[1], (x.shape[0], x.shape[1]))
    return SparseMatrix(pattern, values[order])


def sparse_dropout(x: Tensor | SparseMatrix, p: float, training: bool) -> Any:
    """Apply dropout to a tensor or to the entries of a sparse matrix.

    Zeros the values with probability ``p`` and divides the others by ``1 - p``. Zeros of a sparse matrix are not drawn.
    On a CPU ``p`` is rounded to a multiple of 2**-16, see ``draw_dropout_factors``.

    Args:
        x: tensor or sparse matrix.
        p: dropout probability in [0, 1].
        training: without it, x is returned unchanged.

    References:
        Srivastava et al. 2014, Dropout: A Simple Way to Prevent Neural Networks from Overfitting
    """
    if not training or round(p * 2**16) == 0:
        return x
    if isinstance(x, SparseMatrix):
        return SparseMatrix(x.pattern, sparse_dropout(x.values, p, training))
    if x.device.type != "cpu":
        return F.dropout(x, p)
    return x * draw_dropout_factors(x, p)
