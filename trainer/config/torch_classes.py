"""Optimizers and schedulers of torch that a configuration may name, read from the source of torch."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from trainer.core.types import Decay, NonNegativeFloat, PositiveFloat, PositiveInt
from trainer.utils.suggest import did_you_mean

_MODULES = {"optimizer": "torch.optim", "scheduler": "torch.optim.lr_scheduler"}
_BASES = {"optimizer": "Optimizer", "scheduler": "LRScheduler"}
UNSUPPORTED = {
    "LBFGS": "it evaluates the loss several times in a step, which the training loop does not",
    "SparseAdam": "it takes sparse gradients, and those of a run are dense",
    "LambdaLR": "it takes a Python function; write a class in a module of yours, and name that in plugins=[...]",
    "SequentialLR": "it takes scheduler objects; write a class in a module of yours, and name that in plugins=[...]",
}
UNSUPPORTED |= {"MultiplicativeLR": UNSUPPORTED["LambdaLR"], "ChainedScheduler": UNSUPPORTED["SequentialLR"]}
"""Classes that cannot be used, with the reason."""
_RANGES: Mapping[str, Any] = {
    "lr": PositiveFloat,
    "weight_decay": NonNegativeFloat,
    "momentum": Decay,
    "betas": tuple[Decay, Decay],
    "T_0": PositiveInt,
    "T_mult": PositiveInt,
    "step_size": PositiveInt,
    "milestones": list[PositiveInt],
    **dict.fromkeys(("T_max", "total_iters", "total_steps"), PositiveInt | None),
    "step_size_up": PositiveInt,
    "step_size_down": PositiveInt | None,
    **dict.fromkeys(("min_lr", "base_lr", "max_lr"), NonNegativeFloat | list[NonNegativeFloat]),
    **dict.fromkeys(("eta_min", "gamma", "factor", "power", "start_factor", "end_factor"), NonNegativeFloat),
    **dict.fromkeys(("base_momentum", "max_momentum"), Decay | list[Decay]),
    **dict.fromkeys(("div_factor", "final_div_factor"), PositiveFloat),
}
"""Types of parameters whose range torch checks late or never; null means the length of the run."""


@cache
def _get_torch_dir() -> Path | None:
    spec = importlib.util.find_spec("torch")
    return Path(spec.origin).parent if spec and spec.origin else None


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def list_classes(group: str) -> dict[str, Path]:
    """Return the classes of torch for a group, with the files that define them; empty if torch is not installed.

    Args:
        group: ``optimizer`` or ``scheduler``.
    """
    torch_dir = _get_torch_dir()
    if torch_dir is None:
        return {}
    if group == "scheduler":
        path = torch_dir / "optim" / "lr_scheduler.py"
        tree = _parse(path)
        exported = {name for node in tree.body for name in _read_export_list(node)}
        classes = {name: path for name in exported if _is_subclass(name, _BASES[group], tree)}
    else:
        imports = (
            node for node in _parse(torch_dir / "optim" / "__init__.py").body if isinstance(node, ast.ImportFrom)
        )
        classes = {
            alias.name: path
            for node in imports
            for alias in node.names
            if (path := torch_dir.parent.joinpath(*(node.module or "").split(".")).with_suffix(".py")).is_file()
            and _is_subclass(alias.name, _BASES[group], _parse(path))
        }
    return {name: path for name, path in sorted(classes.items()) if name != _BASES[group]}


def _read_export_list(node: ast.stmt) -> list[str]:
    is_list = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    return ast.literal_eval(node.value) if is_list else []  # type: ignore[attr-defined]


def _is_subclass(name: str, base: str, tree: ast.Module) -> bool:
    """Return whether a class of a module is a subclass of a base, judging by the names of its bases.

    Args:
        name: Name of the class.
        base: Name of the base class.
        tree: Parsed module.
    """
    node_of_name = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if name == base or node_of_name is None:
        return name == base
    base_names = [base_name.id for base_name in node_of_name.bases if isinstance(base_name, ast.Name)]
    local_names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    # Bases from other files: AdamW is a subclass of Adam.
    return any(
        _is_subclass(base_name, base, tree) if base_name in local_names else base_name in (base, "Adam")
        for base_name in base_names
    )


def find_source_file(target: str) -> Path | None:
    """Return the file that defines an optimizer or scheduler of torch, or None for any other class path."""
    module, _, name = target.rpartition(".")
    return next((list_classes(group).get(name) for group, path in _MODULES.items() if path == module), None)


def is_torch_class(target: str) -> bool:
    """Return whether a class path is in ``torch.optim`` or ``torch.optim.lr_scheduler``."""
    return target.rpartition(".")[0] in _MODULES.values()


def describe_unsupported_class(group: str, target: str) -> str | None:
    """Return why a class of torch cannot be used for a group; None if it can, or is not a class of torch.

    Args:
        group: ``optimizer`` or ``scheduler``.
        target: Class path.
    """
    module, _, name = target.rpartition(".")
    if module not in _MODULES.values():
        return None
    classes = list_classes(group) if module == _MODULES.get(group) else {}
    if name in UNSUPPORTED and name in classes:
        return f"{target} cannot be used: {UNSUPPORTED[name]}"
    if name in classes:
        return None
    usable = [class_name for class_name in classes if class_name not in UNSUPPORTED]
    if not usable:
        return f"target {target!r} is not on the allow-list"
    return f"{module} has no {group} {name}{did_you_mean(name, usable) or ';'} one of {', '.join(usable)}"


def narrow_types(kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Return the types of parameters of a torch class, narrowed to the ranges that it does not declare.

    Args:
        kinds: Types by parameter.
    """
    return {key: _RANGES.get(key, kind) for key, kind in kinds.items()}
