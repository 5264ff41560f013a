"""Convolution and pooling in NumPy, one output number at a time."""

from __future__ import annotations

from itertools import product

import numpy as np


def ref_conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int, padding: int, dilation: int) -> np.ndarray:
    """Cross-correlate x (C, H, W) with w (O, C, k, k), one output number at a time."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    reach = dilation * (w.shape[-1] - 1) + 1
    height, width = ((side - reach) // stride + 1 for side in x.shape[1:])
    out = np.zeros((len(w), height, width))
    for o, i, j in product(range(len(w)), range(height), range(width)):
        top, left = i * stride, j * stride
        patch = x[:, top : top + reach : dilation, left : left + reach : dilation]
        out[o, i, j] = (patch * w[o]).sum() + b[o]
    return out


def ref_pool2d(x: np.ndarray, kind: str) -> np.ndarray:
    """Apply 2x2 pooling to x (C, H, W); an odd last row or column is dropped."""
    reduce = {"max": np.max, "avg": np.mean}[kind]
    height, width = x.shape[1] // 2, x.shape[2] // 2
    out = np.zeros((len(x), height, width))
    for c, i, j in product(range(len(x)), range(height), range(width)):
        out[c, i, j] = reduce(x[c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2])
    return out


def ref_adaptive2d(x: np.ndarray, kind: str, size: int) -> np.ndarray:
    """Pool x (C, H, W) to a square; window i covers floor(i H / size) to ceil((i + 1) H / size)."""
    reduce = {"max": np.max, "avg": np.mean}[kind]
    edges = [[(i * n // size, -(-(i + 1) * n // size)) for i in range(size)] for n in x.shape[1:]]
    out = np.zeros((len(x), size, size))
    for c, i, j in product(range(len(x)), range(size), range(size)):
        (top, bottom), (left, right) = edges[0][i], edges[1][j]
        out[c, i, j] = reduce(x[c, top:bottom, left:right])
    return out
