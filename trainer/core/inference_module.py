"""What a trained task computes for new rows, as a module that a program without this package can run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from trainer.core.batch import Batch


@dataclass(frozen=True)
class InferenceModule:
    """Module with named inputs and one output: a model, or the sampler of a generative model.

    Attributes:
        module: The module; the arguments of its ``forward`` are the inputs.
        make_inputs: Function from a batch of rows to the inputs, by name. The noise of a sampler is drawn from torch's
            global generator, for as many rows.
        shapes: Dimensions of inputs and output, such as ``noise (B, Z) -> (B, ...)``; empty for those of the model.
        outputs: What the outputs are, as values of JSON, by which a program without this package makes predictions of
            them: ``kind`` is ``classes`` or ``numbers``. Empty for other outputs.
    """

    module: nn.Module
    make_inputs: Callable[[Batch], dict[str, Tensor]]
    shapes: str = ""
    outputs: Mapping[str, Any] = field(default_factory=dict)
