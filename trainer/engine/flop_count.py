"""Floating-point operations of a forward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.task import Task


def count_flops_per_row(task: Task, batch: Batch) -> float:
    """Return the floating-point operations of the training losses of a batch, forward only, per row.

    A multiply-add counts as two operations. Matrix products, convolutions, attention and recurrent layers are counted;
    element-wise functions, normalization and sums over the neighbors of a graph are not. The backward pass takes about
    twice as many.

    Args:
        task: The task; its buffers are restored.
        batch: Batch on its device.
    """
    buffers = {name: value.clone() for name, value in task.state_dict().items()}
    was_training = task.training
    task.train()
    try:
        counter = FlopCounterMode(display=False, custom_mapping=_RECURRENT_LAYERS)
        with torch.no_grad(), rng.preserve_generators(), counter:
            for name in task.param_groups():
                task.loss(batch, name)
    finally:
        task.load_state_dict(buffers)
        task.train(was_training)
    return counter.get_total_flops() / len(batch)


def _count_recurrent_layer(input_shape: Any, input_weight: Any, state_weight: Any, *_: Any, **__: Any) -> int:
    """Return the operations of a recurrent layer in one direction.

    Args:
        input_shape: Shape (T, B, F) of the input.
        input_weight: Shape (G, F) of the weights of the input, for G gates and states.
        state_weight: Shape (G, H) of the weights of the state.
    """
    steps, rows = input_shape[:2]
    return int(2 * steps * rows * input_weight[0] * (input_weight[1] + state_weight[1]))


def _count_cudnn_layers(input_shape: Any, weight_shapes: Any, *_: Any, **__: Any) -> int:
    """Return the operations of all recurrent layers of one call, from the matrices among their weights.

    Args:
        input_shape: Shape (T, B, F) or (B, T, F) of the input.
        weight_shapes: Shapes of the weights and biases.
    """
    matrices = [shape for shape in weight_shapes if len(shape) == 2]
    return int(2 * input_shape[0] * input_shape[1] * sum(shape[0] * shape[1] for shape in matrices))


_RECURRENT_LAYERS = {
    torch.ops.aten.mkldnn_rnn_layer: _count_recurrent_layer,
    torch.ops.aten._cudnn_rnn: _count_cudnn_layers,
}
"""Fused layers that the counter of torch does not know."""
