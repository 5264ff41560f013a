"""Products with sparse matrices, softmax over their rows and dropout of what is not zero, with their derivatives.

``embedding_bag`` is the product used throughout: a weighted sum of rows of a dense matrix per output row. On a CPU it
takes about as long as a compressed-row product for 16 columns and a third of the time for 64; CUDA has it too.
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

MAX_SPARSE_DENSITY = 0.1
"""The share of non-zeros under which a matrix is worth being kept sparse."""

with warnings.catch_warnings():
    # The first compressed-row tensor of a process warns that the layout is in beta; here it is only ever an argument.
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)


@dataclass(frozen=True, eq=False)
class SparsePattern:
    """Where a sparse (R, C) matrix with K entries is not zero: by row, and by column for its transpose.

    rows, cols: (K,) int64, rows ascending.
    rowptr: (R+1,), the first entry of each row, and K.
    col_order: (K,), the entries in order of their column; ``rows_by_col`` are their rows, ``colptr`` (C+1,) where
        each column begins.
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
        """The pattern of entries given in any order, and (K,) the order in which it holds them."""
        order = (rows * shape[1] + cols).argsort(stable=True)
        rows, cols = rows[order], cols[order]
        by_col = cols.argsort(stable=True)
        return cls(
            shape, rows, cols, _make_offsets(rows, shape[0]), by_col, rows[by_col], _make_offsets(cols, shape[1])
        ), order


def _make_offsets(index: Tensor, groups: int) -> Tensor:
    return F.pad(torch.bincount(index, minlength=groups).cumsum(0), (1, 0))


class _SparseMatmul(torch.autograd.Function):
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
        of_values = of_dense = None
        if ctx.needs_input_grad[1]:
            of_values = _sampled_dots(pattern, grad, dense)
        if ctx.needs_input_grad[2]:
            by_col = values.index_select(0, pattern.col_order) if by_col is None else by_col
            of_dense = _weighted_sums(grad, pattern.rows_by_col, pattern.colptr, by_col)
        return None, of_values, of_dense, None


def _weighted_sums(dense: Tensor, index: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    # Detached: of a matrix that asks for a gradient embedding_bag would note down what its own backward needs.
    return F.embedding_bag(
        index, dense.detach().contiguous(), starts, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def _sampled_dots(pattern: SparsePattern, left: Tensor, right: Tensor) -> Tensor:
    """``left[rows] . right[cols]`` for every entry, (K,), without the (K, width) rows themselves."""
    zeros = torch.sparse_csr_tensor(
        pattern.rowptr, pattern.cols, left.new_zeros(len(pattern.cols)), pattern.shape, check_invariants=False
    )
    return torch.sparse.sampled_addmm(zeros, left.contiguous(), right.contiguous().t(), beta=0.0).values()


def sparse_matmul(pattern: SparsePattern, values: Tensor, dense: Tensor, by_col: Tensor | None = None) -> Tensor:
    """The sparse matrix (R, C) with ``values`` (K,) times ``dense`` (C, W): (R, W). Both may be learned.

    by_col: the values in order of their column, where they are at hand.
    """
    kind = torch.promote_types(values.dtype, dense.dtype)  # under autocast one of them may be of half precision
    if not torch.is_grad_enabled():
        return _weighted_sums(dense.to(kind), pattern.cols, pattern.rowptr, values.to(kind))
    return _SparseMatmul.apply(pattern, values.to(kind), dense.to(kind), None if by_col is None else by_col.to(kind))


class _RowSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(pattern: SparsePattern, scores: Tensor) -> Tensor:
        kind = torch.finfo(scores.dtype)
        # Bounds that only rows without a score above minus infinity meet: their shares are 0, and not 0 / 0.
        peak = torch.segment_reduce(scores, "max", offsets=pattern.rowptr, axis=0).clamp_(min=kind.min)
        share = (scores - peak.index_select(0, pattern.rows)).exp_()
        total = _row_sums(pattern, share).clamp_(min=kind.tiny)
        return share.div_(total.index_select(0, pattern.rows))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[SparsePattern, Tensor], output: Tensor) -> None:
        ctx.pattern = inputs[0]
        ctx.save_for_backward(output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (share,) = ctx.saved_tensors
        pull = share * grad
        return None, pull.addcmul_(share, _row_sums(ctx.pattern, pull).index_select(0, ctx.pattern.rows), value=-1)


def _row_sums(pattern: SparsePattern, values: Tensor) -> Tensor:
    return torch.segment_reduce(values, "sum", offsets=pattern.rowptr, axis=0)


def row_softmax(pattern: SparsePattern, scores: Tensor) -> Tensor:
    """Softmax of ``scores`` (K,) among the entries of each row; entries that are not in the pattern take no share.

    A score of minus infinity takes none either: zeros, not NaN, where a row has no other.
    """
    return _RowSoftmax.apply(pattern, scores)


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """A sparse matrix of fixed numbers: ``sparse @ dense`` is (R, W)."""

    pattern: SparsePattern
    values: Tensor

    def __matmul__(self, dense: Tensor) -> Tensor:
        return sparse_matmul(self.pattern, self.values, dense, self.values_by_col if torch.is_grad_enabled() else None)

    @cached_property
    def values_by_col(self) -> Tensor:
        """The values in order of their column, for backward: those of an adjacency are the same at every step."""
        return self.values.detach().index_select(0, self.pattern.col_order)


def to_sparse_if_mostly_zero(x: Tensor) -> SparseMatrix | None:
    """``x`` (R, C), dense or one of torch's sparse layouts, in the form that multiplies fastest; None if as it is.

    A matrix whose own gradient is asked for stays as it is.
    """
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
    """Zeroes with probability ``p``, and divides what stays by ``1 - p`` (Srivastava et al. 2014).

    Zeros of a sparse matrix stay zeros, so only its entries are drawn. On a CPU a draw costs 16 bits of torch's
    generator instead of a call to it, five times faster; ``p`` is thereby rounded to a multiple of 2**-16, and the
    division is by the rounded value.
    """
    dropped = round(p * 2**16)
    if not training or dropped == 0:
        return x
    if isinstance(x, SparseMatrix):
        return SparseMatrix(x.pattern, sparse_dropout(x.values, p, training))
    if x.device.type != "cpu":
        return F.dropout(x, p)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.int16)[: x.numel()].view(x.shape) > dropped - 2**15 - 1
    return x * kept.to(x.dtype).mul_(2**16 / max(1, 2**16 - dropped))
