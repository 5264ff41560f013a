"""Recurrences as a scan, which an exported program runs over any number of steps.

``torch.export`` unrolls torch's recurrent layers and Python loops to the number of steps of its example. Models take
these functions while they are exported, and only then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.layers.padding import find_valid_steps, reverse_sequences

State = tuple[Tensor, ...]
"""State of a recurrence: tensors (B, ...), such as the hidden and the cell state of an LSTM."""
WEIGHT_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def scan_steps(
    step: Callable[..., tuple[State, State]], state: State, *inputs: Tensor, dim: int = 0
) -> tuple[State, State]:
    """Apply a function to the inputs of one step after another: a loop, and a scan in an exported program.

    Args:
        step: function from a state and the inputs of a step to the next state and the outputs of the step.
        state: initial state.
        *inputs: inputs (..., T, ...) of all steps.
        dim: dimension of the steps.

    Returns:
        The final state, and the outputs (..., T, ...) of all steps.
    """
    if not torch.compiler.is_exporting():
        outputs = []
        for step_inputs in zip(*(part.unbind(dim) for part in inputs), strict=True):
            state, output = step(state, *step_inputs)
            outputs.append(output)
        return state, tuple(torch.stack(parts, dim) for parts in zip(*outputs, strict=True))
    from torch._higher_order_ops.scan import scan

    def combine(state: State, step_inputs: tuple[Tensor, ...]) -> tuple[State, State]:
        state, outputs = step(state, *step_inputs)
        return state, tuple(part.clone() for part in outputs)  # a scan may not return one tensor twice

    state = tuple(part.clone() for part in state)  # nor take one twice
    state, stacked = scan(combine, state, tuple(part.movedim(dim, 0) for part in inputs))
    return state, tuple(part.movedim(0, dim) for part in stacked)


def scan_rnn_layer(mode: str, x: Tensor, weights: Sequence[Tensor], initial: State) -> State:
    """Return the states (B, T, H) of one layer and direction of torch's RNN, LSTM or GRU after each step.

    Args:
        mode: ``RNN_TANH``, ``LSTM`` or ``GRU``.
        x: inputs (B, T, F).
        weights: input and hidden weights, input and hidden biases.
        initial: initial hidden state (B, H), and cell state of an LSTM.
    """
    input_weight, hidden_weight, input_bias, hidden_bias = weights

    def step(state: State, input_gates: Tensor) -> tuple[State, State]:
        state = _CELLS[mode](state, input_gates, F.linear(state[0], hidden_weight, hidden_bias))
        return state, state

    _, states = scan_steps(step, initial, F.linear(x, input_weight, input_bias), dim=1)
    return states


def _step_tanh(_: State, input_gates: Tensor, hidden_gates: Tensor) -> State:
    return ((input_gates + hidden_gates).tanh(),)


def _step_lstm(state: State, input_gates: Tensor, hidden_gates: Tensor) -> State:
    write, forget, candidate, read = (input_gates + hidden_gates).chunk(4, 1)
    cell = forget.sigmoid() * state[1] + write.sigmoid() * candidate.tanh()
    return read.sigmoid() * cell.tanh(), cell


def _step_gru(state: State, input_gates: Tensor, hidden_gates: Tensor) -> State:
    (reset, update, candidate), hidden = input_gates.chunk(3, 1), hidden_gates.chunk(3, 1)
    candidate = (candidate + (reset + hidden[0]).sigmoid() * hidden[2]).tanh()
    return (torch.lerp(candidate, state[0], (update + hidden[1]).sigmoid()),)


_CELLS = {"RNN_TANH": _step_tanh, "LSTM": _step_lstm, "GRU": _step_gru}


def list_directions(cells: nn.RNNBase, layer: int) -> list[tuple[str, list[Tensor]]]:
    """Return the suffix and the weights of each direction of a layer, forward first.

    Args:
        cells: torch's RNN, LSTM or GRU.
        layer: index of the layer.
    """
    suffixes = ("", "_reverse")[: 1 + cells.bidirectional]
    return [(suffix, [getattr(cells, f"{name}_l{layer}{suffix}") for name in WEIGHT_NAMES]) for suffix in suffixes]


def scan_rnn(
    cells: nn.RNNBase, x: Tensor, lengths: Tensor | None, initial: State | None = None
) -> tuple[Tensor, State]:
    """Run a multi-layer RNN in evaluation mode over padded sequences, each as if it were run alone.

    Args:
        cells: torch's RNN, LSTM or GRU, which holds the weights.
        x: padded sequences (B, T, F).
        lengths: valid steps per sequence (B); None if all are valid.
        initial: initial states (layers * directions, B, H), hidden and, of an LSTM, cell; None for zeros.

    Returns:
        Outputs of the last layer (B, T, D), zero in the padding, and the final states in the form of ``initial``.
    """
    ends = x.new_full((x.shape[0],), x.shape[1], dtype=torch.long) if lengths is None else lengths
    rows, padding = torch.arange(x.shape[0], device=x.device), ~find_valid_steps(x, lengths)[..., None]
    x = x.masked_fill(padding, 0)  # the padding may hold NaN
    zeros = x.new_zeros(x.shape[0], cells.hidden_size)
    final_states: list[list[Tensor]] = []
    for layer in range(cells.num_layers):
        directions = []
        for suffix, weights in list_directions(cells, layer):
            start = (zeros,) * (2 if cells.mode == "LSTM" else 1)
            if initial is not None:
                start = tuple(part[len(final_states)] for part in initial)
            states = scan_rnn_layer(cells.mode, reverse_sequences(x, ends) if suffix else x, weights, start)
            final_states.append([part[rows, ends - 1] for part in states])
            directions.append(reverse_sequences(states[0], ends) if suffix else states[0])
        x = torch.cat(directions, -1)
    return x.masked_fill(padding, 0), tuple(torch.stack(parts) for parts in zip(*final_states, strict=True))
