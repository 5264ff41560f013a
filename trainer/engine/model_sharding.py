"""Models whose parameters are sharded over processes by ``fully_shard`` of torch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from trainer.core.repeated_blocks import HasOtherMethods, list_blocks
from trainer.core.task import Task
from trainer.optim.sharded_params import gather_tensor, shard_tensor
from trainer.utils.errors import ConfigError


class ShardedModel:
    """The model of a task, of whose parameters each process holds a shard.

    A block has its whole parameters only while it is computed. The ``state_dict`` of the task is the ordinary one with
    whole tensors, as by ``gather_tensor``: process 0 alone has their values. All processes must call it together.

    Args:
        task: The task; its model is modified.
        mesh: The processes.

    Raises:
        ConfigError: The task has several parameter groups, or parameters outside of its model.

    References:
        Zhao et al. 2023, PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel
    """

    def __init__(self, task: Task, mesh: DeviceMesh):
        _check_task(task)
        self.task = task
        self._plain_model = _copy_without_parameters(task.model)
        for module in (*list_blocks(task.model), task.model):
            # The root too: weights that were gathered before an update must not be used after it.
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
            _register_methods(module, module.other_methods if isinstance(module, HasOtherMethods) else ())
        _register_methods(task.model, task.required_model_methods)
        for module in task.model.modules():
            if isinstance(module, FSDPModule):  # gradients are added: each loss is divided by the terms of all
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        module_with_hooks: Any = task
        self._hooks = (
            module_with_hooks.register_state_dict_post_hook(_gather_state),
            module_with_hooks.register_load_state_dict_pre_hook(_shard_state),
        )

    def restore(self) -> None:
        """Give the task its model with whole parameters on every process, as before."""
        for hook in self._hooks:
            hook.remove()
        sharded_state = self.task.state_dict()
        norms = [name for name, module in self.task.model.named_modules() if module in self.task.frozen_norms]
        _allocate_parameters(self._plain_model, self.task.progress.device)
        self.task.model = self._plain_model
        self.task.frozen_norms = tuple(map(self._plain_model.get_submodule, norms))
        state = self.task.state_dict()
        for name, value in sharded_state.items():
            if isinstance(value, DTensor):  # one after the other, into the parameter itself
                state[name].copy_(value.full_tensor())
            else:
                state[name] = value
        self.task.load_state_dict(state)


def _register_methods(module: nn.Module, names: Sequence[str]) -> None:
    """Let a sharded module gather its parameters for other methods than ``forward``, too."""
    for name in names:
        if name != "forward":
            register_fsdp_forward_method(module, name)


def _check_task(task: Task) -> None:
    if len(task.param_groups()) > 1:
        raise ConfigError(f"strategy: {type(task).__name__} has several parameter groups, which fsdp cannot train")
    own_names = [name for name, _ in task.named_parameters() if not name.startswith("model.")]
    if own_names:
        raise ConfigError(
            f"strategy: {own_names[0]} is a parameter of the task, and fsdp trains only those of the model"
        )


def _copy_without_parameters(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose parameters have no memory."""
    memo = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, memo)


def _allocate_parameters(model: nn.Module, device: torch.device) -> None:
    """Give the parameters of a model memory, with any values; shared parameters stay shared."""
    allocated = {p: nn.Parameter(torch.empty_like(p, device=device), p.requires_grad) for p in model.parameters()}
    for module in model.modules():
        for name, parameter in [*module.named_parameters(recurse=False)]:
            setattr(module, name, allocated[parameter])


def _gather_state(_: nn.Module, state: dict[str, Any], *__: object) -> None:
    """Replace the distributed tensors of a ``state_dict`` by whole ones, as a hook of a module."""
    for name, value in state.items():
        if isinstance(value, DTensor):
            state[name] = gather_tensor(value)


def _shard_state(module: nn.Module, state: dict[str, Any], *_: object) -> None:
    """Replace the whole tensors of a ``state_dict`` by distributed ones where the module has them."""
    for name, parameter in module.named_parameters():
        value = state.get(name)
        if isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.shape == parameter.shape:
            state[name] = shard_tensor(value, parameter)
