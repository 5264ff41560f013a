"""Summary of the layers of a model."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.task import Task


@dataclass(frozen=True)
class LayerSummary:
    """Module of a model with its last output.

    Attributes:
        name: Dotted name.
        class_name: Name of its class.
        output: Output, or the first one of a tuple.
        num_params: Number of parameters, including submodules.
    """

    name: str
    class_name: str
    output: Tensor
    num_params: int


def summarize_layers(task: Task, batch: Batch) -> list[LayerSummary]:
    """Summarize all modules that output a tensor, in the order in which they finish.

    Args:
        task: Task with the model.
        batch: Batch to run the model on.
    """
    summaries: dict[str, LayerSummary] = {}

    def make_hook(name: str):  # type: ignore[no-untyped-def]
        def hook(module: torch.nn.Module, _: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            if isinstance(first, Tensor):
                params = sum(p.numel() for p in module.parameters())
                summaries[name] = LayerSummary(name, type(module).__name__, first.detach().float().cpu(), params)

        return hook

    with ExitStack() as stack, torch.no_grad():
        for name, module in task.model.named_modules():
            if name:
                stack.callback(module.register_forward_hook(make_hook(name)).remove)
        task.score(batch)
    return list(summaries.values())
