"""Freezing of parameters by patterns of their names: ``freeze``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from trainer.optim.param_patterns import find_former_parameter_names, find_matches, name_parameters


def freeze_parameters(task: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Freeze the parameters that match patterns, by disabling their gradients.

    Args:
        task: The task.
        patterns: Patterns of names.

    Returns:
        Normalization layers that must stay in evaluation mode, so that their running statistics are frozen, too: those
        whose parameters are all frozen, by a pattern or by the model itself, or, for layers without parameters, the
        parameters of the module around them.

    Raises:
        ConfigError: A pattern matches no parameter.
    """
    names = name_parameters(task)
    all_names = (name for own_names in names.values() for name in own_names)
    matched = set(find_matches("freeze", patterns, all_names, find_former_parameter_names(task)))
    for parameter, own_names in names.items():
        if not matched.isdisjoint(own_names):
            parameter.requires_grad_(False)
    modules = dict(task.named_modules())
    return [
        module
        for name, module in modules.items()
        if isinstance(module, _NormBase) and module.track_running_stats and _is_frozen(name, modules)
    ]


def _is_frozen(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Return whether all parameters of a module, or of the nearest parent with parameters, are frozen."""
    while name and not any(True for _ in modules[name].parameters()):
        name = name.rpartition(".")[0]
    return not any(parameter.requires_grad for parameter in modules[name].parameters())
