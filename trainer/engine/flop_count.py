"""Floating-point operations, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.task import Task


class FlopCounter(TorchDispatchMode):
    """Context that counts matrix products, convolutions, attention and recurrent layers, by the formulas of torch.

    A multiply-add counts as two operations. Unlike ``FlopCounterMode`` it has no hooks on modules, which fail where a
    loss computes a gradient itself.

    Attributes:
        flops: Number of operations so far.
    """

    def __init__(self) -> None:
        initialize: Callable[[], None] = super().__init__  # torch has no annotation for it
        initialize()
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: the decorator for it imports the compiler, 60 MB, and nothing that is counted is compiled."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket) or _RECURRENT_LAYERS.get(func._overloadpacket)
        if formula is None:
            with self:
                output = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if output is NotImplemented else output
        output = func(*args, **kwargs)
        self.flops += int(formula(*args, **kwargs, out_val=output))
        return output


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
        counter = FlopCounter()
        with torch.no_grad(), rng.preserve_generators(), counter:
            for name in task.param_groups():
                task.loss(batch, name)
    finally:
        task.load_state_dict(buffers)
        task.train(was_training)
    return counter.flops / len(batch)


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


_RECURRENT_LAYERS: Mapping[Any, Any] = {
    torch.ops.aten.mkldnn_rnn_layer: shape_wrapper(_count_recurrent_layer),
    torch.ops.aten._cudnn_rnn: shape_wrapper(_count_cudnn_layers),
}
"""Formulas of fused layers that torch does not have, of their forward pass alone."""
