"""Reference recurrent networks in NumPy, one row and one step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def layer(cell: str, x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return every state (T, H) of one layer over x (T, F), from the equations, with torch's order of gates."""
    h = memory = np.zeros(u.shape[1])
    states = []
    for step in x:
        read, kept = w @ step + b, u @ h + c
        if cell == "rnn":
            h = np.tanh(read + kept)
        elif cell == "lstm":
            i, f, g, o = np.split(read + kept, 4)
            memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(memory)
        else:
            (read_r, read_z, read_n), (kept_r, kept_z, kept_n) = np.split(read, 3), np.split(kept, 3)
            z = sigmoid(read_z + kept_z)
            h = (1 - z) * np.tanh(read_n + sigmoid(read_r + kept_r) * kept_n) + z * h
        states.append(h)
    return np.stack(states)


def stack(cell: str, x: np.ndarray, weights: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the states (T, D) of the last layer and the ends (D) of its directions, for one row and given weights."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    number = 0
    while f"cells.weight_ih_l{number}" in weights:
        forth = layer(cell, x, *(weights[f"cells.{kind}_l{number}"] for kind in kinds))
        sides, ends = [forth], [forth[-1]]
        if f"cells.weight_ih_l{number}_reverse" in weights:
            back = layer(cell, x[::-1], *(weights[f"cells.{kind}_l{number}_reverse"] for kind in kinds))
            sides, ends = [*sides, back[::-1]], [*ends, back[-1]]
        x, number = np.concatenate(sides, 1), number + 1
    return x, np.concatenate(ends)


def pooled(kind: str, steps: np.ndarray, ends: np.ndarray, weights: Mapping[str, np.ndarray], seq_len: int) -> Any:
    """Pool the real steps (T, D) of a row into one vector."""
    if kind == "last":
        return ends
    if kind == "flatten":
        return np.concatenate([steps, np.zeros((seq_len - len(steps), steps.shape[1]))]).ravel()
    if kind == "attention":
        scores = steps @ weights["pool.score.weight"][0] + weights["pool.score.bias"]
        shares = np.exp(scores - scores.max())
        return shares @ steps / shares.sum()
    return steps.mean(0) if kind == "mean" else steps.max(0)


def expected(model: nn.Module, cell: str, pool: str, x: Tensor, lengths: list[int]) -> np.ndarray:
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    inner = {name.removeprefix("rnn."): value for name, value in weights.items()}
    outputs = []
    for row, length in zip(x.double().numpy(), lengths, strict=True):
        summary = pooled(pool, *stack(cell, row[:length], inner), weights, x.shape[1])
        outputs.append(weights["head.weight"] @ summary + weights["head.bias"])
    return np.stack(outputs)
