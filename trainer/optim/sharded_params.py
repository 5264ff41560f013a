"""Parameters of a parameter group that are sharded over processes, of which each updates its own shards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils import swap_tensors

from trainer.optim.flat_params import FlatParameters


class ShardedParameters(FlatParameters):
    """Flat vector of the shards that this process holds of parameters that ``fully_shard`` has made distributed.

    Gradients are views of ``grad``. Shards are views of ``data`` if the processes share a parameter equally; torch pads
    the others, so that ``zero_grad`` and ``rebind`` read them and ``write_back`` replaces them. Elementwise optimizers,
    clipping and averages work as on whole parameters.
    """

    @staticmethod
    def get_tensor(parameter: nn.Parameter) -> Tensor:
        return cast(DTensor, parameter.detach()).to_local()

    def _bind(self) -> None:
        """Copy the shards to the vector, and make them views of it; done once, before the first forward pass."""
        self.mesh = cast(DTensor, self.parameters[0].detach()).device_mesh
        self._copies: list[tuple[nn.Parameter, Tensor]] = []
        views, grads = (self.split_by_name(vector).values() for vector in (self.data, self.grad))
        for parameter, view, grad in zip(self.parameters, views, grads, strict=True):
            view.copy_(self.get_tensor(parameter))
            if parameter.shape[0] % self.mesh.size():
                self._copies.append((parameter, view))
            else:
                swap_tensors(parameter, nn.Parameter(like_parameter(view, parameter)))
            parameter.grad = like_parameter(grad, parameter)

    def rebind(self) -> None:
        for parameter, view in self._copies:
            view.copy_(self.get_tensor(parameter))

    def write_back(self) -> None:
        for parameter, view in self._copies:
            self.get_tensor(parameter).copy_(view)

    def compute_norm(self, vector: Tensor) -> Tensor:
        square = super().compute_norm(vector).square()
        dist.all_reduce(square, group=self.mesh.get_group())
        return square.sqrt()

    def get_full_parameters(self) -> NoReturn:
        raise ValueError("it updates whole parameters, of which a process has only a shard; use adam, adamw or sgd")

    def gather_by_name(self, vector: Tensor, indices: range | None = None) -> dict[str, Tensor]:
        """Return the parts of a vector with the shapes of the whole parameters, by name, as by ``gather_tensor``.

        All processes call it together.

        Args:
            vector: Vector like ``data``, or like the slice of ``indices``.
            indices: Consecutive indices of parameters; by default all.
        """
        return {
            name: gather_tensor(like_parameter(view, self._find(name)))
            for name, view in self.split_by_name(vector, indices).items()
        }

    def load_by_name(self, vector: Tensor, values: Mapping[str, Tensor], indices: range | None = None) -> None:
        for name, view in self.split_by_name(vector, indices).items():
            view.copy_(shard_tensor(values[name], self._find(name)).to_local())

    def _find(self, name: str) -> DTensor:
        return cast(DTensor, self.parameters[self.names.index(name)].detach())

    def nonfinite_parameter_names(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> list[str]:
        views = self.split_by_name(self.grad).values()
        flags = torch.tensor([not view.isfinite().all() for view in views], dtype=torch.int32, device=self.grad.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self.mesh.get_group())
        nonfinite_ids = {id(p) for p, flag in zip(self.parameters, flags.tolist(), strict=True) if flag}
        return [name for name, p in named_parameters if id(p) in nonfinite_ids]


def like_parameter(local: Tensor, parameter: Tensor) -> DTensor:
    """Return a distributed tensor with the layout of a parameter, of which this process holds a shard.

    Args:
        local: The shard.
        parameter: The parameter.
    """
    layout = cast(DTensor, parameter.detach())
    return DTensor.from_local(
        local, layout.device_mesh, layout.placements, run_check=False, shape=parameter.shape, stride=parameter.stride()
    )


def gather_tensor(tensor: DTensor) -> Tensor:
    """Return a whole tensor on the CPU in process 0, and one without values (of device ``meta``) in the others.

    All processes call it together.
    """
    whole = tensor.full_tensor()
    return whole.to("meta") if dist.get_rank() else whole.cpu()


def shard_tensor(tensor: Tensor, parameter: DTensor) -> DTensor:
    """Return a whole tensor, which all processes have, with the layout of a parameter.

    Args:
        tensor: The tensor.
        parameter: The parameter.
    """
    on_device = tensor.to(parameter.device_mesh.device_type)
    return distribute_tensor(on_device, parameter.device_mesh, parameter.placements, src_data_rank=None)
